"""The data: what every sprite must look like, and how the supply behaves."""
import re
from importlib.resources import files
from itertools import product

import numpy as np
import pytest, torch

import spritediff as sd
from spritediff.sprites import INKS, MATERIALS, art, index_map, ramps, split_of

N = 60_000
CLASS = range(len(sd.CLASSES))


@pytest.fixture(scope="module")
def many(): return sd.make_sprites(N)


@pytest.fixture(scope="module")
def some(many): return many[0][:5000]


def codes(images):
    "Each pixel's colour as one number"
    return images.astype(np.int64) @ np.array([65536, 256, 1])


def background(images):
    "The white that hangs together with the rim, on a canvas one pixel larger on every side"
    white = np.pad((images == 255).all(-1), ((0, 0), (1, 1), (1, 1)), constant_values=True)
    found = np.zeros_like(white)
    found[:, 0] = True
    while True:
        new = near(found) & white | found
        if (new == found).all(): return found
        found = new


def near(mask):
    "Pixels with a neighbour in `mask`, above, below, left or right"
    wide = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    return wide[:, 2:, 1:-1] | wide[:, :-2, 1:-1] | wide[:, 1:-1, 2:] | wide[:, 1:-1, :-2]


def test_form(many):
    "Bytes of the right shape, the five classes in turn"
    images, labels = many
    assert images.shape == (N, 16, 16, 3) and images.dtype == np.uint8
    assert labels.shape == (N,) and labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [N // 5] * 5 and labels[:7].tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert sd.CLASSES == ("hero", "non-hero", "food", "spell", "side-facing") and sd.SIZE == 16


def test_variety(many):
    "At least 50,000 of 60,000 differ, and 5,000 in each class"
    images, labels = many
    distinct = [{i.tobytes() for i in images[labels == c]} for c in CLASS]
    assert len(set().union(*distinct)) >= 50_000
    assert min(map(len, distinct)) >= 5_000


@pytest.mark.parametrize("split", (None, "train", "held-out"))
def test_independent_of_n(split):
    "Sprite i depends on the seed and i alone"
    images, labels = sd.make_sprites(60, 7, split)
    for n in (1, 23): assert np.array_equal(sd.make_sprites(n, 7, split)[0], images[:n]) and np.array_equal(labels[:n], sd.make_sprites(n, 7, split)[1])
    assert not np.array_equal(sd.make_sprites(60, 8, split)[0], images)


def test_global_seed_is_left_alone():
    "NumPy's global generator is neither read nor moved"
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    a = sd.make_sprites(10)[0]
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.seed(1)
    assert np.array_equal(sd.make_sprites(10)[0], a)


def test_splits():
    "No held-out sprite of one seed is a training sprite of another; about a tenth is held out; classes stay in turn"
    train, held = ({i.tobytes() for seed in seeds for i in sd.make_sprites(1500, seed, split)[0]}
                   for seeds, split in (((0, 1), "train"), ((1, 2), "held-out")))
    assert train and held and not train & held
    images, labels = sd.make_sprites(1000, 3, "held-out")
    assert {split_of(i) for i in images} == {"held-out"} and np.array_equal(labels, np.arange(1000) % 5)
    share = np.mean([split_of(i) == "held-out" for i in sd.make_sprites(4000, 3)[0]])
    assert abs(share - .1) < 5 * (.1 * .9 / 4000)**.5


def test_colours(many):
    "At most 12 colours a sprite, white among them"
    c = np.sort(codes(many[0]).reshape(N, -1), 1)
    assert (1 + (np.diff(c) != 0).sum(1)).max() <= 12
    assert (c[:, -1] == 0xFFFFFF).all()


def test_outline(some):
    "Every pixel of the figure that touches the white around it is ink"
    outside = background(some)
    edge = (near(outside) & ~outside)[:, 1:-1, 1:-1]
    assert np.isin(codes(some)[edge], codes(INKS)).all() and (edge.sum((1, 2)) > 10).all()
    assert INKS.max() < 64


def test_centred(some):
    "The middle of the bounding box is at most one pixel off the canvas's"
    figure = (some != 255).any(-1)
    for axis in (1, 2):
        line = figure.any(axis)
        low, high = line.argmax(1), 15 - line[:, ::-1].argmax(1)
        assert (np.abs((low + high) / 2 - 7.5) <= 1).all() and (high - low >= 5).all()


def test_light():
    "Light comes from the upper left: there lie the light tones, and ramps really go from light to dark"
    rng, found = np.random.default_rng(0), []
    for i in range(1500):
        label = i % 5
        kind = int(rng.integers(len(art(label))))
        choice = tuple(int(rng.integers(len(a))) for a in art(label)[kind].slots.values())
        index = index_map(label, kind, choice)
        light, dark = (np.argwhere((index >= 3) & ((index - 3) % 3 == tone)) for tone in (0, 2))
        if len(light) > 3 and len(dark) > 3: found.append((dark.mean(0) - light.mean(0)).sum() > 0)
    assert len(found) > 1400 and np.mean(found) > .95
    for name, ramp in ramps().items():
        brightness = ramp.astype(float) @ [.299, .587, .114]
        assert (np.diff(brightness, axis=1) < 0).all(), name


@pytest.mark.parametrize("label", CLASS, ids=sd.CLASSES)
def test_kinds(label):
    "At least 12 kinds, each with a name of its own and colours that the palette has"
    names = [k.name for k in art(label)]
    assert len(names) >= 12 and len(set(names)) == len(names)
    for kind in art(label):
        for letter, colours in kind.colours.items():
            assert letter in MATERIALS and colours and not set(colours) - ramps().keys(), kind.name


@pytest.mark.parametrize("label", CLASS, ids=sd.CLASSES)
def test_drawings(label):
    "Every drawing has known letters and coloured materials, and its figure fits the canvas with its outline"
    for number, kind in enumerate(art(label)):
        materials = set("".join(kind.colours))
        known = materials | {m.upper() for m in materials} | {str(1 + MATERIALS.index(m)) for m in materials} | set(".kw_")
        slots = list(kind.slots.values())
        assert any(all(a is not None for a in s) for s in slots), f"{kind.name} may be empty"
        for drawing in (a for s in slots for a in s if a is not None):
            assert drawing.shape == (16, 16) and not set(drawing.ravel()) - known, kind.name
            assert (drawing != ".").any(), f"{kind.name} holds an empty drawing"
        # each alternative once or more, with the first and with the last of the other slots
        for s, other in product(range(len(slots)), (0, -1)):
            for c in range(len(slots[s])):
                choice = tuple(c if i == s else other % len(a) for i, a in enumerate(slots))
                index = index_map(label, number, choice)
                used = {MATERIALS[(i - 3) // 3] for i in np.unique(index) if i >= 3}
                assert index.max() < 3 + 3 * len(MATERIALS) and used <= materials, (kind.name, choice)
                image = np.where((index == 0)[..., None], 255, np.where((index == 1)[..., None], INKS[0], 128))[None].astype(np.uint8)
                assert (codes(image)[near(background(image))[:, 1:-1, 1:-1] & ~background(image)[:, 1:-1, 1:-1]] == codes(INKS[0])).all(), (kind.name, choice)


@pytest.mark.parametrize("label", CLASS, ids=sd.CLASSES)
def test_art_is_used(label):
    "Every drawing of the art file is reached: a kind's own by its kind, a shared one by an @name"
    text = files("spritediff").joinpath(f"art/{sd.CLASSES[label]}.txt").read_text(encoding="utf-8")
    shared, own, kinds = set(), 0, 0
    for line in (line.split("#")[0].strip() for line in text.splitlines()):
        if line.startswith("kind "):
            common = line == "kind _shared"
            kinds += not common
        elif line.startswith("= "):
            if common:
                name = line.split()[1]
                assert name not in shared, f"@{name} is drawn twice: only the first is reached"
                shared.add(name)
            else: own += 1
    assert kinds == len(art(label)) and own == sum(len(s) for k in art(label) for s in k.slots.values())
    assert shared <= set(re.findall(r"@(\S+)", text))


def test_palette_is_used():
    "Every colour of the palette is the colour of some kind"
    assert ramps().keys() == {c for label in CLASS for k in art(label) for cs in k.colours.values() for c in cs}


def test_round_trip():
    "to_x and to_images undo each other for every byte; the range is [-1, 1]; beyond it is clipped"
    images = np.arange(768).reshape(1, 16, 16, 3) % 256
    images = images.astype(np.uint8)
    x = sd.to_x(images)
    assert x.shape == (1, 3, 16, 16) and x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
    assert np.array_equal(sd.to_images(x), images) and sd.to_images(x).dtype == np.uint8
    assert torch.equal(x[0, 2, 4, 9], torch.tensor(images[0, 4, 9, 2] / 127.5 - 1, dtype=torch.float32))
    assert np.array_equal(sd.to_images(torch.tensor([-9., 9.]).expand(1, 3, 1, 2)), np.array([[[[0] * 3, [255] * 3]]]))


@pytest.mark.parametrize("bad", (dict(n=0), dict(n=-1), dict(n=1.5), dict(n="5"), dict(n=5, seed=-1), dict(n=5, seed=None), dict(n=5, split="test")), ids=str)
def test_bad_input(bad):
    "Bad numbers and unknown splits are refused"
    with pytest.raises(sd.InputError, match="expected"): sd.make_sprites(**bad)


# --- CustomDataset

def saved(folder, images, labels):
    "Two .npy files"
    for name, array in (("s.npy", images), ("l.npy", labels)): np.save(folder/name, array)
    return folder/"s.npy", folder/"l.npy"


def test_dataset(tmp_path):
    "Items with and without transform and context; a loader batches them"
    images, labels = sd.make_sprites(6)
    rows = np.eye(5)[labels]
    data = sd.CustomDataset(*saved(tmp_path, images, rows))
    assert len(data) == 6 and data.getshapes() == ((6, 16, 16, 3), (6, 5))
    assert torch.equal(data[2][0], sd.to_x(images)[2]) and torch.equal(data[2][1], torch.tensor(rows[2]))
    x, c = next(iter(torch.utils.data.DataLoader(data, 4)))
    assert torch.equal(x, sd.to_x(images[:4])) and c.shape == (4, 5)
    plain = sd.CustomDataset(tmp_path/"s.npy", str(tmp_path/"l.npy"), transform=lambda image: image.sum(), null_context=True)
    assert plain[1][0] == images[1].sum() and plain[1][1].sum() == 0


def test_bad_dataset(tmp_path):
    "Files that are missing, damaged, pickled, or that do not match are refused"
    images, labels = sd.make_sprites(6)
    s, l = saved(tmp_path, images, np.eye(5)[labels])
    np.save(tmp_path/"float.npy", images.astype(float))
    np.save(tmp_path/"short.npy", labels[:3])
    np.save(tmp_path/"objects.npy", np.array([{}] * 6), allow_pickle=True)
    (tmp_path/"text.npy").write_text("no array")
    (tmp_path/"cut.npy").write_bytes(s.read_bytes()[:300])
    for a, b in (("none.npy", l), ("text.npy", l), ("cut.npy", l), ("objects.npy", l), ("float.npy", l), (s, "short.npy"), (s, "objects.npy"), (".", l)):
        with pytest.raises(sd.InputError): sd.CustomDataset(tmp_path/a, tmp_path/b)
