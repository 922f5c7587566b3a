"""Answers to the exercises of chapters 03, 06, 07 and 08: TABLE has (name, answer, what is said of it)."""
import math

import torch

import spritediff as sd
from spritediff.ddpm import gaussian_eps

LINEAR, COSINE = sd.linear_schedule(), sd.cosine_schedule()
AB = LINEAR.alpha_bar.double()
LAMBDA = (AB / (1 - AB)).log() / 2


def half(root=False): return [next(t for t, a in enumerate(s.alpha_bar.tolist()) if (a**.5 if root else a) < .5) for s in (LINEAR, COSINE)]
def noisy(f): return next((t for t, a in enumerate(LINEAR.alpha_bar.tolist()) if f * f * a < 1 - a), None)


def long_run(beta=.01):
    v = 1.
    for _ in range(5000): v = (1 - beta)**2 * v + beta**2
    return v


def variance(s, prev, now):
    "By Gaussian conditioning: Var(a) - Cov(a, b)^2 / Var(b)"
    alpha, v = now / prev, prev * s**2 + 1 - prev
    return v - alpha * v**2 / (alpha * v + 1 - alpha)


def coin(x, a):
    up, down = ((-(x - side * a**.5)**2 / (2 * (1 - a))).exp() for side in (1, -1))
    return (x - a**.5 * (up - down) / (up + down)) / (1 - a)**.5


def half_noise(factor):
    "By running the sampler on two starts and many draws"
    g, x = torch.Generator().manual_seed(0), torch.randn(100_000, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    model = gaussian_eps(.3, .5, LINEAR)
    for t in range(500, 0, -1):
        z = factor * torch.randn(x.shape, generator=g) if t > 1 else 0
        x = sd.denoise_add_noise(x, t, model(x, torch.full((len(x),), t / 500)), z)
    return x.std().item()


def share(now, prev, eta): return eta**2 * (1 - now / prev) / (1 - now)
def sigma_squared(now, prev, eta): return share(now, prev, eta) * (1 - prev)
def undo(x, eps, now, prev): return (now / prev)**.5 * (x - (1 - prev)**.5 * eps) + (1 - now)**.5 * eps
def blend(a, b, w): return (w * a + (1 - w) * b) / math.hypot(w, 1 - w)
def line(x, before, l_before, l_t, l_prev): return x + (x - before) * (l_prev - l_t) / (l_t - l_before) / 2
def even(n): return [int((LAMBDA - v).abs().argmin()) for v in torch.linspace(LAMBDA[500].item(), LAMBDA[1].item(), n)] + [0]
def leap(s, t): return [math.sqrt(t / s), math.sqrt(1 - t / s)]


# name: (right answers, {wrong answer: words of its hint})
A_T = AB[500].item()
CHECKS = {
    "half_gone": ([half(), tuple(half()), torch.tensor(half())],
                  [(half()[::-1], "linear schedule first"), ([v - 1 for v in half()], "index 0"), (half(True), "not its root"), ([250, 250], "first index"), (half()[0], "")]),
    "leap_between": ([leap, lambda s, t: torch.tensor(leap(s, t))],
                     [(lambda s, t: (t**.5, (1 - t)**.5), "from 0 to t"), (lambda s, t: (t / s, 1 - t / s), "not variances"), (lambda s, t: (1, 0), "product"), (lambda s: 1, "product")]),
    "no_roots": ([long_run(), torch.tensor(.01 / 1.99)],
                 [(1, "With the roots"), (long_run()**.5, "standard deviation"), (.01, "earlier noise"), (.0001, "earlier noise"), (.3, "long run")]),
    "first_noisy": ([noisy], [(lambda f: noisy(f**.5), "mean squares"), (lambda f: noisy(min(f, 5)), "127.5"), (lambda f: None, "(3.8)"), (184, "(3.8)")]),
    "two_bells": ([(.44, .008), torch.tensor([.44, .008])],
                  [([.4, .008], "inverse variances"), ([.35, .0125], "better measurement"), ([.44, .05], "multiplied"), ([.44, .1], "mean is right"), (.44, "A and B")]),
    "true_variance": ([variance], [(lambda s, p, a: 1 - a / p, "s = 1 only"), (lambda s, p, a: (1 - p) / (1 - a) * (1 - a / p), "s = 0 only"), (lambda s, p, a: s, "second place"), (1, "second place")]),
    "coin_eps": ([coin], [(lambda x, a: (a**.5 * x / (1 - a)).tanh(), "mean of x_0"), (lambda x, a: (x - a**.5 * x.sign()) / (1 - a)**.5, "weigh both"),
                          (lambda x, a: (1 - a)**.5 * x, "N(0, 1)"), (lambda x, a: -coin(x, a) / (1 - a)**.5, "score"), (lambda x, a: x, "Bayes")]),
    "half_noise": ([half_noise(.5)], [(half_noise(.5)**2, "variance"), (.5, "all of the noise"), (half_noise(0), "without any"), (.26, "not half of its variance"), (1, "Follow"), ("x", "")]),
    "one_leap": ([math.tanh(A_T**.5 * .7 / (1 - A_T))], [(1, "not so certain"), (-1, "not so certain"), (.7, "does happen"), (0, "Nearly"), (.7 / A_T**.5, "without any noise"), (.3, "mean of x_0")]),
    "fresh_share": ([share], [(lambda *i: share(*i)**.5, "By variance"), (sigma_squared, "sigma squared"), (lambda n, p, e: e * share(n, p, 1), "factor of sigma"), (lambda n, p, e: e, "(7.4)")]),
    "undo_ddim": ([undo], [(lambda x, e, n, p: undo(x, e, p, n), "the step itself"), (lambda x, e, n, p: n**.5 * x + (1 - n)**.5 * e, "not clean yet"), (lambda *i: i[0], "x_0_hat")]),
    "blend_noise": ([blend], [(lambda a, b, w: w * a + (1 - w) * b, "straight blend"), (lambda a, b, w: w**.5 * a + (1 - w)**.5 * b, "variance 1 too"), (lambda a, b, w: blend(b, a, w), "weight of a"), (lambda a, b, w: a, "(3.2)")]),
    "agreeing": ([[1, 2], (2, 1)], [([1], "two steps"), ([1, 2, 3], "second"), ([], "neither"), (2, "")]),
    "line_value": ([line], [(lambda x, b, *i: x + 2 * (line(x, b, *i) - x), "end of the step"), (lambda x, b, *_: 1.5 * x - .5 * b, "one length"), (lambda x, b, *i: 2 * x - line(x, b, *i), "not back"), (lambda x, *_: x, "Slope")]),
    "order_two": ([[.012 / 6.25, 313], (.00192, 313)], [([.0048, 125], "first order"), ([.00192, 312.5], "whole number"), ([.00192, 50], "error is right"), (.00192, "")]),
    "even_times": ([even, lambda n: torch.tensor(even(n))], [(lambda n: sd.ddim_times(n), "even in t"), (lambda n: even(n)[:-1], "last entry"), (lambda n: even(n)[:-2] + [5, 0], "t = 1"), (lambda n: [], "")]),
}
TABLE = [(name, a, "Right.") for name, (right, _) in CHECKS.items() for a in right] + [(name, a, hint) for name, (_, wrong) in CHECKS.items() for a, hint in wrong]
