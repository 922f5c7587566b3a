"""DPM-Solver++: single steps, what the sampler shows, its order on a Gaussian's exact path. More in test_sampling, test_reference."""
import inspect, math

import numpy as np
import pytest, torch

import spritediff as sd
from spritediff.ddpm import gaussian_eps

SCHEDULE, SHORT = sd.linear_schedule(), sd.linear_schedule(20)
AB = SCHEDULE.alpha_bar.double()


@pytest.mark.parametrize("n", (1, 2))
def test_few_steps(tiny, n):
    "One step is DDIM's, and so are two: the first has no memory, the last goes to 0"
    keep = dict(n=n, model=tiny, seed=3)
    torch.testing.assert_close(sd.sample_dpm(2, **keep)[0], sd.sample_ddim(2, **keep)[0], rtol=1e-4, atol=1e-4)


def test_more_steps(tiny):
    "From three steps on, DPM leaves DDIM after its second step, not before"
    x_T = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ours, theirs = (list(f(x_T, tiny, 4)) for f in (sd.dpm_steps, sd.ddim_steps))
    for k in (0, 1): torch.testing.assert_close(ours[k].x_t, theirs[k].x_t, rtol=1e-5, atol=1e-5)
    assert (ours[2].x_t - theirs[2].x_t).abs().max() > 1e-3


def test_callback(tiny):
    "The callback sees t from T to 0, with x_t = sqrt(ab) x_0_hat + sqrt(1 - ab) eps_hat, and the sample last"
    seen = []
    samples, frames = sd.sample_dpm(2, n=7, model=tiny, schedule=SHORT, seed=0, callback=seen.append)
    assert [s.t for s in seen] == [20, 17, 14, 11, 9, 6, 3, 0]
    for s in seen:
        ab = SHORT.alpha_bar[s.t]
        torch.testing.assert_close(ab.sqrt() * s.x_0_hat + (1 - ab).sqrt() * s.eps_hat, s.x_t, rtol=1e-4, atol=1e-5)
        if s.t: torch.testing.assert_close(s.eps_hat, tiny(s.x_t, s.t / 20).detach())
    assert torch.equal(seen[-1].x_t, samples) and (seen[-1].eps_hat == 0).all() and not samples.requires_grad
    assert np.array_equal(frames, np.stack([s.x_t.numpy() for s in seen[1:]]))
    torch.testing.assert_close(samples, seen[-2].x_0_hat) # the last step lands on x_0_hat


def test_same_arguments():
    "What DPM takes is what DDIM takes, in the same order, without eta"
    for dpm, ddim in ((sd.sample_dpm, sd.sample_ddim), (sd.sample_dpm_context, sd.sample_ddim_context), (sd.dpm_steps, sd.ddim_steps)):
        want = [(p.name, p.default) for p in inspect.signature(ddim).parameters.values()]
        drop = {"eta"} | ({"seed"} if ddim is sd.ddim_steps else set())
        assert [(p.name, p.default) for p in inspect.signature(dpm).parameters.values()] == [p for p in want if p[0] not in drop]


@pytest.mark.parametrize("n", (500, 50, 30, 7, 3))
def test_paper(n):
    "Each step is algorithm 2 of the paper, in float64; the step to 0 lands on x_0_hat"
    beta = np.concatenate([[0], 1e-4 + (.02 - 1e-4) * np.arange(1, 501) / 500])
    ab, times, g = np.cumprod(1 - beta), sd.ddim_times(n), torch.Generator().manual_seed(n)
    lam = lambda t: math.log(ab[t] / (1 - ab[t])) / 2
    for t_before, t, s in zip(times, times[1:], times[2:]):
        x_0, eps, error, x_0_before = torch.randn(4, 2, 3, 4, 4, generator=g)
        x, eps, x_0_before = sd.perturb_input(x_0, t, eps), eps + .2 * error, x_0 + .2 * x_0_before
        x64, eps64, before64 = (a.double().numpy() for a in (x, eps, x_0_before))
        want = x_0_hat = (x64 - np.sqrt(1 - ab[t]) * eps64) / np.sqrt(ab[t])
        if s:
            h = lam(s) - lam(t)
            r = (lam(t) - lam(t_before)) / h
            d = (1 + 1 / (2 * r)) * x_0_hat - 1 / (2 * r) * before64
            want = np.sqrt((1 - ab[s]) / (1 - ab[t])) * x64 - np.sqrt(ab[s]) * (np.exp(-h) - 1) * d
        got = sd.denoise_dpm(x, t, s, eps, before=sd.Step(t_before, None, x_0_before, None))
        np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=1e-4)


def test_rows_at_different_t():
    "A batch whose rows stand at different t gives each row's own step"
    x, eps, x_0 = torch.randn(3, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    before, t = sd.Step(400, None, x_0, None), torch.tensor([300, 250, 90])
    got = sd.denoise_dpm(x, t, 80, eps, before=before)
    for i in range(3):
        one = sd.Step(400, None, x_0[i:i + 1], None)
        torch.testing.assert_close(got[i:i + 1], sd.denoise_dpm(x[i:i + 1], int(t[i]), 80, eps[i:i + 1], before=one))


def test_cosine():
    "On the cosine schedule, whose alpha_bar nearly vanishes at T, the samples arrive too"
    schedule = sd.cosine_schedule(500)
    samples, _ = sd.sample_dpm(40, n=50, model=gaussian_eps(.3, .5, schedule), schedule=schedule, seed=0)
    assert abs(samples.mean().item() - .3) < .02 and abs(samples.std().item() - .5) < .02


# --- The Gaussian's exact path

def spread(m, s, t):
    "The exact spread of x_t"
    return (AB[t] * s**2 + 1 - AB[t]).sqrt()


def path(x_T, m, s, t):
    "Where the exact path from x_T stands at t"
    return AB[t].sqrt() * m + spread(m, s, t) / spread(m, s, -1) * (x_T - AB[-1].sqrt() * m)


DOUBLE = sd.NoiseSchedule(*(getattr(SCHEDULE, k).double() for k in ("beta", "alpha", "alpha_bar")))
X_T = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None, None, None]
gaussians = pytest.mark.parametrize("m, s", ((.3, .5), (-.6, 1.), (.3, .2)))


def walk(m, s, times, second):
    "The end of a walk over `times`, of second order or of first"
    model, x, before = gaussian_eps(m, s, DOUBLE), X_T, None
    for t, t_prev in zip(times, times[1:]):
        eps = model(x, torch.full((len(x),), t / 500))
        step = sd.Step(t, x, sd.predict_x_0(x, t, eps, DOUBLE), eps)
        x = sd.denoise_dpm(x, t, t_prev, eps, DOUBLE, before if second else None)
        before = step
    return x


@gaussians
def test_second_order(m, s):
    "Away from t = 0, twice the steps make a quarter of DPM's error and half of DDIM's"
    error = lambda n, second: (walk(m, s, range(500, 99, -400 // n), second) - path(X_T, m, s, 100)).abs().max().item()
    for second, want in ((True, 4), (False, 2)):
        for n in (100, 200): assert error(n, second) / error(2 * n, second) == pytest.approx(want, rel=.12)
    for n in (5, 10, 25, 50, 100, 200): assert error(n, True) < error(n, False) / math.sqrt(n) # 1 / n, but for a factor


@gaussians
def test_falls_faster(m, s):
    "Over the whole way to 0, the error falls like 1/n with DDIM and like n^-1.4 at least with DPM; DPM's is never larger"
    ns, errors = (5, 10, 25, 50, 100, 250), {}
    for name, steps in (("ddim", sd.ddim_steps), ("dpm", sd.dpm_steps)):
        ends = [list(steps(X_T, gaussian_eps(m, s, DOUBLE), n, DOUBLE))[-1].x_t for n in ns]
        errors[name] = np.array([(x - path(X_T, m, s, 0)).square().mean().sqrt().item() for x in ends])
    slope = {k: np.polyfit(np.log(ns), np.log(v), 1)[0] for k, v in errors.items()}
    assert (errors["dpm"] < errors["ddim"]).all()
    assert -1.1 < slope["ddim"] < -.8 and slope["dpm"] < -1.4 and slope["dpm"] < slope["ddim"] - .5


def test_samples_of_a_gaussian():
    "25 steps bring out mean and spread within the sampling error, where DDIM falls short"
    x_T = torch.randn(20_000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    ends = {f: list(f(x_T, gaussian_eps(.3, .5, SCHEDULE), 25))[-1].x_t for f in (sd.dpm_steps, sd.ddim_steps)}
    want = path(torch.zeros(1), .3, .5, 0).item(), (spread(.3, .5, 0) / spread(.3, .5, -1)).item()
    assert abs(ends[sd.dpm_steps].mean().item() - want[0]) < 4 * .5 / 20_000**.5
    assert abs(ends[sd.dpm_steps].std().item() - want[1]) < 4 * .5 / 40_000**.5
    assert ends[sd.ddim_steps].std().item() < want[1] - .03


# --- Bad input

def test_n_beyond_a_short_schedule(tiny):
    "T is the schedule's own"
    with pytest.raises(sd.InputError, match="from 1 to 20"): sd.sample_dpm(1, n=21, model=tiny, schedule=SHORT)


@pytest.mark.parametrize("t, t_prev, t_before, match", (
    (0, 0, None, "t is"), (501, 9, None, "t is"), (9, 9, None, "t_prev is"), (9, -12, None, "t_prev is"), (9, 2.5, None, "t_prev is"),
    (9, 3, 9, "before.t is 9; expected a whole number from 10 to 500"), (9, 3, 5, "before.t is"), (9, 0, 5, "before.t is"), (9, 3, 501, "before.t is")))
def test_bad_step(t, t_prev, t_before, match):
    "Steps go down: before.t > t > t_prev"
    x = torch.zeros(1, 3, 4, 4)
    before = None if t_before is None else sd.Step(t_before, x, x, x)
    with pytest.raises(sd.InputError, match=match): sd.denoise_dpm(x, t, t_prev, x, before=before)
