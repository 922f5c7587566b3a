"""The noise schedules, their indices, and what they refuse."""
import math

import pytest, torch

import spritediff as sd

TABLE = {1: .99986020, 2: .99968063, 100: .80954803, 250: .27858762, 500: .00628939}
X = torch.ones(2, 3, 16, 16)


@pytest.mark.parametrize("t", TABLE)
def test_alpha_bar(t):
    "The known values of alpha_bar"
    assert sd.linear_schedule().alpha_bar[t].item() == pytest.approx(TABLE[t], abs=4e-8)


def test_linear():
    "beta is the line through beta1 at 0 and beta2 at T; alpha and alpha_bar follow, in float64"
    s = sd.linear_schedule()
    beta = torch.tensor([1e-4 + (.02 - 1e-4) * t / 500 for t in range(1, 501)], dtype=torch.float64)
    torch.testing.assert_close(s.beta[1:], beta.float(), rtol=0, atol=1e-9)
    torch.testing.assert_close(s.alpha[1:], (1 - beta).float(), rtol=0, atol=1e-7)
    torch.testing.assert_close(s.alpha_bar[1:], (1 - beta).cumprod(0).float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("make", (sd.linear_schedule, sd.cosine_schedule))
@pytest.mark.parametrize("T", (1, 10, 500))
def test_shape(make, T):
    "T + 1 entries in float32, index 0 is clean, alpha_bar falls strictly within (0, 1)"
    s = make(T)
    assert s.timesteps == T
    for sequence in (s.beta, s.alpha, s.alpha_bar): assert sequence.shape == (T + 1,) and sequence.dtype == torch.float32
    assert s.beta[0] == 0 and s.alpha[0] == 1 and s.alpha_bar[0] == 1
    assert (s.alpha_bar.diff() < 0).all() and s.alpha_bar[-1] > 0


def test_cosine():
    "alpha_bar is the squared cosine; beta stays below 0.999 and ends there; less signal is left than in the linear one"
    s, f = sd.cosine_schedule(), lambda u: math.cos((u + .008) / 1.008 * math.pi / 2)**2
    want = torch.tensor([f(t / 500) / f(0) for t in range(500)])
    torch.testing.assert_close(s.alpha_bar[:500], want, rtol=1e-4, atol=1e-6)
    assert (s.beta[1:] > 0).all() and s.beta.max().item() == pytest.approx(.999)
    assert s.alpha_bar[500] < 1e-4 < sd.linear_schedule().alpha_bar[500]
    assert s.alpha_bar[250] > sd.linear_schedule().alpha_bar[250]


def test_one_t_for_all_or_one_each():
    "A number, a tensor of one and a tensor of B mean the same step; different steps go to their rows"
    noise = torch.randn(X.shape, generator=torch.Generator().manual_seed(0))
    want = sd.perturb_input(X, 7, noise)
    for t in (torch.tensor(7), torch.tensor([7]), torch.tensor([7, 7]), torch.tensor([7., 7.]), [7, 7]):
        assert torch.equal(sd.perturb_input(X, t, noise), want)
    mixed = sd.perturb_input(X, torch.tensor([7, 400]), noise)
    assert torch.equal(mixed[:1], want[:1]) and torch.equal(mixed[1:], sd.perturb_input(X[1:], 400, noise[1:]))


@pytest.mark.parametrize("t", (0, 501, 1.5, -1, math.nan, [1, 501], [], torch.tensor([1, 0])))
def test_bad_t(t):
    "Each function of t refuses what is not a whole number in 1..T"
    for call in (sd.perturb_input, sd.predict_x_0, sd.denoise_add_noise):
        with pytest.raises(sd.InputError, match="whole numbers from 1 to 500"): call(X, t, X)
    with pytest.raises(sd.InputError): sd.denoise_ddim(X, t, 0, X)


@pytest.mark.parametrize("T", (0, -5, 1.5, "500", None, math.inf))
def test_bad_timesteps(T):
    "Schedules refuse a T that is not a whole number from 1"
    for make in (sd.linear_schedule, sd.cosine_schedule):
        with pytest.raises(sd.InputError, match="timesteps is"): make(T)


@pytest.mark.parametrize("beta", ([0., .1], [.1, 1.], [.1, math.nan], [], [[.1]]))
def test_bad_beta(beta):
    "A schedule refuses betas beyond (0, 1) and other shapes"
    with pytest.raises(sd.InputError, match="strictly between 0 and 1"): sd.NoiseSchedule.from_beta(beta)


def test_bad_shapes():
    "perturb_input refuses noise of another shape, and t of another length"
    with pytest.raises(sd.InputError, match="Match them"): sd.perturb_input(X, 7, X[:1])
    with pytest.raises(sd.InputError, match="Match them"): sd.perturb_input(X, [7, 8, 9], X)


@pytest.mark.cuda
def test_device():
    "A schedule on the CPU serves pictures on the GPU, and the other way round"
    noise = torch.randn(X.shape, generator=torch.Generator().manual_seed(0))
    want = sd.perturb_input(X, 7, noise)
    got = sd.perturb_input(X.cuda(), 7, noise.cuda())
    assert got.is_cuda and torch.allclose(got.cpu(), want, atol=1e-6)
    assert torch.equal(sd.perturb_input(X, 7, noise, sd.linear_schedule().to("cuda")), want)
