"""The formulas here against diffusers' schedulers, and against the papers' in float64."""
from fractions import Fraction

import numpy as np
import pytest, torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

import spritediff as sd

T = 500
SCHEDULE = sd.linear_schedule()
KEEP = dict(num_train_timesteps=T, trained_betas=SCHEDULE.beta[1:].numpy(), clip_sample=False)


def scene(t):
    "x_t of a picture, a prediction near its noise, and fresh noise"
    g = torch.Generator().manual_seed(t)
    x_0 = torch.rand(4, 3, 8, 8, generator=g) * 2 - 1
    eps, error, z = torch.randn(3, *x_0.shape, generator=g)
    return sd.perturb_input(x_0, t, eps), eps + .2 * error, z


def test_betas_are_the_same():
    "Both start from one beta table and agree on alpha_bar"
    theirs = DDPMScheduler(**KEEP)
    assert len(theirs.betas) == T
    torch.testing.assert_close(theirs.alphas_cumprod, SCHEDULE.alpha_bar[1:], rtol=1e-5, atol=1e-6)


def test_forward_noising():
    "perturb_input is their add_noise at every step"
    theirs = DDPMScheduler(**KEEP)
    g = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, T, 3, 4, 4, generator=g)
    t = torch.arange(1, T + 1)
    torch.testing.assert_close(sd.perturb_input(x_0, t, eps), theirs.add_noise(x_0, eps, t - 1), rtol=0, atol=1e-5)


def test_ddpm_steps():
    "denoise_add_noise is their DDPM step at every t, with the noise that their generator draws"
    theirs = DDPMScheduler(**KEEP, variance_type="fixed_large")
    # They take beta_t from 1 - alpha_bar_t / alpha_bar_{t-1}, which float32 rounds by up to 8e-5 of a step at small t.
    theirs.alphas_cumprod = (1 - theirs.betas.double()).cumprod(0)
    for t in range(T, 0, -1):
        x, eps, _ = scene(t)
        z = torch.randn(x.shape, generator=torch.Generator().manual_seed(t)) if t > 1 else 0
        want = theirs.step(eps, t - 1, x, generator=torch.Generator().manual_seed(t)).prev_sample
        torch.testing.assert_close(sd.denoise_add_noise(x, t, eps, z), want, rtol=0, atol=1e-5, msg=lambda m: f"t = {t}: {m}")


@pytest.mark.parametrize("eta", (0., .5, 1.))
@pytest.mark.parametrize("n", (500, 100, 25, 20, 10))
def test_ddim_steps(n, eta):
    "denoise_ddim is their DDIM step at every visited t"
    theirs = DDIMScheduler(**KEEP, timestep_spacing="trailing", set_alpha_to_one=True)
    theirs.set_timesteps(n)
    times = sd.ddim_times(n)
    assert [t - 1 for t in times[:-1]] == theirs.timesteps.tolist() and times[-1] == 0
    for t, t_prev in zip(times, times[1:]):
        x, eps, z = scene(t)
        want = theirs.step(eps, t - 1, x, eta=eta, variance_noise=z if eta else None).prev_sample
        got = sd.denoise_ddim(x, t, t_prev, eps, eta=eta, z=z)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5, msg=lambda m: f"t = {t}: {m}")


@pytest.mark.parametrize("n", (5, 7, 10, 25, 30, 50, 100, 500))
def test_dpm_steps(n):
    "dpm_steps walks the same way as their multistep solver of order 2, from noise to picture, with the same eps function"
    theirs = DPMSolverMultistepScheduler(num_train_timesteps=T, trained_betas=SCHEDULE.beta[1:].numpy(), algorithm_type="dpmsolver++",
                                         solver_order=2, timestep_spacing="trailing", final_sigmas_type="zero", lower_order_final=True)
    theirs.alphas_cumprod = (1 - theirs.betas.double()).cumprod(0) # in float32 theirs rounds 1 - alpha_bar at small t
    theirs.set_timesteps(n)
    assert [t - 1 for t in sd.ddim_times(n)[:-1]] == theirs.timesteps.tolist()
    g = torch.Generator().manual_seed(n)
    x_T, weird = torch.randn(2, 3, 3, 8, 8, generator=g)
    def model(x, t, c=None): # near the answer for a Gaussian, so that x stays near [-1, 1], with a curved part
        ab = SCHEDULE.alpha_bar[(t * T).round().long()][:, None, None, None]
        return (1 - ab).sqrt() * x / (ab / 4 + 1 - ab) + .1 * torch.tanh(weird + 2 * x)
    want = [x_T]
    for k in theirs.timesteps: want.append(theirs.step(model(want[-1], torch.full((3,), (k.item() + 1) / T)), k, want[-1]).prev_sample)
    got = list(sd.dpm_steps(x_T, model, n))
    assert len(got) == len(want) == n + 1
    for step, x in zip(got, want):
        torch.testing.assert_close(step.x_t, x, rtol=0, atol=1e-4, msg=lambda m: f"t = {step.t}: {m}")


@pytest.mark.parametrize("t", (1, 2, 100, 250, 500))
def test_predict_x_0(t):
    "predict_x_0 is their pred_original_sample"
    x, eps, _ = scene(t)
    want = DDPMScheduler(**KEEP).step(eps, t - 1, x)
    torch.testing.assert_close(sd.predict_x_0(x, t, eps), want.pred_original_sample, rtol=1e-5, atol=1e-5)


def alpha_bar64():
    "alpha_bar_0..T in float64, from the formula of beta alone"
    beta = 1e-4 + (.02 - 1e-4) * np.arange(T + 1) / T
    beta[0] = 0
    return np.cumprod(1 - beta)


@pytest.mark.parametrize("n", (30, 7))
def test_times_that_do_not_divide(n):
    "The visited times are T - k T/n, rounded; diffusers visits the same"
    times = sd.ddim_times(n)
    assert len(times) == n + 1 and times[0] == T and times[-1] == 0
    assert all(abs(t - T * (1 - Fraction(k, n))) <= Fraction(1, 2) for k, t in enumerate(times))
    theirs = DDIMScheduler(**KEEP, timestep_spacing="trailing")
    theirs.set_timesteps(n)
    assert [t - 1 for t in times[:-1]] == theirs.timesteps.tolist()


@pytest.mark.parametrize("eta", (0., .5, 1.))
@pytest.mark.parametrize("n", (30, 7))
def test_ddim_steps_that_do_not_divide(n, eta):
    "Each step is equation 12 of the DDIM paper, in float64"
    ab, times = alpha_bar64(), sd.ddim_times(n)
    for t, s in zip(times, times[1:]):
        x, eps, z = scene(t)
        x64, eps64, z64 = (a.double().numpy() for a in (x, eps, z))
        x_0 = (x64 - np.sqrt(1 - ab[t]) * eps64) / np.sqrt(ab[t])
        sigma = eta * np.sqrt((1 - ab[s]) / (1 - ab[t])) * np.sqrt(1 - ab[t] / ab[s])
        want = np.sqrt(ab[s]) * x_0 + np.sqrt(1 - ab[s] - sigma**2) * eps64 + sigma * z64
        np.testing.assert_allclose(sd.denoise_ddim(x, t, s, eps, eta=eta, z=z).numpy(), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("t, want", ((500, 1.0000191), (250, .9991170), (2, .9950645), (1, .9941576)))
def test_ddpm_values(t, want):
    "The known values of a DDPM step"
    one = torch.ones(1, 1, 1, 1)
    assert sd.denoise_add_noise(one, t, one / 2, z=0).item() == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("t, t_prev, want", ((500, 475, 1.1391681), (250, 225, 1.0505935), (25, 0, .9453792)))
def test_ddim_values(t, t_prev, want):
    "The known values of a DDIM step"
    one = torch.ones(1, 1, 1, 1)
    assert sd.denoise_ddim(one, t, t_prev, one / 2).item() == pytest.approx(want, abs=1e-6)
