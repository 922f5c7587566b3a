"""Data that are a Gaussian: the exact noise is known, hence what every sampler must bring out.

With n samples of spread s, the mean is known to s/sqrt(n) and the spread to s/sqrt(2n); the bounds are 4 of these, or
5 where 768 pixels are looked at singly. A sampler with finitely many steps brings out a Gaussian of slightly another
mean and spread, which `outcome` follows exactly.
"""
import numpy as np
import pytest, torch

import spritediff as sd

N = 20_000
SCHEDULE = sd.linear_schedule()
AB = SCHEDULE.alpha_bar.double().numpy()


def exact(m, s):
    "The exact eps_hat for data ~ N(m, s^2)"
    def model(x, t, c=None):
        ab = SCHEDULE.alpha_bar[(t * 500).round().long()][:, None, None, None]
        return (1 - ab).sqrt() * (x - ab.sqrt() * m) / (ab * s**2 + 1 - ab)
    return model


def outcome(m, s, steps):
    "Mean and spread that a sampler brings out of N(0, 1), where `steps` are (t, factor of x, of eps, of z)"
    mean, var = np.zeros_like(m, dtype=float), 1.
    for t, a, b, sigma in steps:
        k = np.sqrt(1 - AB[t]) / (AB[t] * s**2 + 1 - AB[t]) # eps_hat = k (x - sqrt(ab) m)
        mean, var = (a + b * k) * mean - b * k * np.sqrt(AB[t]) * m, (a + b * k)**2 * var + sigma**2
    return mean, np.sqrt(var)


def ddpm(noise=True):
    "The DDPM sampler's factors"
    for t in range(500, 0, -1):
        alpha = AB[t] / AB[t - 1]
        yield t, alpha**-.5, -(1 - alpha) / np.sqrt((1 - AB[t]) * alpha), np.sqrt(1 - alpha) * (noise and t > 1)


def ddim(times, eta):
    "The DDIM sampler's factors"
    for t, u in zip(times, times[1:]):
        sigma = eta * np.sqrt((1 - AB[u]) / (1 - AB[t]) * (1 - AB[t] / AB[u]))
        a = np.sqrt(AB[u] / AB[t])
        yield t, a, np.sqrt(max(0, 1 - AB[u] - sigma**2)) - a * np.sqrt(1 - AB[t]), sigma


def start(): return torch.randn(N, 1, 1, 1, generator=torch.Generator().manual_seed(0))


def check(steps, want, s=.5):
    "The last step's mean and spread are `want`, within 4 standard errors"
    for step in steps: pass
    assert step.t == 0
    assert abs(step.x_t.mean().item() - want[0]) < 4 * s / N**.5
    assert abs(step.x_t.std().item() - want[1]) < 4 * s / (2 * N)**.5


def test_ddpm():
    "DDPM brings out the data's mean and spread"
    want = outcome(np.array(.3), .5, ddpm())
    assert abs(want[0] - .3) < 1e-3 and abs(want[1] - .5) < .01
    check(sd.ddpm_steps(start(), exact(.3, .5), seed=1), want)


def test_ddpm_without_noise():
    "Without the noise that is added back, the spread collapses"
    want = outcome(np.array(.3), .5, ddpm(noise=False))
    assert want[1] < .25
    check(sd.ddpm_steps(start(), exact(.3, .5), add_noise=False), want)


@pytest.mark.parametrize("n, eta, off", ((500, 0, .01), (500, 1, .01), (100, .5, .02), (25, 0, .04), (30, 0, .04), (7, 0, .14), (7, 1, .18)))
def test_ddim(n, eta, off):
    "DDIM brings out the data's mean and spread, with n that divides T and n that does not; fewer steps, less exactly"
    want = outcome(np.array(.3), .5, ddim(np.round(500 - 500 * np.arange(n + 1) / n).astype(int), eta))
    assert abs(want[0] - .3) < .02 and abs(want[1] - .5) < off
    check(sd.ddim_steps(start(), exact(.3, .5), n, eta=eta, seed=1), want)


@pytest.mark.parametrize("sampler", ("ddpm", "ddim"))
def test_means_of_their_own(sampler):
    "Every pixel comes out with its own mean: no axis is mixed up"
    n, s = 300, .4
    m = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(5)) * 1.6 - .8
    keep = dict(model=exact(m, s), seed=2)
    samples = (sd.sample_ddpm(n, **keep) if sampler == "ddpm" else sd.sample_ddim(n, n=50, **keep))[0]
    steps = ddpm() if sampler == "ddpm" else ddim(range(500, -1, -10), 0)
    mean, spread = outcome(m.numpy(), s, steps)
    assert np.abs(mean - m.numpy()).max() < .03
    assert np.abs(samples.mean(0).numpy() - mean).max() < 5 * spread / n**.5
    assert abs(samples.std(0).square().mean().sqrt().item() - spread) < 4 * spread / (2 * n * m.numel())**.5


@pytest.mark.parametrize("t", (1, 20, 100, 250, 500))
def test_forward(t):
    "x_t has the mean sqrt(alpha_bar_t) x_0 and the variance 1 - alpha_bar_t, at every pixel"
    n = 2000
    x_0 = sd.to_x(sd.make_sprites(1)[0]).expand(n, -1, -1, -1)
    x_t = sd.perturb_input(x_0, t, torch.randn(x_0.shape, generator=torch.Generator().manual_seed(t)))
    assert (x_t.mean(0) - AB[t]**.5 * x_0[0]).abs().max() < 5 * ((1 - AB[t]) / n)**.5
    assert (x_t.var(0) / (1 - AB[t]) - 1).abs().max() < 5.5 * (2 / n)**.5
