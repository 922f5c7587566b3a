"""Answers to the exercises of chapter 18: TABLE has (name, answer, what is said of it)."""
import torch

from spritediff.ddim import ddim_times
from spritediff.sprites import to_images


def in_place(c, p, g):
    "Right numbers, but the caller's context is gone"
    c[torch.rand(len(c), generator=g) < p] = 0
    return c


RIGHT = {
    "guided": [lambda told, untold, g: untold + g * (told - untold), lambda told, untold, g: g * told + (1 - g) * untold],
    "strides": [ddim_times, lambda n, T: [T * (n - k) // n for k in range(n + 1)], lambda n, T: torch.linspace(T, 0, n + 1, dtype=torch.float64).round()],
    "dropped": [lambda c, p, g: c * (torch.rand(len(c), 1, generator=g) >= p),
                lambda c, p, g: torch.where(torch.rand(len(c), generator=g)[:, None] < p, torch.zeros_like(c), c)],
    "as_bytes": [lambda x: (x.clip(-1, 1) * 127.5 + 127.5).round().to(torch.uint8), lambda x: ((x + 1) * 127.5).round().clip(0, 255).byte(),
                 lambda x: torch.as_tensor(to_images(x.expand(1, 3, *x.shape))[0, ..., 0])],
}
WRONG = {
    "guided": [(lambda told, untold, g: told + g * (untold - told), "follows the context"), (lambda told, untold, g: g * (told - untold), ""),
               (lambda told, untold, g: told + g * (told - untold), "follows the context"), (lambda told, untold, g: told - untold + g * told, "base"),
               (lambda told, untold, g: untold + (g + 1) * (told - untold), "follows the context"), (lambda told, untold, g: told, "")],
    "strides": [(lambda n, T: list(range(T, -1, -(T // n))), "never arrives"), (lambda n, T: [T - k * (T // n) for k in range(n)] + [-12], "below 0"),
                (lambda n, T: [T * (n - k) / n for k in range(n + 1)], "whole steps"), (lambda n, T: [T, *range(n - 1, -1, -1)], ""),
                (lambda n, T: [500 * (n - k) // n for k in range(n + 1)], "T = 7"), (lambda n, T: [*range(T, 0, -(T // n)), 0], "another number"),
                (lambda n, T: list(range(n + 1)), "")],
    "dropped": [(lambda c, p, g: c * (torch.rand(c.shape, generator=g) >= p), "several entries"), (lambda c, p, g: c * (torch.rand(len(c), 1) >= p), "same seed"),
                (lambda c, p, g: c * (torch.rand(len(c), 1, generator=g) < p), "keeps a tenth"), (in_place, "changes the context"),
                (lambda c, p, g: c, ""), (lambda c, p, g: c * (1 - p), ""), (lambda c, p, g: c * (torch.rand(1, 1, generator=g) >= p), "")],
    "as_bytes": [(lambda x: (x * 127.5 + 127.5).to(torch.uint8), ""), (lambda x: (x * 127.5 + 127.5).round().to(torch.int64).to(torch.uint8), "1.01"),
                 (lambda x: (x.clip(-1, 1) * 127.5 + 127.5).to(torch.uint8), "round"), (lambda x: (x.clip(-1, 1) * 127.5 + 127.5).round(), "not uint8"),
                 (lambda x: (x.clip(0, 1) * 255).round().to(torch.uint8), "Black"), (lambda x: (x * 255).to(torch.uint8), "")],
}
TABLE = [(name, f, "Right.") for name, answers in RIGHT.items() for f in answers] + [(name, *case) for name, cases in WRONG.items() for case in cases]
