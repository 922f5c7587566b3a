"""Your own sprites: whatever comes in, the result is right, or one clear error, or a line in the report says what was left out."""
import os, struct, sys, zipfile, zlib

import numpy as np
import pytest
from PIL import Image

import spritediff as sd
from spritediff import own
from spritediff.__main__ import main

N = 24
IMAGES, LABELS = sd.make_sprites(N)


def load(path, **kwargs): return sd.load_sprites(path, progress=False, **kwargs)
def same(sprites, images=IMAGES): return sorted(i.tobytes() for i in sprites.images) == sorted(i.tobytes() for i in images)
def png(image, path, **kwargs): Image.fromarray(image).save(path, "PNG", **kwargs)


def rgba(images=IMAGES):
    "White made transparent"
    return np.concatenate([images, np.where((images == 255).all(-1, keepdims=True), 0, 255)], -1).astype(np.uint8)


def palette(image, n=256):
    "The same colours as a palette picture, exactly"
    colours, index = np.unique(image.reshape(-1, 3), axis=0, return_inverse=True)
    result = Image.fromarray(index.reshape(image.shape[:2]).astype(np.uint8), "P")
    result.putpalette(colours.tobytes())
    return result


def raw_png(height, width, bits, colour, rows, more=b""):
    "A PNG by hand, for what Pillow does not write"
    def chunk(name, data): return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path):
    "A folder of classes"
    for i, (image, label) in enumerate(zip(IMAGES, LABELS)):
        (tmp_path/"art"/sd.CLASSES[label]).mkdir(parents=True, exist_ok=True)
        png(image, tmp_path/"art"/sd.CLASSES[label]/f"{i:02d}.png")
    return tmp_path/"art"


# --- Round trips: written sprites come back to the byte

FORMATS = {
    "png": lambda i, p: Image.fromarray(i).save(p, "PNG"), "bmp": lambda i, p: Image.fromarray(i).save(p, "BMP"),
    "webp": lambda i, p: Image.fromarray(i).save(p, "WEBP", lossless=True), "gif": lambda i, p: palette(i).save(p, "GIF"),
    "palette png": lambda i, p: palette(i).save(p, "PNG"), "palette bmp": lambda i, p: palette(i).save(p, "BMP"),
    "rgba png": lambda i, p: Image.fromarray(rgba(i[None])[0]).save(p, "PNG"),
    "rgba webp": lambda i, p: Image.fromarray(rgba(i[None])[0]).save(p, "WEBP", lossless=True),
    "palette and transparency": lambda i, p: palette(i).save(p, "PNG", transparency=len(np.unique(i.reshape(-1, 3), axis=0)) - 1),
    "16-bit": lambda i, p: p.write_bytes(raw_png(16, 16, 16, 2, b"".join(b"\0" + r.repeat(2).tobytes() for r in i.reshape(16, -1)))),
    "wrong extension": lambda i, p: Image.fromarray(i).save(p.with_suffix(".jpg"), "PNG"), "no extension": lambda i, p: Image.fromarray(i).save(p.with_suffix(""), "BMP")}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_formats(tmp_path, write):
    for i, image in enumerate(IMAGES): write(image, tmp_path/f"{i:02d}.dat")
    sprites = load(tmp_path)
    assert np.array_equal(sprites.images, IMAGES) and sprites.classes == (tmp_path.name,) and not sprites.labels.any()
    assert sprites.report["fitted"] == {"as they are": N} and not sprites.report["skipped"]


GREY = (IMAGES[..., 1] // 2)
MODES = {
    "L": (lambda g: Image.fromarray(g), lambda g: g), "LA": (lambda g: Image.merge("LA", [Image.fromarray(g), Image.new("L", (16, 16), 255)]), lambda g: g),
    "1": (lambda g: Image.fromarray(g > 60), lambda g: (g > 60) * 255), "I;16": (lambda g: Image.fromarray(g.astype(np.uint16) * 257), lambda g: g)}


@pytest.mark.parametrize("make, expected", MODES.values(), ids=MODES)
def test_grey_modes(tmp_path, make, expected):
    "Grey pictures of 1, 8 and 16 bits"
    for i, g in enumerate(GREY): make(g).save(tmp_path/f"{i:02d}.png")
    assert np.array_equal(load(tmp_path).images, np.repeat(expected(GREY)[..., None], 3, -1))


def test_cmyk_jpeg(tmp_path):
    "A JPEG for printers is nearly itself, with a warning"
    Image.fromarray(IMAGES[0]).convert("CMYK").save(tmp_path/"a.png", "JPEG", quality=100, subsampling=0)
    sprites = load(tmp_path/"a.png")
    assert abs(sprites.images[0].astype(int) - IMAGES[0]).mean() < 6 and any("JPEG" in w for w in sprites.report["warnings"])


@pytest.mark.parametrize("kind", ("GIF", "WEBP", "PNG"))
def test_animations(tmp_path, kind):
    "Every frame is a sprite, and all frames are one group"
    frames = [palette(i).convert("P" if kind == "GIF" else "RGB") for i in IMAGES[:5]]
    more = dict(lossless=True) if kind == "WEBP" else dict(duration=50)
    frames[0].save(tmp_path/"walk.bin", kind, save_all=True, append_images=frames[1:], **more)
    png(IMAGES[5], tmp_path/"still.png")
    sprites = load(tmp_path)
    assert same(sprites, IMAGES[:6]) and sorted(sprites.groups) == ["still.png"] + ["walk.bin"] * 5


@pytest.mark.parametrize("background, colour", (("white", (255,) * 3), ("#30204c", (48, 32, 76)), ("red", (255, 0, 0))))
def test_background(tmp_path, background, colour):
    "Transparent pixels and the room around small pictures take the background; half clear ones mix with it"
    picture = np.zeros((12, 12, 4), np.uint8)
    picture[2:6, 2:6] = (10, 200, 30, 255)
    picture[6, 6] = (0, 0, 0, 128)
    png(picture, tmp_path/"a.png")
    image = load(tmp_path/"a.png", size=16, background=background).images[0]
    assert (image[:4] == colour).all() and (image[4:8, 4:8] == (10, 200, 30)).all()
    assert abs(image[8, 8] - np.array(colour) / 2).max() <= 1


@pytest.mark.parametrize("size", ((16, 16), (8, 8), (64, 64), (24, 16), (12, 40)))
def test_sizes(tmp_path, size):
    "Admissible sizes come back to the byte, not only squares, also through an .npz"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, *size, 3), np.uint8)
    for i, image in enumerate(images): png(image, tmp_path/f"{i}.png")
    sprites = load(tmp_path)
    assert np.array_equal(sprites.images, images)
    back = load(own.save_npz(sprites, tmp_path/"set.npz"))
    assert np.array_equal(back.images, images) and back.classes == sprites.classes and list(back.groups) == list(sprites.groups)


@pytest.mark.parametrize("k, at", ((2, (0, 0)), (3, (0, 0)), (4, (3, 1)), (5, (2, 4)), (16, (0, 7))))
def test_enlarged(tmp_path, k, at):
    "Enlargements are undone exactly, on the grid or off it"
    for i, image in enumerate(IMAGES[:6]):
        page = np.full((16 * k + 2 * at[0], 16 * k + 2 * at[1], 3), 255, np.uint8)
        page[at[0]:at[0] + 16 * k, at[1]:at[1] + 16 * k] = np.kron(image, np.ones((k, k, 1), np.uint8))
        png(page, tmp_path/f"{i}.png")
    sprites = load(tmp_path, size=16)
    assert np.array_equal(sprites.images, IMAGES[:6]) and sprites.report["fitted"] == {"enlargement undone": 6}


def test_size_of_enlarged(tmp_path):
    "Without a size, pictures that are too large for a network tell the size that they were drawn in"
    for i, image in enumerate(IMAGES[:6]): png(np.kron(image, np.ones((8, 8, 1), np.uint8)), tmp_path/f"{i}.png")
    assert np.array_equal(load(tmp_path).images, IMAGES[:6])
    for i, image in enumerate(IMAGES[:6]): png(np.kron(image, np.ones((2, 2, 1), np.uint8)), tmp_path/f"{i}.png")
    assert "size='16x16' undoes that" in load(tmp_path).report["warnings"][-1]


@pytest.mark.parametrize("shape", ((300, 200), (65, 17), (17, 16), (7, 99), (3, 40), (70, 3)))
def test_reduced(tmp_path, shape):
    "What is too large is reduced to colours that it has, and never stretched"
    picture = np.random.default_rng(0).choice(IMAGES.reshape(-1, 3), shape)
    png(picture, tmp_path/"a.png")
    image = load(tmp_path/"a.png", size=(24, 16)).images[0]
    there = {tuple(c) for c in picture.reshape(-1, 3)} | {(255,) * 3}
    assert image.shape == (24, 16, 3) and {tuple(c) for c in image.reshape(-1, 3)} <= there


# --- Sheets

def page(images, rows, columns, margin, spacing):
    height, width = images.shape[1:3]
    result = np.full((2 * margin + rows * (height + spacing) - spacing, 2 * margin + columns * (width + spacing) - spacing, images.shape[3]), 128, np.uint8)
    for i, image in enumerate(images):
        y, x = margin + (height + spacing) * (i // columns), margin + (width + spacing) * (i % columns)
        result[y:y + height, x:x + width] = image
    return result


@pytest.mark.parametrize("rows, columns, margin, spacing", ((4, 6, 0, 0), (4, 6, 3, 2), (1, 24, 0, 1), (24, 1, 5, 0)))
def test_sheets(tmp_path, rows, columns, margin, spacing):
    "The cells of a sheet in order; empty and clear ones are dropped and counted"
    sheet = page(rgba(), rows, columns, margin, spacing)
    for name in ("a.png", "a.webp"): Image.fromarray(sheet).save(tmp_path/name, lossless=True) if name == "a.webp" else png(sheet, tmp_path/name)
    assert np.array_equal(load(tmp_path/"a.png", cell=16, margin=margin, spacing=spacing).images, IMAGES)
    both = load(tmp_path, cell="16x16", margin=margin, spacing=spacing)
    assert np.array_equal(both.images, np.concatenate([IMAGES, IMAGES])) and sorted(set(both.groups)) == ["a.png", "a.webp"]
    holes = rgba()
    holes[3], holes[5, ..., 3] = 77, 0
    png(page(holes, rows, columns, margin, spacing), tmp_path/"a.png")
    sprites = load(tmp_path/"a.png", cell=(16, 16), margin=margin, spacing=spacing)
    assert len(sprites) == N - 2 and sprites.report["empty"] == 2


# --- What is in folders

def broken(name, content): return lambda f: (f/"food"/name).write_bytes(content)
def link(name, to): return lambda f: (f/"food"/name).symlink_to(f/to if to else f, target_is_directory=True)
def bomb(f): (f/"food"/"bomb.png").write_bytes(raw_png(60000, 60000, 8, 2, b"\0"))
def long_gif(f):
    frames = [Image.new("P", (4096, 4096), i) for i in range(5)]
    frames[0].save(f/"food"/"long.gif", save_all=True, append_images=frames[1:])


CUT = raw_png(16, 16, 8, 2, b"".join(b"\0" + r.tobytes() for r in IMAGES[0].reshape(16, -1)))
SKIPPED = {
    "zero bytes": (broken("a.png", b""), "food/a.png", "empty file"), "text": (broken("notes.txt", b"hello"), "food/notes.txt", "not a PNG"),
    "truncated": (broken("a.png", CUT[:-40]), "food/a.png", "cannot be read"), "header only": (broken("a.png", CUT[:33]), "food/a.png", ""),
    "half a header": (broken("a.png", CUT[:20]), "food/a.png", ""), "noise as gif": (broken("a.gif", b"GIF89a" + bytes(range(200))), "food/a.gif", ""),
    "noise as webp": (broken("a.webp", b"RIFF\x20\0\0\0WEBPVP8 " + bytes(99)), "food/a.webp", ""), "noise as bmp": (broken("a.bmp", b"BM" + bytes(60)), "food/a.bmp", ""),
    "bomb": (bomb, "food/bomb.png", "far too many pixels"), "long animation": (long_gif, "food/long.gif", "5 frames of 4096x4096"),
    "narrow": (lambda f: png(np.random.default_rng(0).integers(0, 256, (16, 60000, 3), np.uint8), f/"food"/"a.png"), "food/a.png", "less than a pixel"),
    "svg": (broken("a.svg", b"<svg/>"), "food/a.svg", "not a PNG"), "npz": (broken("a.npz", b"PK\3\4"), "food/a.npz", "not a PNG"),
    "link to itself": (lambda f: (f/"food"/"self").symlink_to(f/"food"/"self"), "food/self", "cannot be read"),
    "link to nothing": (link("gone.png", "nothing"), "food/gone.png", "cannot be read"), "link to the root": (link("loop", ""), "food/loop", "read already"),
    "link to its folder": (link("loop", "food"), "food/loop", "read already"), "link to another class": (lambda f: (f/"zoo").symlink_to(f/"food", target_is_directory=True), "zoo", "read already"),
    "pipe": (lambda f: os.mkfifo(f/"food"/"pipe.png"), "food/pipe.png", "not a regular file"), "beside the classes": (lambda f: png(IMAGES[0], f/"cover.png"), "cover.png", "without a class"),
    "empty class": (lambda f: (f/"void").mkdir(), "void", "no files in it"), "line end in a name": (broken("a\nb.png", b""), "food/a\\nb.png", "empty file"),
    "name that is no text": (lambda f: open(os.path.join(os.fsencode(f), b"food/\xff.png"), "w").close(), "food/\\udcff.png", "empty file")}


@pytest.mark.parametrize("make, path, reason", SKIPPED.values(), ids=SKIPPED)
@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")
def test_skipped(folder, capsys, make, path, reason):
    "What cannot be used is named in the report, and all else is read"
    make(folder)
    sprites = load(folder)
    assert same(sprites) and reason in sprites.report["skipped"][path] and list(sprites.report["skipped"]) == [path]
    print(sprites.report)
    assert path in capsys.readouterr().out


def test_unreadable_folder(folder, monkeypatch):
    "A folder that may not be listed is named (the administrator may read all, so it is simulated)"
    (folder/"secret").mkdir()
    real = os.listdir
    def listdir(path):
        if os.path.basename(path) == "secret": raise PermissionError(13, "Permission denied", str(path))
        return real(path)
    monkeypatch.setattr(os, "listdir", listdir)
    sprites = load(folder)
    assert same(sprites) and sprites.report["skipped"] == {"secret": "cannot be listed (Permission denied)"}


def test_names(tmp_path):
    "Spaces, Unicode, brackets and hidden files"
    for name in ("my heroes", "żółw 龍", "[a] {b}", ".hidden", "__MACOSX"):
        (tmp_path/name).mkdir()
        png(IMAGES[0], tmp_path/name/"pîc ture #1.png")
        (tmp_path/name/".DS_Store").touch()
    sprites = load(tmp_path)
    assert sprites.classes == ("[a] {b}", "my heroes", "żółw 龍") and sprites.report["hidden"] == 5 and "żółw 龍" in str(sprites.report)
    assert load(own.save_npz(sprites, tmp_path/"ä b.npz")).classes == sprites.classes


def test_deeper_folders(folder):
    "Pictures deeper down count to their class"
    (folder/"food"/"fruit"/"red").mkdir(parents=True)
    png(IMAGES[0], folder/"food"/"fruit"/"red"/"new.png")
    sprites = load(folder)
    assert sprites.report["classes"]["food"] == 6 and "food/fruit/red/new.png" in sprites.groups
    assert any("deeper" in w for w in sprites.report["warnings"])


def test_folders_without_pictures(tmp_path):
    "Where only the pictures beside the folders are pictures, they are the sprites"
    (tmp_path/"docs").mkdir()
    (tmp_path/"docs"/"read.txt").write_text("hello")
    png(IMAGES[0], tmp_path/"a.png")
    sprites = load(tmp_path, classes=["hero"])
    assert len(sprites) == 1 and sprites.classes == ("hero",) and "docs" in sprites.report["skipped"]


def test_300_classes(tmp_path):
    for i in range(300):
        (tmp_path/f"c{i:03d}").mkdir()
        png(IMAGES[i % N], tmp_path/f"c{i:03d}"/"a.png")
    sprites = load(tmp_path)
    assert len(sprites.classes) == 300 and (sprites.labels == np.arange(300)).all() and str(sprites.report).count("\n") < 24
    assert any("more than one class" in w for w in sprites.report["warnings"]) and sprites.report["duplicates"] == 300 - N
    assert own.contact_sheet(sprites).shape[0] == 3 * (300 * 17 + 1)


def test_mixed_sizes(tmp_path):
    "The most frequent size wins, the others are fitted, and the report counts them"
    for i, image in enumerate(IMAGES): png(image[:12, :10] if i < 5 else np.kron(image, np.ones((3, 3, 1), np.uint8)) if i < 8 else image, tmp_path/f"{i:02d}.png")
    sprites = load(tmp_path)
    assert sprites.images.shape[1:3] == (16, 16) and np.array_equal(sprites.images[5:], IMAGES[5:])
    assert sprites.report["fitted"] == {"centred": 5, "enlargement undone": 3, "as they are": 16}
    assert sprites.report["native"] == {(12, 10): 5, (48, 48): 3, (16, 16): 16}
    assert np.array_equal(sprites.images[0][2:14, 3:13], IMAGES[0][:12, :10])


def test_chosen_classes(folder):
    "Classes in the order asked for; the others are named in the report"
    sprites = load(folder, classes="spell,hero")
    assert sprites.classes == ("spell", "hero") and same(sprites, IMAGES[np.isin(LABELS, (0, 3))])
    assert {"food", "non-hero", "side-facing"} == set(sprites.report["skipped"])


# --- What is refused

def one(f, **kwargs): png(IMAGES[0], f/"one.png"); return f/"one.png"
def empty(f): (f/"empty").mkdir(); return f/"empty"
def only_text(f): (f/"t").mkdir(); (f/"t"/"a.txt").write_text("a"); (f/"t"/"b.png").touch(); return f/"t"
def white(f): png(IMAGES[0] * 0 + 255, f/"white.png"); return f/"white.png"
def text(f): (f/"a.png").write_text("hello"); return f/"a.png"
def pipe(f): os.mkfifo(f/"pipe"); return f/"pipe"
def loop(f): (f/"loop").symlink_to(f/"loop"); return f/"loop"
def npz(**arrays):
    def make(f):
        np.savez(f/"a.npz", **{name: a for name, a in (dict(images=IMAGES, labels=LABELS) | arrays).items() if a is not None})
        return f/"a.npz"
    return make
def fake_npz(f):
    with zipfile.ZipFile(f/"a.npz", "w", zipfile.ZIP_DEFLATED) as z: z.writestr("images.npy", bytes(2 ** 20)); z.writestr("labels.npy", b"x")
    return f/"a.npz"
def false_header(f):
    "An array that claims to be enormous"
    head = repr(dict(descr="|u1", fortran_order=False, shape=(10 ** 9, 64, 64, 3))).encode().ljust(117) + b"\n"
    with zipfile.ZipFile(f/"a.npz", "w") as z: z.writestr("images.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(99)); z.writestr("labels.npy", b"x")
    return f/"a.npz"
def npy(labels, more=()):
    def make(f):
        (f/"n").mkdir()
        np.save(f/"n"/"sprites_24_16x16.npy", IMAGES)
        if labels is not None: np.save(f/"n"/"sprite_labels_24_16x16.npy", labels, allow_pickle=True)
        for name in more: np.save(f/"n"/name, IMAGES)
        return f/"n"
    return make


NAN = np.eye(5)[LABELS]; NAN = np.where(np.arange(5) == 2, np.nan, NAN)
REFUSED = {
    "missing": (lambda f: f/"none", {}, "cannot open"), "number": (lambda f: 5, {}, "path is 5"), "none": (lambda f: None, {}, "path is None"), "null byte": (lambda f: "a\0b", {}, "cannot open"),
    "long": (lambda f: "x" * 5000, {}, "cannot open"), "empty folder": (empty, {}, "no sprite found"), "no pictures": (only_text, {}, "no sprite found"), "blank": (white, {}, "1 empty pictures"),
    "text as png": (text, {}, "not a PNG"), "pipe": (pipe, {}, "neither a file nor a folder"), "loop": (loop, {}, "cannot open"),
    "narrow": (lambda f: [png(np.arange(60000, dtype=np.uint32).view(np.uint8).reshape(1, -1, 4)[..., :3].copy(), f/"a.png"), f/"a.png"][1], {}, "less than a pixel"),
    "size 18": (one, dict(size=18), "size is 18"), "size 4": (one, dict(size=4), "multiples of 4"), "size 68": (one, dict(size=(16, 68)), "multiples of 4"), "size text": (one, dict(size="big"), "size is 'big'"),
    "size nan": (one, dict(size=float("nan")), "size is nan"), "size three": (one, dict(size=(16, 16, 16)), "size is"), "size true": (one, dict(size=True), "size is True"), "size list": (one, dict(size=[[16], 16]), "size is"),
    "cell 0": (one, dict(cell=0), "cell is 0"), "cell 3": (one, dict(cell=3), "at least 4"), "cell too large": (one, dict(cell=32), "does not come out even"), "cell off": (one, dict(cell=7), "does not come out even"),
    "margin": (one, dict(cell=8, margin=-1), "margin is -1"), "spacing": (one, dict(cell=8, spacing=1.5), "spacing is 1.5"), "margin alone": (one, dict(margin=2), "expected a cell"), "margin too large": (one, dict(cell=8, margin=99), "come out even"),
    "background": (one, dict(background="mauvish"), "background is 'mauvish'"), "background number": (one, dict(background=7), "background is 7"), "clear background": (one, dict(background="#ff000000"), "background is"),
    "classes twice": (one, dict(classes="a,a"), "different names"), "two classes": (one, dict(classes="a,b"), "expected one name"), "class number": (one, dict(classes=3), "classes are 3"), "no class": (one, dict(classes=()), "different names"),
    "npz and cell": (npz(), dict(cell=8), "Leave them out"), "images float": (npz(images=IMAGES / 255), {}, "images are float64"), "images grey": (npz(images=IMAGES[..., 0]), {}, "expected uint8"), "no images": (npz(images=None), {}, "expected images and labels"),
    "images empty": (npz(images=IMAGES[:0], labels=LABELS[:0]), {}, "expected uint8"), "no labels": (npz(labels=None), {}, "expected images and labels"), "labels short": (npz(labels=LABELS[:5]), {}, "for 24 images"),
    "labels negative": (npz(labels=LABELS - 1), {}, "go from -1"), "labels huge": (npz(labels=LABELS * 10 ** 9), {}, "at most 999"), "labels beyond names": (npz(classes=np.array(["a", "b"])), {}, "2 class names"),
    "labels beyond given": (npz(), dict(classes="a,b"), "2 class names"), "labels nan": (npz(labels=np.where(LABELS == 2, np.nan, LABELS)), {}, "NaN"), "labels half": (npz(labels=LABELS / 2), {}, "astype"),
    "labels text": (npz(labels=LABELS.astype(str)), {}, "labels are <U"), "labels objects": (npz(labels=LABELS.astype(object)), {}, "Object arrays"), "images objects": (npz(images=np.array([[1, "a"]], object)), {}, "Object arrays"),
    "labels two ones": (npz(labels=np.ones((N, 5))), {}, "a single 1"), "labels no row": (npz(labels=np.zeros((N, 0))), {}, "labels"), "classes twice in file": (npz(classes=np.array(["a"] * 5)), {}, "different names"), "classes numbers": (npz(classes=np.arange(5)), {}, "expected names"),
    "group short": (npz(group=np.arange(3)), {}, "group is"), "group float": (npz(group=LABELS / 2), {}, "group is"), "npz text": (lambda f: [(f/"a.npz").write_text("no"), f/"a.npz"][1], {}, "cannot read"), "npz empty": (lambda f: [(f/"a.npz").touch(), f/"a.npz"][1], {}, "cannot read"),
    "npz fake": (fake_npz, {}, "cannot read"), "npz false header": (false_header, {}, "cannot read"),
    "npy without labels": (npy(None), {}, "with 'label' in its name"), "npy three": (npy(np.eye(5)[LABELS], ["other.npy"]), {}, "expected one .npy"), "npy nan": (npy(NAN), {}, "NaN"), "npy objects": (npy(LABELS.astype(object)), {}, "cannot read"),
    "npy labels short": (npy(np.eye(5)[LABELS][:7]), {}, "for 24 images")}


@pytest.mark.parametrize("make, kwargs, says", REFUSED.values(), ids=REFUSED)
@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")
def test_refused(tmp_path, make, kwargs, says):
    "One error that names the value, what was expected and what to do"
    with pytest.raises(sd.InputError) as e: load(make(tmp_path), **kwargs)
    message = str(e.value)
    assert says in message and "expected" in message and "\n" not in message and message.rstrip().endswith(".") and len(message) < 6000


def test_pickle_never_runs(tmp_path, evil):
    "An array that holds code is refused, and the code does not run"
    bad, sign = evil
    np.savez(tmp_path/"a.npz", images=IMAGES, labels=LABELS, classes=np.array([bad], object))
    np.save(tmp_path/"sprites.npy", np.array([bad], object), allow_pickle=True)
    np.save(tmp_path/"labels.npy", LABELS)
    for name in ("a.npz", "sprites.npy"):
        with pytest.raises(sd.InputError, match="cannot read"): load(tmp_path/name)
    assert not sign.exists()


def test_limit_before_unpacking(tmp_path, monkeypatch):
    "An .npz that would unpack to too much is refused by its table of contents"
    monkeypatch.setattr(own, "MAX_BYTES", 1000)
    with pytest.raises(sd.InputError, match="bytes unpacked, at most 1000"): load(npz()(tmp_path))


def test_limit_before_decoding(tmp_path, monkeypatch):
    "The number of pixels is checked before a pixel is decoded"
    monkeypatch.setattr(own, "MAX_PIXELS", 200)
    monkeypatch.setattr(Image.Image, "convert", None)
    with pytest.raises(sd.InputError, match="16x16 pixels; expected at most 200"): load(one(tmp_path))


# --- Arrays that are right

ARRAYS = {
    "plain": (npz(), {}, sd.CLASSES), "uint8 labels": (npz(labels=LABELS.astype(np.uint8)), {}, sd.CLASSES), "named": (npz(classes=np.array(list("abcde"))), {}, tuple("abcde")),
    "more names": (npz(classes=np.array(list("abcdefg"))), {}, tuple("abcdefg")), "given names": (npz(), dict(classes="v,w,x,y,z"), tuple("vwxyz")), "alpha": (npz(images=rgba()), {}, sd.CLASSES),
    "one-hot": (npz(labels=np.eye(5)[LABELS]), {}, sd.CLASSES), "pair": (npy(np.eye(5)[LABELS]), {}, sd.CLASSES), "path of the pair": (lambda f: npy(np.eye(5)[LABELS])(f)/"sprites_24_16x16.npy", {}, sd.CLASSES),
    "numbers in npy": (npy(LABELS), {}, sd.CLASSES), "seven columns": (npy(np.eye(7)[LABELS]), {}, tuple(f"class {i}" for i in range(7))),
    "enlarged": (npz(images=np.kron(IMAGES, np.ones((1, 3, 3, 1), np.uint8))), dict(size=16), sd.CLASSES), "large": (npz(images=np.kron(IMAGES, np.ones((1, 6, 6, 1), np.uint8))), {}, sd.CLASSES)}


@pytest.mark.parametrize("make, kwargs, classes", ARRAYS.values(), ids=ARRAYS)
def test_arrays(tmp_path, make, kwargs, classes):
    sprites = load(make(tmp_path), **kwargs)
    assert np.array_equal(sprites.images, IMAGES) and np.array_equal(sprites.labels, LABELS) and sprites.labels.dtype == np.int64
    assert sprites.classes == classes and list(sprites.report["classes"].values()) == np.bincount(LABELS, minlength=len(classes)).tolist()


def test_groups_in_file(tmp_path):
    assert list(load(npz(group=np.arange(N) // 4)(tmp_path)).groups) == [str(i // 4) for i in range(N)] and load(npz()(tmp_path)).groups is None


# --- The report, and the way on

def test_report(tmp_path):
    "Every count of the report, and its text"
    for name, image in (("a", IMAGES[0]), ("b", IMAGES[0]), ("c", np.where(np.arange(16)[:, None, None] == 9, IMAGES[0] // 2 * 2, IMAGES[0])), ("d", IMAGES[1]), ("e", IMAGES[0] * 0)): png(image.astype(np.uint8), tmp_path/f"{name}.png")
    (tmp_path/"f.txt").write_text("hello")
    report = load(tmp_path).report
    assert (report["sprites"], report["duplicates"], report["near"], report["empty"]) == (4, 1, 1, 1)
    text = str(report)
    assert text.splitlines()[0] == "4 sprites of 16x16 in 1 class" and "1 exact duplicate, 1 near-duplicate, 1 empty one dropped" in text
    assert "f.txt: not a PNG" in text and "fewer than 20 sprites" in text and "native sizes: 16x16 (4)" in text


def test_on_to_training(folder, tmp_path):
    "The file of a course set has the course's numbers; one that cannot be written leaves nothing"
    sprites = load(folder)
    back = load(own.save_npz(sprites, tmp_path/"a.npz"))
    assert back.classes == sd.CLASSES and [sd.CLASSES[i] for i in back.labels] == [sprites.classes[i] for i in sprites.labels] and back.groups is not None
    for path in (tmp_path/"none"/"a.npz", tmp_path/"art"):
        with pytest.raises(sd.InputError, match="cannot write"): own.save_npz(sprites, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "art"]


def test_same_twice(folder):
    a, b = load(folder), load(folder)
    assert np.array_equal(a.images, b.images) and list(a.groups) == list(b.groups) and str(a.report) == str(b.report) and "SpriteSet(24 sprites" in repr(a)


# --- The command

def test_command(folder, tmp_path, capsys):
    "A report, a file and a contact sheet"
    out, sheet = tmp_path/"new"/"a.npz", tmp_path/"new"/"a.png"
    assert main(["data", str(folder), "--out", str(out), "--sheet", str(sheet)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("24 sprites of 16x16 in 5 classes") and said.err == "" and f"sprites in {out}" in said.out
    assert same(load(out)) and Image.open(sheet).size == (3 * (16 * 17 + 1), 3 * (5 * 17 + 1))
    assert sorted(p.name for p in out.parent.iterdir()) == ["a.npz", "a.png"]
    assert main(["data", str(folder), "--size", "24x16", "--classes", "food,hero", "--background", "#102030"]) == 0
    said = capsys.readouterr().out
    assert "of 24x16 in 2 classes" in said


@pytest.mark.parametrize("bad", ("--size 18", "--size x", "--size 16x", "--cell 7", "--cell 0", "--margin 3", "--margin x", "--spacing -1", "--background mauvish", "--classes dragon", "--classes a,a",
                                 "--out a.txt", "--sheet a.npz", "--out {art}/x/../../art", "--out {art}/hero/00.png/a.npz", "--sheet {art}/food/02.png/b.png", "--bogus", "--out {file}"))
def test_bad_command(folder, tmp_path, capsys, bad):
    "Exit code 2, one line, nothing written"
    png(IMAGES[0], tmp_path/"one.png")
    before = sorted(tmp_path.rglob("*"))
    args = [a.format(art=folder, file=tmp_path) for a in bad.split()]
    try: code = main(["data", str(folder), "--out", str(tmp_path/"new"/"o.npz"), "--sheet", str(tmp_path/"new"/"o.png"), *args])
    except SystemExit as e: code = e.code
    said = capsys.readouterr()
    assert code == 2 and said.out == "" and said.err.count("\n") == 1 and said.err.startswith("spritediff: ") and sorted(tmp_path.rglob("*")) == before


def test_command_keeps_what_it_reads(tmp_path, capsys):
    "Neither the file nor the sheet may take the place of what is read"
    png(page(IMAGES, 4, 6, 0, 0), tmp_path/"a.png")
    own.save_npz(load(tmp_path/"a.png", cell=16), tmp_path/"a.npz")
    content = {p: p.read_bytes() for p in tmp_path.iterdir()}
    assert main(["data", str(tmp_path/"a.png"), "--cell", "16", "--sheet", str(tmp_path/"a.png")]) == 2
    assert main(["data", str(tmp_path/"a.npz"), "--out", str(tmp_path/"a.npz")]) == 2
    assert main(["data", str(tmp_path/"none")]) == 2 and main(["data"]) == 2
    assert capsys.readouterr().err.count("\n") == 4 and content == {p: p.read_bytes() for p in tmp_path.iterdir()}
