"""Sprites from a file: groups stay together, classes are balanced, the record keeps no paths."""
import json

import numpy as np
import pytest, torch

import spritediff as sd
from spritediff.__main__ import main
from spritediff.sprites import balance, split_groups


@pytest.fixture
def good():
    images, labels = sd.make_sprites(60, 3)
    return dict(images=images, labels=labels, group=np.arange(60) // 4)


@pytest.fixture
def file(good, tmp_path):
    np.savez(tmp_path/"mine.npz", **good)
    return tmp_path/"mine.npz"


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
    assert "mirrored at random: food" in (out/"README.md").read_text()
    assert sd.load_weights(out/"weights.safetensors").n_cfeat == 5
    capsys.readouterr()
    for bad in (["--data", "nowhere.npz"], ["--data", str(file), "--mirror", "cat"], ["--mirror", "food"]):
        assert main(["train", *bad, "--sprites", "20", "--epochs", "1", "--out", str(tmp_path/"none")]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not (tmp_path/"none").exists()
