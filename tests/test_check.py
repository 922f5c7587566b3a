"""The checks behind the exercises: right answers pass, wrong ones get a hint that fits the mistake, nothing breaks them.

The answers stand in answers_*.py, the checks in chapter 19.
"""
import inspect, math, re
from functools import lru_cache
from importlib import import_module
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest, torch

import answers_basics, answers_bugs, answers_export, answers_mid, answers_theory, answers_use
import spritediff as sd
from in_step import NBS
from spritediff import check

TABLE = [case for part in (answers_basics, answers_theory, answers_mid, answers_use, answers_export, answers_bugs) for case in part.TABLE]
NAMES = [name for name, f in vars(check).items() if inspect.isfunction(f) and list(inspect.signature(f).parameters) == ["answer"]]
NONSENSE = ("seven", object(), [], {}, 3 + 4j, float("nan"), [None, None], b"\0", True, torch.zeros(3), lambda: None, lambda: 1, lambda *a: None,
            lambda *a: "text")


@pytest.mark.parametrize("name, answer, says", TABLE)
def test_answers(name, answer, says):
    "Right answers count, wrong ones do not, and the hint fits the mistake"
    said = getattr(check, name)(answer)
    assert bool(said) == (says == "Right.") and says in str(said) and str(said).startswith(("Right.", "Not yet")), said


def test_every_check_is_tried():
    assert NAMES and {name for name, _, says in TABLE if says == "Right."} == {name for name, _, says in TABLE if says != "Right."} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_check_has_its_exercise(name):
    assert sum(f"sd.check.{name}(None)" in cell.source for cell in code_cells()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_no_answer(name):
    for said in (getattr(check, name)(), getattr(check, name)(None)): assert not said and str(said).startswith("No answer yet")


@pytest.mark.parametrize("name", NAMES)
def test_nonsense(name):
    "What is no answer counts as wrong, in few words, and breaks nothing"
    for answer in NONSENSE:
        said = getattr(check, name)(answer)
        assert not said and str(said).startswith("Not yet") and len(str(said)) < 500, (answer, str(said))


def test_checks_leave_no_trace(monkeypatch):
    "The variable and the shared stream are as before"
    monkeypatch.setenv("SPRITEDIFF_DEVICE", "cpu")
    state = torch.get_rng_state()
    for name, answer, says in TABLE:
        if says == "Right.": getattr(check, name)(answer)
    assert torch.equal(state, torch.get_rng_state()) and sd.default_device().type == "cpu"


@pytest.mark.parametrize("pixels", [True, False])
def test_diagonal_leaks_counts_sprites(pixels):
    "Neither the number of leaking pixels nor that of sprites with enclosed white passes"
    white = (sd.make_sprites(100, 5, "held-out")[0] == 255).all(-1)
    beyond = sd.finish(sd.make_sprites(100, 5, "held-out")[0], 256)[..., 3] == 0
    near = sum(np.roll(beyond, (dy, dx), (1, 2)) for dy in (-1, 1) for dx in (-1, 1)) > 0
    wrong = (white & ~beyond & near).sum() if pixels else (white & ~beyond).any((1, 2)).sum()
    assert not check.diagonal_leaks(wrong) and check.diagonal_leaks(27)


def test_size_and_loss_by_other_means():
    "What the checks count is what PyTorch has"
    assert check.up0_size(sum(p.numel() for p in sd.ContextUnet(3, 64, 5, 32).up0.parameters()))
    assert math.isclose(answers_mid.input_loss(.5, 0), (1 - math.sqrt(.5)) ** 2)


# --- The answers printed in the chapters

@lru_cache
def code_cells(): return [c for p in sorted(NBS.glob("*.ipynb")) for c in nbformat.read(p, as_version=4).cells if c.cell_type == "code"]


def printed(chapter):
    "The code of each answer of a chapter"
    cells = nbformat.read(NBS/f"{chapter}.ipynb", as_version=4).cells
    hidden = [part for c in cells if c.cell_type == "markdown" for part in re.findall(r"<summary>Answer</summary>(.*?)</details>", c.source, re.S)]
    return [code for part in hidden for code in re.findall(r"^```python\n(.*?)^```", part, re.S | re.M)]


@pytest.fixture(scope="module")
def known():
    "What the code of the answers finds, besides the names of its chapter"
    clean, (images, labels) = sd.make_sprites(100, 5, "held-out")[0], sd.make_sprites(200, 1, "held-out")
    return dict({n: getattr(sd, n) for n in dir(sd)}, np=np, torch=torch, plt=plt, letters=lambda ax, figure, title: None,
                clean=clean, true=sd.finish(clean, 256)[..., 3] == 0, held_out=sd.to_x(images), kinds=sd.one_hot(labels),
                trained=sd.load_pretrained("plain", "cpu"), schedule=sd.linear_schedule(), plain={"accuracy": .989}, plain_noisy={"accuracy": .994},
                yardstick=SimpleNamespace(training=sd.to_x(sd.make_sprites(20_000, 0, "train")[0])))


@pytest.mark.parametrize("chapter, module, n", [("00_core", "core", 3), ("01_sprites", "sprites", 4), ("02_viz", "viz", 2), ("04_unet", "unet", 4),
                                                ("05_training", "training", 4), ("09_conditioning", "conditioning", 4),
                                                ("10_evaluation", "evaluation", 4), ("11_finish", "finishing", 3)])
def test_answers_of_the_chapters(chapter, module, n, known):
    "The code under 'Answer' runs and is right"
    said = []
    class Checks:
        def __getattr__(self, name): return lambda answer: said.append(getattr(check, name)(answer))
    names = {**known, **vars(import_module(f"spritediff.{module}")), "sd": SimpleNamespace(check=Checks())}
    for code in printed(chapter): exec(code, names)
    plt.close("all")
    assert [bool(v) for v in said] == [True] * n, said
