"""Finished sprites: few colours, a transparent background, and what is refused."""
import numpy as np
import pytest, torch
from PIL import Image

import spritediff as sd
from spritediff.finishing import CLOSE, few_colours, merge_close, outside


def count(pictures):
    "How many colours there are in (..., 3)"
    return len(np.unique(pictures.reshape(-1, pictures.shape[-1]), axis=0))


def noisy(n=20, std=.08, seed=3):
    "Clean sprites, and the same with noise as floats"
    clean, _ = sd.make_sprites(n, seed, "held-out")
    x = sd.to_x(clean)
    return clean, x + std * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def reachable(white):
    "The white that can be reached from the border, one pixel at a time"
    height, width = white.shape
    found = np.zeros_like(white)
    todo = [(y, x) for y in range(height) for x in range(width) if y in (0, height - 1) or x in (0, width - 1)]
    while todo:
        y, x = todo.pop()
        if 0 <= y < height and 0 <= x < width and white[y, x] and not found[y, x]:
            found[y, x] = True
            todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return found


def test_drawn_sprites_stay_exact():
    "Drawn sprites have at most 12 colours: only the background changes, and only its alpha"
    clean, _ = sd.make_sprites(200)
    finished = sd.finish(clean)
    assert np.array_equal(finished[..., :3], clean)
    for alpha, image in zip(finished[..., 3], clean):
        assert np.array_equal(alpha == 0, reachable((np.linalg.norm(255. - image, axis=-1) <= CLOSE)))


def test_three_colours_stay_exact():
    "Three colours, two of them close, in a picture that is not square"
    picture = np.full((1, 5, 9, 3), 255, np.uint8)
    picture[0, 1:4, 2:7], picture[0, 2, 3] = (9, 9, 9), (12, 9, 9)
    finished = sd.finish(picture, 3)
    assert np.array_equal(finished[..., :3], picture)
    assert (finished[..., 3] == 255).sum() == 15


def test_closed_ring_keeps_its_white():
    "White inside a closed outline is opaque, and transparent once there is a gap"
    picture = np.full((1, 9, 9, 3), 250, np.uint8)
    picture[0, 2:7, 2:7] = 0
    picture[0, 3:6, 3:6] = 255
    assert (sd.finish(picture)[0, ..., 3] == 255).sum() == 25
    picture[0, 2, 2] = 250 # a corner: still closed, for steps are not diagonal
    assert (sd.finish(picture)[0, ..., 3] == 255).sum() == 24
    picture[0, 2, 4] = 250
    assert (sd.finish(picture)[0, ..., 3] == 255).sum() == 14


def test_outside_against_one_pixel_at_a_time():
    "The growing region agrees with a plain walk, on mazes"
    white = np.random.default_rng(0).random((60, 13, 17)) < .6
    assert np.array_equal(outside(white), np.stack([reachable(w) for w in white]))


@pytest.mark.parametrize("colours", (2, 3, 8, 12, 40, 256))
@pytest.mark.parametrize("shared", (False, True))
def test_bounds(colours, shared):
    "At most so many colours, each or in all; alpha is 0 or 255; transparent pixels are white"
    _, x = noisy()
    finished = sd.finish(x, colours, shared=shared)
    assert finished.shape == (20, 16, 16, 4) and finished.dtype == np.uint8
    assert set(np.unique(finished[..., 3])) <= {0, 255}
    assert (finished[finished[..., 3] == 0][:, :3] == 255).all()
    assert max(map(count, [finished[..., :3]] if shared else finished[..., :3])) <= colours


def test_deterministic():
    "Twice the same; alone as in a batch; bytes as floats; the input is left alone"
    _, x = noisy()
    images, before = sd.to_images(x), x.clone()
    finished = sd.finish(x)
    for again in (sd.finish(x), sd.finish(images), sd.finish(x.numpy()), sd.finish(x.double()), sd.finish(torch.as_tensor(images)),
                  np.concatenate([sd.finish(x[i:i + 1]) for i in range(20)]), sd.finish(finished[..., :3])):
        assert np.array_equal(again, finished)
    assert torch.equal(x, before)
    for shared in (False, True):
        copy = images.copy()
        sd.finish(copy, shared=shared), sd.finish(copy, 256, shared=shared)
        assert np.array_equal(copy, images)


def test_helps():
    "Nearer to the clean sprites than with noise, and than by Pillow alone; the background is found"
    clean, x = noisy(60)
    error = lambda pictures: np.abs(pictures.astype(float) - clean).mean()
    images = sd.to_images(x)
    alone = np.stack([np.array(Image.fromarray(i).quantize(12, Image.Quantize.MAXCOVERAGE, kmeans=1).convert("RGB")) for i in images])
    finished = sd.finish(x)
    assert error(finished[..., :3]) < error(images) / 3 and error(finished[..., :3]) < error(alone) / 2
    true = np.stack([reachable((i == 255).all(-1)) for i in clean])
    clear = finished[..., 3] == 0
    assert clear[true].mean() > .99 and clear[~true].mean() < .001


def test_opaque():
    "Without a background to remove, all is opaque and the colours are the same"
    _, x = noisy()
    kept, finished = sd.finish(x, background=None), sd.finish(x)
    assert (kept[..., 3] == 255).all() and np.array_equal(kept[..., :3], finished[..., :3])


@pytest.mark.parametrize("shape", ((1, 3, 1, 1), (2, 3, 1, 5), (1, 3, 40, 24)))
@pytest.mark.parametrize("shared", (False, True))
def test_sizes(shape, shared):
    "Any height and width, one pixel included, and values far beyond [-1, 1]"
    x = 5 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    n, _, height, width = shape
    assert sd.finish(x, shared=shared).shape == (n, height, width, 4)


def test_merge_close():
    "Chains merge from the closest pair on, weighted by their pixels; far colours stay"
    palette = np.array([[0, 0, 0], [0, 0, 20], [0, 0, 50], [255, 255, 255]], np.uint8)
    assert merge_close(palette, np.array([1, 1, 1, 1])).tolist() == [[0, 0, 10]] * 2 + [[0, 0, 50], [255] * 3]
    assert merge_close(palette, np.array([1, 3, 1, 1]), 35).tolist() == [[0, 0, 22]] * 3 + [[255] * 3]
    assert merge_close(palette[:1], np.array([4])).tolist() == [[0, 0, 0]]


def test_one_flat_colour():
    "A flat area with noise becomes one colour"
    noise = np.random.default_rng(0).integers(-5, 6, (16, 16, 3))
    assert count(few_colours((np.array([90, 120, 60]) + noise).astype(np.uint8))) == 1


ok = torch.zeros(2, 3, 16, 16)


@pytest.mark.parametrize("call, says", (
    (lambda: sd.finish(ok, 1), "colours is 1; expected a whole number from 2 to 256"),
    (lambda: sd.finish(ok, 257), "colours is 257"),
    (lambda: sd.finish(ok, 12.5), "colours is 12.5"),
    (lambda: sd.finish(ok, "12"), "colours is '12'"),
    (lambda: sd.finish(ok, background="black"), "background is 'black'; expected 'white' or None"),
    (lambda: sd.finish(ok / 0), "1536 values of the samples are nan or infinite"),
    (lambda: sd.finish(ok[0]), r"\(3, 16, 16\); expected float \(n, 3, H, W\)"),
    (lambda: sd.finish(ok[:0]), r"\(0, 3, 16, 16\)"),
    (lambda: sd.finish(ok[:, :2]), r"\(2, 2, 16, 16\)"),
    (lambda: sd.finish(ok.permute(0, 2, 3, 1)), r"\(2, 16, 16, 3\)"),
    (lambda: sd.finish(ok.long()), "samples are torch.int64"),
    (lambda: sd.finish([1, 2]), "samples are list"),
    (lambda: sd.finish("sprites"), "samples are str"),
    (lambda: sd.finish(None), "samples are NoneType"),
    (lambda: sd.finish(sd.finish(ok)), r"\(2, 16, 16, 4\); expected \(n, height, width, 3\)"),
    (lambda: sd.finish(np.zeros((16, 16, 3), np.uint8)), r"\(16, 16, 3\)"),
    (lambda: sd.lay_on(sd.to_images(ok), (0, 0, 0)), r"\(2, 16, 16, 3\); expected \(n, H, W, 4\)"),
    (lambda: sd.lay_on(sd.finish(ok), (0, 0)), "ground"),
    (lambda: sd.lay_on(sd.finish(ok), (0, 0, 300)), "ground"),
    (lambda: sd.lay_on(sd.finish(ok), (0, 0, 0), scale=0), "scale is 0"),
))
def test_bad_input(call, says):
    "Value, expectation and remedy"
    with pytest.raises(sd.InputError, match=says): call()


def test_lay_on():
    "Transparent pixels show the ground, the others the sprite; tiles repeat; the last row is filled"
    sprites = np.full((3, 2, 2, 4), 255, np.uint8)
    sprites[:, 0, 0] = 255, 255, 255, 0
    tile = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    page = sd.lay_on(sprites, tile, ncol=2, scale=1)
    under = np.tile(tile, (2, 2, 1))[:4, :4]
    shown = np.kron([[1, 1], [1, 0]], [[0, 1], [1, 1]])[..., None] == 1
    assert np.array_equal(page, np.where(shown, 255, under))
    assert sd.lay_on(sprites, (1, 2, 3), scale=4).shape == (8, 24, 3)


def test_png(tmp_path):
    "A finished sprite survives being written and read"
    finished = sd.finish(noisy(1)[1])[0]
    image = Image.open(sd.save_png(finished, tmp_path/"a.png"))
    assert image.mode == "RGBA" and np.array_equal(np.array(image), finished)


def test_generate(tmp_path):
    "`colours` finishes the single PNGs and the sheet, and leaves samples and animation as they are"
    plain = sd.generate(3, seed=1, steps=2, out=tmp_path/"a", device="cpu")
    made = sd.generate(3, seed=1, steps=2, out=tmp_path/"b", device="cpu", colours=6)
    assert torch.equal(plain["samples"], made["samples"])
    assert plain["animation"].read_bytes() == made["animation"].read_bytes()
    assert Image.open(plain["sprites"][0]).mode == "RGB"
    finished = sd.finish(made["samples"], 6)
    for path, picture in zip(made["sprites"], finished):
        assert Image.open(path).mode == "RGBA" and np.array_equal(np.array(Image.open(path)), picture)
    assert np.array_equal(np.array(Image.open(made["sheet"])), sd.sheet(finished[..., :3], 3, scale=8))


@pytest.mark.parametrize("colours", (1, 257, 2.5, "many"))
def test_generate_refuses(tmp_path, colours):
    "Before anything is written"
    with pytest.raises(sd.InputError, match="colours is"): sd.generate(1, colours=colours, out=tmp_path/"out")
    assert not (tmp_path/"out").exists()
