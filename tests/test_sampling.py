"""The samplers as a user calls them: seeds, records, callbacks, contexts, and code of the course."""
from importlib import import_module

import numpy as np
import pytest, torch

import spritediff as sd

SHORT = sd.linear_schedule(20)
SAMPLERS = {"ddpm": sd.sample_ddpm_context, "ddim": lambda n, c, **k: sd.sample_ddim_context(n, c, n=5, **k),
            "dpm": lambda n, c, **k: sd.sample_dpm_context(n, c, n=5, **k),
            "ddim eta": lambda n, c, **k: sd.sample_ddim_context(n, c, n=5, eta=.7, **k)}
ROW = torch.tensor([1., 0, .6, 0, 0])
each = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def zero(x, t, c=None):
    "A model that sees no noise"
    return torch.zeros_like(x)


def gaussian(x, t, c=None):
    "The exact noise for data ~ N(.3, .5^2)"
    ab = sd.linear_schedule().alpha_bar[(t * 500).round().long()][:, None, None, None]
    return (1 - ab).sqrt() * (x - ab.sqrt() * .3) / (ab * .25 + 1 - ab)


@each
def test_seeds(tiny, sampler):
    "A seed gives its samples to the bit, as a number and as a generator; other seeds and no seed give others"
    draw = lambda seed: sampler(3, None, model=tiny, schedule=SHORT, seed=seed)
    want, frames = draw(5)
    for seed in (5, torch.Generator().manual_seed(5)):
        assert torch.equal(draw(seed)[0], want) and np.array_equal(draw(torch.Generator().manual_seed(5))[1], frames)
    assert not torch.allclose(draw(6)[0], want)
    assert not torch.allclose(draw(None)[0], draw(None)[0])
    g = torch.Generator().manual_seed(5)
    assert torch.equal(draw(g)[0], want) and not torch.equal(draw(g)[0], want) # a generator goes on


@each
def test_global_seed_is_left_alone(tiny, sampler):
    "Sampling neither reads nor moves PyTorch's global generator"
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = sampler(2, None, model=tiny, schedule=SHORT, seed=5)[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(sampler(2, None, model=tiny, schedule=SHORT, seed=5)[0], a)


def test_ddpm_record():
    "DDPM records the course's 32 frames: every 20th step, the first and the last seven; the last is the sample"
    samples, frames = sd.sample_ddpm(2, model=zero, seed=0)
    assert samples.shape == (2, 3, 16, 16) and isinstance(frames, np.ndarray) and frames.shape == (32, 2, 3, 16, 16)
    assert np.array_equal(frames[-1], samples.numpy())
    assert sd.sample_ddpm(2, 100, model=zero)[1].shape[0] == 5 + 7


@pytest.mark.parametrize("n", (1, 7, 20, 25, 30, 500))
def test_ddim_record(n):
    "DDIM records a frame a step, with any n from 1 to T, and the last is the sample"
    samples, frames = sd.sample_ddim(2, n=n, model=gaussian, seed=0)
    assert frames.shape == (n, 2, 3, 16, 16) and np.array_equal(frames[-1], samples.numpy()) and samples.isfinite().all()


def test_one_ddim_step(tiny):
    "DDIM with n = 1 jumps to the x_0_hat of pure noise"
    seen = []
    samples, _ = sd.sample_ddim(2, n=1, model=tiny, seed=0, callback=seen.append)
    assert [s.t for s in seen] == [500, 0]
    torch.testing.assert_close(samples, seen[0].x_0_hat)


@pytest.mark.parametrize("sampler, times", (("ddpm", list(range(20, -1, -1))), ("ddim", [20, 17, 14, 11, 9, 6, 3, 0])))
def test_callback(tiny, sampler, times):
    "The callback sees t from T to 0, with x_t = sqrt(ab) x_0_hat + sqrt(1 - ab) eps_hat, and the sample last"
    seen, keep = [], dict(model=tiny, schedule=SHORT, seed=0)
    if sampler == "ddpm": samples, _ = sd.sample_ddpm(2, callback=seen.append, **keep)
    else: samples, _ = sd.sample_ddim(2, n=7, callback=seen.append, **keep)
    assert [s.t for s in seen] == times
    for s in seen:
        ab = SHORT.alpha_bar[s.t]
        torch.testing.assert_close(ab.sqrt() * s.x_0_hat + (1 - ab).sqrt() * s.eps_hat, s.x_t, rtol=1e-4, atol=1e-5)
        if s.t: torch.testing.assert_close(s.eps_hat, tiny(s.x_t, s.t / 20).detach())
    assert torch.equal(seen[-1].x_t, samples) and (seen[-1].eps_hat == 0).all()


@pytest.mark.parametrize("steps, sample", [(sd.ddim_steps, sd.sample_ddim), (sd.dpm_steps, sd.sample_dpm)])
def test_steps(tiny, steps, sample):
    "The generators give what the samplers give, can be stopped early, and leave the model's mode alone"
    x_T = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    *_, step = steps(x_T, tiny, 5, SHORT)
    assert torch.equal(step.x_t, sample(2, n=5, model=tiny, schedule=SHORT, seed=5)[0])
    tiny.train()
    few = steps(x_T, tiny, 5, SHORT)
    assert torch.equal(next(few).x_t, x_T) and not tiny.training
    few.close()
    assert tiny.training


def test_ddpm_steps(tiny):
    "The same for DDPM, whose generator goes on after x_T"
    g = torch.Generator().manual_seed(5)
    *_, step = sd.ddpm_steps(torch.randn(2, 3, 16, 16, generator=g), tiny, SHORT, seed=g)
    assert torch.equal(step.x_t, sd.sample_ddpm(2, model=tiny, schedule=SHORT, seed=5)[0])


@each
def test_train_mode(tiny, sampler):
    "A model in train mode is used in eval mode, its statistics untouched, and left in train mode, errors included"
    want = sampler(2, None, model=tiny, schedule=SHORT, seed=0)[0]
    tiny.train()
    before = {k: v.clone() for k, v in tiny.state_dict().items()}
    assert torch.equal(sampler(2, None, model=tiny, schedule=SHORT, seed=0)[0], want)
    assert tiny.training and all(torch.equal(v, before[k]) for k, v in tiny.state_dict().items())
    def fail(step): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): sampler(2, None, model=tiny, schedule=SHORT, callback=fail)
    assert tiny.training
    tiny.eval()
    sampler(2, None, model=tiny, schedule=SHORT)
    assert not tiny.training


@each
def test_context(tiny, sampler):
    "One row serves all; lists and arrays do too; zeros equal none; a context matters"
    draw = lambda c: sampler(3, c, model=tiny, schedule=SHORT, seed=0)[0]
    want = draw(ROW.expand(3, 5).clone())
    for c in (ROW, ROW[None], ROW.tolist(), ROW.numpy(), ROW.double()): assert torch.equal(draw(c), want)
    assert torch.equal(draw(torch.zeros(5)), draw(None))
    assert not torch.equal(draw(ROW), draw(None))


@each
def test_rows_of_context(tiny, sampler):
    "Each sprite follows its own row"
    rows = torch.stack([500 * ROW, -500 * ROW.flip(0)])
    draw = lambda c: sampler(2, c, model=tiny, schedule=SHORT, seed=0)[0]
    mixed, alike = draw(rows), [draw(row) for row in rows]
    for i in (0, 1): torch.testing.assert_close(mixed[i], alike[i][i], rtol=1e-4, atol=1e-5)
    assert (mixed[1] - alike[0][1]).abs().max() > 1e-3


def test_no_grad(tiny):
    "Samples carry no graph"
    assert not any(f(1, model=tiny, schedule=SHORT)[0].requires_grad for f in (sd.sample_ddpm, lambda *a, **k: sd.sample_ddim(*a, n=2, **k)))


def test_wrong_sampler():
    "Without the noise added back, the spread of a Gaussian collapses far below the right sampler's"
    right, wrong = (f(40, model=gaussian, seed=0)[0] for f in (sd.sample_ddpm, sd.sample_ddpm_incorrect))
    assert abs(right.std().item() - .5) < .02 and wrong.std() < .25


@pytest.mark.parametrize("bad", (-.1, 1.1, float("nan"), "1", None, True), ids=str)
def test_bad_eta(tiny, bad):
    "eta lies in 0..1"
    with pytest.raises(sd.InputError, match="eta is"): sd.sample_ddim(1, n=2, eta=bad, model=tiny)
    with pytest.raises(sd.InputError, match="eta is"): sd.denoise_ddim(torch.zeros(1, 3, 16, 16), 9, 3, torch.zeros(1, 3, 16, 16), eta=bad)


def test_eta(tiny):
    "eta 0 needs no noise after x_T, eta 1 does; both are allowed"
    at = lambda eta, seed: sd.denoise_ddim(torch.ones(1, 3, 16, 16), 9, 3, torch.ones(1, 3, 16, 16), eta=eta, seed=seed)
    assert torch.equal(at(0, 1), at(0, 2)) and not torch.equal(at(1, 1), at(1, 2)) and torch.equal(at(1, 1), at(1, 1))


BAD = (dict(n_sample=0), dict(n_sample=-1), dict(n_sample=1.5), dict(n_sample="4"), dict(seed=-1), dict(seed=.5), dict(seed="x"), dict(device="tpu"),
       dict(context=torch.zeros(4)), dict(context=torch.zeros(3, 5)), dict(context=torch.zeros(2, 6)), dict(context="hero"), dict(context=5.),
       dict(context=[float("inf"), 0, 0, 0, 0]), dict(context=[[1, 0], [1]]))


@each
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_input(sampler, bad):
    "Bad input is refused before the model is asked"
    def never(*args): raise AssertionError("the model was asked")
    args = {"n_sample": 2, "context": None, **bad}
    with pytest.raises(sd.InputError): sampler(args.pop("n_sample"), args.pop("context"), model=never, **args)


@pytest.mark.parametrize("n", (0, 501, -5, 2.5, "20"))
def test_bad_n(tiny, n):
    "The number of DDIM steps lies in 1..T"
    with pytest.raises(sd.InputError, match="number of DDIM steps"): sd.sample_ddim(1, n=n, model=tiny)
    with pytest.raises(sd.InputError, match="t_prev"): sd.denoise_ddim(torch.zeros(1, 3, 16, 16), 9, -12, torch.zeros(1, 3, 16, 16))


def test_bad_save_rate(tiny):
    "The save rate is a whole number from 1"
    with pytest.raises(sd.InputError, match="save_rate"): sd.sample_ddpm(1, 0, model=tiny)


# --- The course's own code

@pytest.fixture
def course(tiny, tmp_path, monkeypatch):
    "The course's names; a tiny network stands in for the shipped weights, and figures are counted"
    import matplotlib.pyplot as plt
    path, shown = sd.save_weights(tiny, tmp_path/"tiny.safetensors"), []
    space = {"torch": torch, "device": sd.default_device(), "save_dir": str(tmp_path/"none"), "shown": shown}
    exec("from spritediff import *\nfrom IPython.display import HTML", space)
    monkeypatch.setattr(import_module("spritediff.generation"), "load_pretrained", lambda device=None: sd.load_weights(path, device))
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf().number))
    yield space
    plt.close("all")


@pytest.mark.parametrize("rows", (
    "[1,0,0,0,0], [1,0,0,0,0], [0,0,0,0,1], [0,0,0,0,1], [0,1,0,0,0], [0,1,0,0,0], [0,0,1,0,0], [0,0,1,0,0],",
    "[1,0,0,0,0], [1,0,0.6,0,0], [0,0,0.6,0.4,0], [1,0,0,0,1], [1,1,0,0,0], [1,0,0,1,0]"), ids=("classes", "mixed"))
def test_course_contexts(course, rows):
    "The course's cell that steers by a context runs as it stands"
    exec(f"""
ctx = torch.tensor([
    # hero, non-hero, food, spell, side-facing
    {rows}
]).float().to(device)
samples, _ = sample_ddpm_context(ctx.shape[0], ctx)
show_images(samples)
""", course)
    assert course["samples"].shape == (rows.count("["), 3, 16, 16) and len(course["shown"]) == 1


def test_course_animation(course, tmp_path):
    "The course's cell that animates DDIM runs as it stands, and writes nothing"
    exec("""
samples, intermediate = sample_ddim(32, n=25)
animation_ddim = plot_sample(intermediate, 32, 4, save_dir, "ani_run", None, save=False)
page = HTML(animation_ddim.to_jshtml())
""", course)
    assert course["page"].data.count("data:image/png") == 25 and not (tmp_path/"none").exists()


@pytest.mark.cuda
@each
def test_devices(tiny, sampler):
    "Model and schedule may come from either device: the sampler moves them, and a seed repeats to the bit there"
    on_gpu = sampler(2, ROW, model=tiny, schedule=SHORT, seed=0, device="cuda")
    assert on_gpu[0].is_cuda and isinstance(on_gpu[1], np.ndarray)
    assert torch.equal(sampler(2, ROW.cuda(), model=tiny, schedule=SHORT.to("cuda"), seed=0)[0], on_gpu[0]) # where the model is
    back = sampler(2, ROW.cuda(), model=tiny, schedule=SHORT.to("cuda"), seed=0, device="cpu")
    assert back[0].device.type == "cpu" and next(tiny.parameters()).device.type == "cpu"
    with pytest.raises(sd.InputError, match="generator"): sampler(2, None, model=tiny, seed=torch.Generator("cuda"), device="cpu")


@each
def test_guidance(tiny, sampler):
    "0 and 1 are the plain paths to the bit; the formula holds; each step asks once, or twice in one batch"
    draw = lambda c, **k: sampler(3, c, model=tiny, schedule=SHORT, seed=5, **k)[0]
    assert torch.equal(draw(ROW, guidance=1), draw(ROW)) and torch.equal(draw(ROW, guidance=0), draw(None))
    assert torch.equal(draw(None, guidance=3), draw(None)) # nothing to be guided by
    torch.testing.assert_close(draw(ROW, guidance=1 + 1e-6), draw(ROW), rtol=0, atol=1e-2)
    assert not torch.equal(draw(ROW, guidance=3), draw(ROW))
    sizes = []
    def model(x, t, c=None):
        sizes.append(len(x))
        return .1 * x if c is None else .1 * x + c[:, :1, None, None]
    a, b, c = (sampler(2, ROW, model=model, schedule=SHORT, seed=5, guidance=g)[0] for g in (0, 1, 2))
    assert set(sizes) == {2, 4}
    torch.testing.assert_close(c - b, b - a, rtol=1e-3, atol=1e-3) # the model is linear in x and c, so the sampler is in g


@each
@pytest.mark.parametrize("guidance", (-1, 21, float("nan"), "much", None))
def test_bad_guidance(sampler, guidance):
    "Refused before the model is asked"
    def never(*args): raise AssertionError
    with pytest.raises(sd.InputError, match="guidance"): sampler(1, ROW, model=never, guidance=guidance)


@pytest.mark.parametrize("n", (1, 2, 3, 7, 30, 500))
def test_dpm_record(n):
    "n frames, the last is the sample; any n; first and last step are DDIM's"
    samples, frames = sd.sample_dpm(2, n, model=gaussian, seed=0)
    assert frames.shape == (n, 2, 3, 16, 16) and np.array_equal(frames[-1], samples.numpy())
    first = sd.sample_ddim(2, n, model=gaussian, seed=0)[1][0]
    np.testing.assert_allclose(frames[0], first, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", (0, 501, 2.5, "ten", None))
def test_bad_dpm_steps(n):
    with pytest.raises(sd.InputError, match="DPM steps"): sd.sample_dpm(1, n)
