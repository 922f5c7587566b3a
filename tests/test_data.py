"""Sprites from a file: every bad file is one clear error, groups stay together, classes are balanced."""
import json

import numpy as np
import pytest, torch

import spritediff as sd
from spritediff.__main__ import main
from spritediff.sprites import balance, load_npz, split_groups


@pytest.fixture
def good():
    images, labels = sd.make_sprites(60, 3)
    return dict(images=images, labels=labels, group=np.arange(60) // 4)


@pytest.fixture
def file(good, tmp_path):
    np.savez(tmp_path/"mine.npz", **good)
    return tmp_path/"mine.npz"


def test_round_trip(file, good):
    "What was saved comes back, other arrays are ignored, the group may be missing"
    images, labels, groups = load_npz(file)
    assert np.array_equal(images, good["images"]) and np.array_equal(labels, good["labels"]) and np.array_equal(groups, good["group"])
    np.savez(file, images=images, labels=labels.astype(np.uint8), more=np.zeros(3))
    assert load_npz(file)[2] is None and load_npz(file)[1].dtype == np.int64


BAD = {
    "no images": (dict(images=None), "expected images and labels"), "no labels": (dict(labels=None), "expected images and labels"),
    "floats": (lambda g: dict(images=g["images"] / 255), "expected uint8"), "grey": (lambda g: dict(images=g["images"][..., 0]), "expected"),
    "other size": (lambda g: dict(images=g["images"][:, :8]), "images are 8x16; expected 16x16"),
    "too few labels": (lambda g: dict(labels=g["labels"][:9]), "9 labels for 60 images"),
    "label 5": (lambda g: dict(labels=g["labels"] + 1), "go from 1 to 5"), "label -1": (lambda g: dict(labels=g["labels"] - 1), "go from -1"),
    "float labels": (lambda g: dict(labels=g["labels"] / 2), "expected whole numbers"),
    "one-hot": (lambda g: dict(labels=np.eye(5, dtype=int)[g["labels"]]), "argmax"), "short group": (lambda g: dict(group=g["group"][:5]), "group is"),
    "float group": (lambda g: dict(group=g["group"] / 3), "group is"), "objects": (lambda g: dict(labels=g["labels"].astype(object)), "plain"),
    "empty": (lambda g: dict(images=g["images"][:0], labels=g["labels"][:0], group=g["group"][:0]), "expected")}


@pytest.mark.parametrize("change, says", BAD.values(), ids=BAD)
def test_bad_arrays(good, tmp_path, change, says):
    made = good | (change(good) if callable(change) else change)
    np.savez(tmp_path/"bad.npz", **{name: a for name, a in made.items() if a is not None})
    with pytest.raises(sd.InputError, match=says): load_npz(tmp_path/"bad.npz")


def test_bad_files(tmp_path, file):
    (tmp_path/"text.npz").write_text("no archive")
    (tmp_path/"cut.npz").write_bytes(file.read_bytes()[:300])
    np.save(tmp_path/"one.npy", np.zeros(3))
    for name in ("missing.npz", "text.npz", "cut.npz", "one.npy", "."):
        with pytest.raises(sd.InputError, match="cannot read"): load_npz(tmp_path/name)


def test_groups_stay_together(good):
    "No group is in both parts, each class is in the training part, and the split repeats"
    images, labels, groups = good.values()
    keep = split_groups(images, labels, groups, share=.4)
    assert not set(groups[keep]) & set(groups[~keep]) and 0 < (~keep).sum() < 60
    assert set(labels[keep]) == set(range(5)) and np.array_equal(keep, split_groups(images, labels, groups, share=.4))
    assert np.array_equal(split_groups(images, labels, groups, share=.4), split_groups(images, labels, groups.astype(str), share=.4))


def test_a_class_of_one_group_is_trained_on(good):
    "A class whose only group would be held out stays"
    for name in "abcdefgh":
        assert split_groups(good["images"][:8], np.zeros(8, int), np.array([name] * 8), share=.5).all()


def test_balance(good):
    "Every class as often, mirrored only where asked, the same seed the same sprites"
    images, labels, _ = good.values()
    few = (labels != 2) | (np.arange(60) < 10)
    a, b = (balance(images[few], labels[few], 500, "spell", seed=1) for _ in range(2))
    assert np.array_equal(a[0], b[0]) and np.array_equal(np.bincount(a[1]), [100] * 5)
    known = {i.tobytes() for i in images}
    flipped = {i[:, ::-1].tobytes() for i in images[labels == 3]}
    for image, label in zip(*a):
        assert image.tobytes() in known or (label == 3 and image.tobytes() in flipped)
    assert any(i.tobytes() not in known for i in a[0][a[1] == 3])
    for bad in ("dragon", "hero spell"):
        with pytest.raises(sd.InputError, match="mirror names"): balance(images, labels, 9, bad)


def test_command(file, tmp_path, capsys):
    "Training on a file: weights, record and card name the file without its folder; bad input stops first"
    out = tmp_path/"run"
    assert main(["train", "--data", str(file), "--sprites", "20", "--epochs", "1", "--mirror", "food", "--out", str(out), "--device", "cpu"]) == 0
    record = json.loads((out/"run.json").read_text())
    assert "mine.npz" in record["command"] and "mine.npz" in record["source"] and str(tmp_path) not in record["source"]
    assert "mirrored at random: food" in (out/"weights.md").read_text()
    assert sd.load_weights(out/"weights.safetensors").n_cfeat == 5
    capsys.readouterr()
    for bad in (["--data", "nowhere.npz"], ["--data", str(file), "--mirror", "cat"], ["--mirror", "food"]):
        assert main(["train", *bad, "--sprites", "20", "--epochs", "1", "--out", str(tmp_path/"none")]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not (tmp_path/"none").exists()
