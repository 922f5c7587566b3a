"""Scrubbers and the mixer, driven from Python: sliders set, buttons clicked, what is shown read back."""
import base64, io, re

import numpy as np, pytest, torch
from PIL import Image

import spritediff as sd
from spritediff.viz import as_panels, frame_html


def pictures(page): return [np.array(Image.open(io.BytesIO(base64.b64decode(s))).convert("RGB")) for s in re.findall(r"base64,([^\"]+)", page)]


def frames(count=5, n=3, value=None):
    levels = torch.linspace(-1, 1, count) if value is None else torch.full((count,), value)
    return levels[:, None, None, None, None].expand(count, n, 3, 4, 4)


def test_frames_are_exact_and_on_the_fixed_scale():
    x = torch.rand(6, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    stack = sd.scrubber(x, nrows=2).children[1]
    for frame, page in zip(x, stack.children):
        assert np.array_equal(pictures(page.value)[0], sd.sheet(frame, ncol=2, scale=1))
    faint, loud = (pictures(sd.scrubber(frames(1, value=v)).children[1].children[0].value)[0] for v in (.1, 3.))
    assert faint[1, 1, 0] == round(1.1 * 127.5) and loud[1, 1, 0] == 255


def test_links_alone_move_the_frames():
    box = sd.scrubber(frames(), start=2)
    (play, slider), stack = box.children[0].children, box.children[1]
    assert [(a.source[0], a.target[0], a.target[1]) for a in box.links] == [
        (play, slider, "value"), (slider, stack, "selected_index")]
    assert (play.max, slider.max, slider.value, stack.selected_index, len(stack.children)) == (4, 4, 2, 2, 5)


def test_steps_of_a_sampler(tiny):
    steps = list(sd.ddim_steps(torch.randn(2, 3, 16, 16, generator=sd.make_generator(0)), tiny, 4))
    panels, captions = as_panels(steps)
    assert list(panels) == ["x_t", "x_0_hat", "eps_hat"] and captions == [f"t = {t}" for t in (500, 375, 250, 125, 0)]
    page = sd.scrubber(iter(steps)).children[1].children[1].value
    assert len(pictures(page)) == 3 and "step 2 of 5, t = 375" in page and 'alt="x_0_hat, step 2 of 5, t = 375"' in page


@pytest.mark.parametrize("steps, says", [
    ([], "there are no frames; expected at least one"),
    ({}, "there are no frames"),
    ({"a": []}, "there are no frames of 'a'"),
    ([torch.zeros(2, 3, 4, 4), torch.zeros(3, 3, 4, 4)], "expected a single one"),
    ({"a": frames(3), "b": frames(4)}, "{'a': 3, 'b': 4}"),
    (frames(value=float("nan")), "frame 0 holds NaN"),
    (frames(value=float("inf")), "frame 0 holds NaN or infinite"),
    (torch.rand(100, 32, 3, 16, 16), "KB; expected at most 600. Show fewer pictures (n=8), or leave out frames"),
    (torch.zeros(3, 16, 16), "expected (n, 3, H, W)")])
def test_bad_frames(steps, says):
    with pytest.raises(sd.InputError, match=re.escape(says)): sd.scrubber(steps)


@pytest.mark.parametrize("bad", [dict(start=5), dict(n=4), dict(nrows=0), dict(scale=0), dict(captions=["a"])])
def test_bad_settings(bad):
    with pytest.raises(sd.InputError): sd.scrubber(frames(), **bad)


def test_captions_cannot_carry_markup():
    page = frame_html({"<b>": (np.zeros((1, 1, 3), np.uint8), 1)}, '"><script>')
    assert "<script" not in page and "<b>" not in page


def test_mixer_gives_what_the_sampler_gives(tiny):
    mixer = sd.context_mixer(tiny, n=3, seed=5, steps=4, guidance=1, sampler="dpm")
    mixer.controls["food"].value = .5
    mixer.controls["generate"].click()
    assert mixer.wait(60) and mixer.status.value.startswith("Done: hero 1, food 0.5; dpm, 4 steps")
    wanted = sd.sample_dpm_context(3, sd.context(hero=1, food=.5), 4, model=tiny, seed=5)[0]
    assert np.array_equal(pictures(mixer.result.value)[0], sd.sheet(wanted, ncol=8, scale=1))
    assert mixer.controls["progress"].value == mixer.controls["progress"].max == 4


def test_mixer_keeps_a_short_history(tiny):
    mixer = sd.context_mixer(tiny, n=1, keep=2, steps=1)
    for seed in range(4):
        mixer.controls["seed"].value = seed
        mixer.generate()
        assert mixer.wait(60)
    assert "seed 3" in mixer.result.value
    assert re.findall(r"<div>[^<]*seed (\d)", mixer.history.value) == ["2", "1"], "the newest first, two of them"


def test_mixer_can_be_cancelled_and_goes_on(tiny):
    mixer = sd.context_mixer(tiny, n=1, sampler="ddpm")
    mixer.controls["generate"].click()
    assert mixer.controls["generate"].disabled and not mixer.controls["cancel"].disabled
    running = mixer.thread
    mixer.generate() # a second call while it runs
    assert mixer.thread is running
    while mixer.controls["progress"].value < 3 and not mixer.wait(.005): pass
    mixer.controls["cancel"].click()
    assert mixer.wait(60) and mixer.status.value == "Cancelled." and mixer.controls["progress"].value < 500
    mixer.controls["sampler"].value = "ddim"
    mixer.controls["generate"].click()
    assert mixer.wait(60) and mixer.status.value.startswith("Done")


def test_mixer_shows_errors(tiny):
    def broken(x, t, c=None): raise ValueError("the network is broken")
    mixer = sd.context_mixer(tiny, n=1)
    mixer.model = broken
    mixer.generate()
    assert mixer.wait(60) and mixer.status.value == "ValueError: the network is broken"
    assert not mixer.controls["generate"].disabled


@pytest.mark.parametrize("bad, says", [
    (dict(dragon=1), "no setting 'dragon'"), (dict(hero=5), "hero is 5"), (dict(n=0), "n is 0"), (dict(n=65), "n is 65"),
    (dict(keep=-1), "keep is -1"), (dict(steps=0), "steps is 0"), (dict(steps=300), "steps is 300"), (dict(seed=-1), "seed is -1"),
    (dict(guidance=9), "guidance is 9"), (dict(sampler="magic"), "sampler is 'magic'"), (dict(model="dragons"), "dragons")])
def test_mixer_bad_input(bad, says):
    with pytest.raises(sd.InputError, match=re.escape(says)): sd.context_mixer(**bad)


@pytest.mark.parametrize("nrows, size", [(1, (344, 72)), (5, (72, 344))])
def test_animation_of_one_row_or_column(nrows, size, tmp_path):
    "GIF and page, on the fixed scale"
    x = frames(3, n=5).repeat(1, 1, 1, 4, 4)
    ani = sd.plot_sample(x, 5, nrows, tmp_path, "ani", 1, save=True)
    gif, seen = Image.open(tmp_path/"ani_w1.gif"), []
    assert gif.size == size
    for i in range(gif.n_frames):
        gif.seek(i)
        seen.append(np.array(gif.convert("RGB"))[10, 10, 0])
    assert seen == [0, 128, 255]
    assert len(re.findall(r"frames\[\d+\] = ", ani.to_jshtml())) == 3
