"""The command line: what it writes, and how it says no."""
import json, os, subprocess, sys

import numpy as np
import pytest
from PIL import Image

import spritediff as sd
import spritediff.__main__ as command


def run(*args):
    "Exit code of the command in this process"
    try: return command.main([str(a) for a in args])
    except SystemExit as e: return e.code


def size(path):
    "Width, height and number of frames of a picture"
    with Image.open(path) as image: return *image.size, getattr(image, "n_frames", 1)


def content(folder): return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("n, columns, rows", ((3, 3, 1), (8, 8, 1), (10, 3, 4)))
def test_generate(tmp_path, capsys, n, columns, rows):
    "A sheet, an animation with a frame a step, and a PNG a sprite, all of the right size"
    assert run("generate", "--n", n, "--steps", 2, "--seed", 1, "--out", tmp_path/"a"/"b") == 0
    out = tmp_path/"a"/"b"
    assert sorted(content(out)) == ["denoising.gif", "sheet.png"] + [f"sprite_{i:03d}.png" for i in range(n)]
    assert size(out/"sheet.png") == (8 * (17 * columns + 1), 8 * (17 * rows + 1), 1)
    assert size(out/"denoising.gif") == (6 * (17 * columns + 1), 6 * (17 * rows + 1), 2)
    assert all(size(out/f"sprite_{i:03d}.png") == (16, 16, 1) for i in range(n))
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{n} sprites in {out}") and printed.out.count("\n") == 1


def test_one_sprite(tmp_path):
    "A single sprite's sheet has the margin that all sheets have"
    assert run("generate", "--n", 1, "--steps", 2, "--out", tmp_path) == 0
    assert size(tmp_path/"sheet.png")[:2] == (8 * 18, 8 * 18)


def test_same_seed_same_bytes(tmp_path):
    "A seed gives every file to the byte, also in a process of its own; another seed and no seed give others"
    args = "generate", "--n", "2", "--steps", "3", "--context", "hero=1,food=0.6"
    for name, seed in (("a", 4), ("b", 4), ("c", 5)): assert run(*args, "--seed", seed, "--out", tmp_path/name) == 0
    for name in ("e", "f"): assert run(*args, "--out", tmp_path/name) == 0
    subprocess.run([sys.executable, "-m", "spritediff", *args, "--seed", "4", "--out", str(tmp_path/"d")], check=True,
                   env={**os.environ, "OMP_NUM_THREADS": "1"})
    a, b, c, d, e, f = (content(tmp_path/name) for name in "abcdef")
    assert a == b == d and a.keys() == c.keys()
    assert a["sprite_000.png"] != c["sprite_000.png"] and e["sprite_000.png"] != f["sprite_000.png"]


def test_single_pngs_are_the_sheet(tmp_path):
    "Each PNG is its place on the sheet, unscaled"
    assert run("generate", "--n", 3, "--steps", 2, "--seed", 1, "--out", tmp_path) == 0
    sheet = np.array(Image.open(tmp_path/"sheet.png"))[::8, ::8]
    for i in range(3):
        assert np.array_equal(np.array(Image.open(tmp_path/f"sprite_{i:03d}.png")), sheet[1:17, 1 + 17 * i:17 + 17 * i])


def test_all_classes_in_turn(tmp_path, monkeypatch):
    "--context all asks for the classes in turn, and a class name for that class; ddpm takes its 500 steps"
    from importlib import import_module
    module, seen = import_module("spritediff.generation"), []
    def spy(wanted):
        rows = wanted["context"]
        seen.append((wanted["n"], rows.argmax(1).tolist(), wanted["sampler"], wanted["steps"], wanted["eta"]))
        return sd.sample_ddim(wanted["n"], n=1, model=lambda x, t, c: x)
    monkeypatch.setattr(module, "sample_request", spy)
    assert run("generate", "--n", 7, "--out", tmp_path) == 0
    assert run("generate", "--n", 1, "--context", "side-facing", "--sampler", "ddpm", "--steps", 500, "--out", tmp_path) == 0
    assert seen == [(7, [0, 1, 2, 3, 4, 0, 1], "ddim", 25, 1.0), (1, [4], "ddpm", 500, 0.0)]


BAD = ("--context knight", "--context hero=x", "--context hero=inf", "--context hero=nan", "--context hero=1,hero=2", "--context hero=1,,food=1",
       "--context hero=", "--context=", "--n 0", "--n many", "--n -3", "--n 2.5", "--n ²", "--steps 501", "--steps 0", "--steps -1", "--steps x",
       "--sampler magic", "--sampler ddpm --steps 25", "--device tpu", "--device cuda:99", "--seed -1", "--seed 1.5", "--seed x",
       "--seed 99999999999999999999")


def refused(capsys, folder, *args):
    "The command says no as it should: exit code 2, one line on stderr, nothing on stdout, nothing written"
    before = sorted(folder.rglob("*"))
    code = run(*args)
    printed = capsys.readouterr()
    assert code == 2, f"exit code {code}"
    assert printed.err.startswith("spritediff: ") and printed.err.count("\n") == 1 and len(printed.err) > 30, printed.err
    assert printed.out == "" and sorted(folder.rglob("*")) == before, "something was written"


@pytest.mark.parametrize("bad", BAD)
def test_bad_generate(capsys, tmp_path, bad):
    "Every bad value ends in exit code 2 and one line, before anything is written"
    refused(capsys, tmp_path, "generate", "--n", 1, *bad.split(), "--out", tmp_path/"out")


def test_bad_out(capsys, tmp_path):
    "A file in the way of --out is named"
    (tmp_path/"file").touch()
    for out in (tmp_path/"file", tmp_path/"file"/"below"): refused(capsys, tmp_path, "generate", "--n", 1, "--out", out)


@pytest.mark.parametrize("bad", ("generate --bogus", "generate --n", "draw", "train --lr x", ""))
def test_bad_grammar(capsys, tmp_path, monkeypatch, bad):
    "Unknown options and commands, missing values: one line as well"
    monkeypatch.chdir(tmp_path)
    refused(capsys, tmp_path, *bad.split())


def test_bad_in_a_process(tmp_path):
    "The same seen from outside: exit code 2, one line, no traceback"
    done = subprocess.run([sys.executable, "-m", "spritediff", "generate", "--context", "knight"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and not list(tmp_path.iterdir())
    assert done.stderr.count("\n") == 1 and "knight" in done.stderr and "hero, non-hero" in done.stderr


# --- train

@pytest.fixture
def small(monkeypatch):
    "A small network in place of the full one"
    from importlib import import_module
    monkeypatch.setattr(import_module("spritediff.runs"), "ContextUnet", lambda channels, n_feat, *args, **kwargs: sd.ContextUnet(channels, 8, *args, **kwargs))


def test_train(tmp_path, small, capsys):
    "Training leaves a folder that can be sampled from; --resume goes on"
    args = "train", "--sprites", 20, "--epochs", 2, "--batch-size", 10, "--seed", 3, "--device", "cpu"
    assert run(*args, "--out", tmp_path/"a") == 0
    assert capsys.readouterr().out == f"run in {tmp_path/'a'}, to be used as --weights\n"
    assert {"weights.safetensors", "config.json", "README.md", "run.json", "log.csv", "checkpoint.pt", "epoch_00.png", "epoch_01.png", "loss.png"} == content(tmp_path/"a").keys()
    facts = json.loads((tmp_path/"a"/"run.json").read_text())
    assert (facts["sprites"], facts["epochs"], facts["steps"], facts["seed"]) == (20, 2, 4, 3)
    assert size(tmp_path/"a"/"epoch_00.png")[:2] == (4 * (17 * 8 + 1), 4 * (17 * 5 + 1))
    assert run(*args, "--out", tmp_path/"a") == 2 and "holds a run already" in capsys.readouterr().err
    assert run("train", "--out", tmp_path/"a", "--resume", "--device", "cpu") == 0
    assert run("generate", "--n", 2, "--steps", 2, "--weights", tmp_path/"a", "--out", tmp_path/"b") == 0


@pytest.mark.parametrize("bad", ("--sprites 0", "--sprites x", "--epochs 0", "--epochs 1.5", "--batch-size 0", "--lr -1", "--lr nan", "--seed -1",
                                 "--device tpu", "--precision half", "--start none", "--data none", "--minutes x", "--size 16"))
def test_bad_train(capsys, tmp_path, small, bad):
    "Bad values end in exit code 2 and one line, before anything is written"
    refused(capsys, tmp_path, "train", "--sprites", 10, "--epochs", 1, *bad.split(), "--out", tmp_path/"out")


def test_bad_train_paths(capsys, tmp_path, small):
    "A file in the way of the folder"
    (tmp_path/"file").touch()
    refused(capsys, tmp_path, "train", "--sprites", 10, "--epochs", 1, "--out", tmp_path/"file")


def test_export(tmp_path, capsys):
    "Files for a game, and the network for other programs"
    assert run("export", "--n", 4, "--steps", 2, "--seed", 1, "--colours", 6, "--out", tmp_path/"game", "--formats", "png,atlas,palette") == 0
    assert f"in {tmp_path/'game'}" in capsys.readouterr().out and list((tmp_path/"game").rglob("*.json"))
    refused(capsys, tmp_path, "export", "--formats", "doc", "--out", tmp_path/"no")
    refused(capsys, tmp_path, "export", "--onnx", tmp_path/"net.txt")
    pytest.importorskip("onnxruntime")
    assert run("export", "--onnx", tmp_path/"net.onnx") == 0 and (tmp_path/"net.onnx").stat().st_size > 5e6


def test_eta(tmp_path, capsys):
    "generate takes eta 1 for ddim unless told otherwise, and none for the other samplers; weights can be named"
    one, same, none = (sd.generate(2, seed=1, steps=3, out=tmp_path/str(i), device="cpu", **k)["samples"]
                       for i, k in enumerate(({}, dict(eta=1.), dict(eta=0.))))
    assert np.array_equal(one, same) and not np.array_equal(one, none)
    assert command.main(["generate", "--n", "2", "--steps", "2", "--sampler", "dpm", "--eta", "0.5", "--out", str(tmp_path/"no")]) == 2
    assert "dpm has no such setting" in capsys.readouterr().err and not (tmp_path/"no").exists()
    assert command.main(["generate", "--n", "2", "--steps", "2", "--weights", "cc0", "--guidance", "2", "--out", str(tmp_path/"real")]) == 0
    assert command.main(["generate", "--weights", "dragons", "--out", str(tmp_path/"none")]) == 2 and not (tmp_path/"none").exists()
