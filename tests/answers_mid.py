"""Answers to the exercises of chapters 04, 05, 09 and 10: TABLE has (name, answer, what is said of it)."""
import numpy as np
import torch

from spritediff.check import _cut_errors, _moved

CUTS, MOVED = _cut_errors(), _moved()


def wide(v): return v[:, :, None, None]
def z(a, b, n): return (b - a) / ((a * (1 - a) + b * (1 - b)) / n) ** .5
def input_loss(a, m): return a * m + (1 - (1 - a) ** .5) ** 2
def score(x, g): return x.tanh() - x + g * (1 - x.tanh())


RIGHT = [
    ("up0_size", 1_048_960), ("up0_size", torch.tensor(1_048_960)), ("sees", (14, 32)), ("sees", np.array([14, 32])),
    ("modulated", lambda u, c, t: wide(c) * u + wide(t)), ("modulated", lambda u, c, t: torch.addcmul(wide(t), wide(c), u)),
    ("cut_links", CUTS), ("cut_links", [79, 3.1, 2.9]),
    ("last_rate", (28608, 3.125e-5)), ("last_rate", [28608., 1e-3 / 32]), ("input_loss", input_loss),
    ("v_weight", lambda a: 1 / a), ("v_weight", lambda a: 1 + (1 - a) / a), ("forgotten", (3, 4603)),
    ("times_more", [1, 1.8, 3.24, 10.4976]), ("times_more", (1, 1.8, 3.24, 10.5)),
    ("guided_score", score), ("guided_score", lambda x, g: (1 - g) * x.tanh() - x + g),
    ("instead_of", lambda a, b, u, g: u + g * a - g * b), ("untold_of", lambda told, likely: torch.einsum("kbchw,bk->bchw", told, likely)),
    ("cloud_distance", lambda m, s, d: d * m ** 2 + d * (s - 1) ** 2), ("two_cheats", [1, 0, 0, 1]), ("two_cheats", (1., 0., 0., .98)),
    ("how_sure", z), ("moved_copies", MOVED), ("moved_copies", torch.tensor(.72)),
]
WRONG = [
    ("up0_size", 1_048_576, "That is the kernel"), ("up0_size", 1_048_704, "normalisation has parameters"), ("up0_size", 1_048_832, "two numbers"),
    ("up0_size", 1_050_112, "Only the kernel"), ("up0_size", 525_056, "both double"), ("up0_size", 262_528, "How high"),
    ("sees", (14, 23), "a step is longer"), ("sees", (13, 29), "two pixels, too"), ("sees", (10, 28), "init_conv"), ("sees", (13, 30), "last pooling"),
    ("sees", (16, 16), "layer by layer"), ("sees", 32, "layer by layer"),
    ("modulated", lambda u, c, t: c * u + t, "pixels, not"), ("modulated", lambda u, c, t: wide(t) * u + wide(c), "The context scales"),
    ("modulated", lambda u, c, t: u, "Wrong for u"), ("modulated", lambda u: u, "mind the axes"),
    ("cut_links", [1, 1, 1], "cut of init_conv"), ("cut_links", [CUTS[0], 30, CUTS[2]], "cut of down1"), ("cut_links", [*CUTS[:2], 1], "cut of down2"),
    ("cut_links", CUTS[:2], "three numbers"), ("cut_links", ["init_conv", "down1", "down2"], "three numbers"),
    ("last_rate", (894, 3.125e-5), "one epoch"), ("last_rate", (28608, 0), "count from 0"), ("last_rate", (28608, 1e-3 / 31), "epoch 32"),
    ("last_rate", (28000, 3.125e-5), "how many batches"), ("last_rate", (28608, 1e-3), "rate of the last"), ("last_rate", 28608, "two numbers"),
    ("input_loss", lambda a, m: a * m + 1 - a, "mean square of x_t"), ("input_loss", lambda a, m: a * m + 2 - a, "not independent"),
    ("input_loss", lambda a, m: a * m + 1 - (1 - a) ** .5, "squared too"), ("input_loss", lambda a, m: a * m + a ** 2, "is a root"),
    ("input_loss", lambda a, m: a ** .5 * m + (1 - (1 - a) ** .5) ** 2, "factor of x_0"), ("input_loss", lambda a, m: .395, "Collect"),
    ("v_weight", lambda a: (1 - a) / a, "weight of x_0_hat"), ("v_weight", lambda a: a ** -.5, "its square"), ("v_weight", lambda a: (2 * a - 1) ** 2 / a, "sign"),
    ("v_weight", lambda a: a + (1 - a) ** 2 / a, "first, then"), ("v_weight", lambda a: a, "other way"), ("v_weight", lambda a: min(1 / a, 20), "Add the two"),
    ("forgotten", (4603, 3), "other way"), ("forgotten", (2, 4603), "1.8%"), ("forgotten", (4, 4603), "count from 0"), ("forgotten", (2, 4602), "One more"),
    ("forgotten", (9000, 4603), "Multiply"),
    ("times_more", [1, .9, .81, .6561], "divide by that"), ("times_more", [0, 1.8, 3.6, 7.2], "a power"), ("times_more", [1.8, 3.24, 5.832, 18.9], "With g = 0"),
    ("times_more", [1, .5556, .3086, .0953], "other way"), ("times_more", 1.8, "Divide"),
    ("guided_score", lambda x, g: 1 - x + g * (1 - x.tanh()), "With g = 1"), ("guided_score", lambda x, g: x.tanh() - x + g * (1 - x), "difference"),
    ("guided_score", lambda x, g: g - x, "two humps"), ("guided_score", lambda x, g: x.tanh() - x + g * (x.tanh() - 1), "away"), ("guided_score", lambda x, g: x, "Try g = 0"),
    ("instead_of", lambda a, b, u, g: b + g * (a - b), "start from untold"), ("instead_of", lambda a, b, u, g: u + g * (a + b - 2 * u), "towards b"),
    ("instead_of", lambda a, b, u, g: u + g * (a - u), "Where is b"), ("instead_of", lambda a, b, u, g: u + g * (b - a), "other way"),
    ("instead_of", lambda a, b, u, g: a, "both differences"),
    ("untold_of", lambda told, likely: told.mean(0), "weigh the same"), ("untold_of", lambda told, likely: told[0], "Weigh told"),
    ("untold_of", lambda told, likely: (likely[..., None, None, None] * told).sum(0), "axes"),
    ("cloud_distance", lambda m, s, d: m ** 2 + (1 - s) ** 2, "one dimension"), ("cloud_distance", lambda m, s, d: m ** 2 + d * (1 - s) ** 2, "Every mean"),
    ("cloud_distance", lambda m, s, d: d * (m ** 2 + (1 - s ** 2) ** 2), "One term"), ("cloud_distance", lambda m, s, d: d * (m + abs(1 - s)), "squares"),
    ("cloud_distance", lambda m, s, d: 0, "Add up"),
    ("two_cheats", [0, 1, 1, 0], "exchanged"), ("two_cheats", [1, 0, 0, 0], "B's points"), ("two_cheats", [1, 1, 0, 1], "A's points"), ("two_cheats", [1, 1, 1, 1], "Whose"),
    ("how_sure", lambda a, b, n: -z(a, b, n), "Positive"), ("how_sure", lambda a, b, n: z(a, b, 1), "surer: n?"), ("how_sure", lambda a, b, n: z(a, b, n) ** 2 / (b - a), "its root"),
    ("how_sure", lambda a, b, n: (b - a) / ((a * (1 - a) / n) ** .5 + (b * (1 - b) / n) ** .5), "not standard errors"), ("how_sure", lambda a, b, n: b - a, "Difference by"),
    ("moved_copies", 0, "unmoved"), ("moved_copies", .127, "axis 3"), ("moved_copies", 1.5, "axis 3"),
]
TABLE = [*((name, answer, "Right.") for name, answer in RIGHT), *WRONG]
