"""Files for games: nothing half written, atlases and animations that give back every bit, palettes, and ONNX."""
import json, os, stat, sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np, pytest, torch
from PIL import Image

import spritediff as sd
from spritediff import exporting
from spritediff.generation import replacing
from spritediff.own import cut, load_sprites, read_picture

RNG = np.random.default_rng(0)


def noise(*shape): return RNG.integers(0, 256, shape).astype(np.uint8)


def art(n=6, h=16, w=16, colours=40):
    "Random sprites of few colours, some pixels of each clear."
    palette = np.unique(noise(colours, 3), axis=0)
    pixels = np.concatenate([palette[RNG.integers(0, len(palette), (n, h, w))], np.full((n, h, w, 1), 255)], -1).astype(np.uint8)
    pixels[RNG.random((n, h, w)) < .3] = (255, 255, 255, 0)
    return pixels


def visible(frames): return np.where(frames[..., 3:] > 0, frames, 0)


@pytest.fixture
def small():
    torch.manual_seed(0)
    return sd.ContextUnet(3, 8, 5, 8, 12).eval()


# --- Files

def write_files(contents):
    with ExitStack() as files:
        for path, content in contents.items(): files.enter_context(replacing(path)).write_bytes(content)


def test_all_or_nothing(tmp_path, monkeypatch):
    "If a file cannot be written, none is changed and no part is left; files get the usual rights"
    a, b = tmp_path/"a", tmp_path/"b"
    write_files({a: b"1", b: b"2"})
    assert stat.S_IMODE(a.stat().st_mode) & 0o600 == 0o600 and stat.S_IMODE(a.stat().st_mode) == 0o666 & ~umask()
    calls, write = [], Path.write_bytes
    def full(self, data):
        calls.append(self)
        if len(calls) == 2: raise OSError(28, "No space left on device")
        return write(self, data)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(sd.InputError, match="No space left"): write_files({a: b"new", b: b"new"})
    monkeypatch.undo()
    assert (a.read_bytes(), b.read_bytes()) == (b"1", b"2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_interrupt_leaves_no_parts(tmp_path, monkeypatch):
    def stop(*args): raise KeyboardInterrupt
    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt): write_files({tmp_path/"a": b"1"})
    assert not list(tmp_path.iterdir())


def test_part_in_the_way(tmp_path):
    "A folder that has the name to write to first"
    (tmp_path/"a.part").mkdir()
    with pytest.raises(sd.InputError, match="cannot write"): write_files({tmp_path/"a": b"1"})
    assert [p.name for p in tmp_path.iterdir()] == ["a.part"]


def test_atlas_is_one(tmp_path):
    "If the sheet cannot be written, the JSON stays as it was"
    sd.save_atlas(art(2), tmp_path/"a.json")
    before = (tmp_path/"a.json").read_bytes()
    (tmp_path/"a.png.part").mkdir()
    with pytest.raises(sd.InputError, match="cannot write .*a.png"): sd.save_atlas(art(9), tmp_path/"a.json")
    assert (tmp_path/"a.json").read_bytes() == before


@pytest.mark.parametrize("path", [None, 5, "a.txt", "a", "a\0.json", "", "a.json.exe"])
def test_bad_targets(path, tmp_path):
    with pytest.raises(sd.InputError, match="expected a name that ends in"): sd.save_atlas(art(), path)


WRITERS = {"atlas.json": lambda path: sd.save_atlas(art(2), path), "a.gif": lambda path: sd.save_animation(art(2), path),
           "a.png": lambda path: sd.save_animation(art(2), path), "a.hex": lambda path: sd.save_palette([[1, 2, 3]], path)}


@pytest.mark.parametrize("name", WRITERS)
def test_targets_that_cannot_be(name, tmp_path):
    "A folder in the file's place, a file in the folder's place"
    (tmp_path/name).mkdir()
    with pytest.raises(sd.InputError, match="is a folder"): WRITERS[name](tmp_path/name)
    (tmp_path/"file").touch()
    with pytest.raises(sd.InputError, match="cannot write"): WRITERS[name](tmp_path/"file"/name)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["file", name])


@pytest.mark.parametrize("name", WRITERS)
def test_folder_without_rights(name, tmp_path):
    if os.geteuid() == 0 if hasattr(os, "geteuid") else True: pytest.skip("this user may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(sd.InputError, match="cannot write"): WRITERS[name](tmp_path/name)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("bad", [None, 3, "sprite", [], [1, 2], ["a"], np.zeros((0, 8, 8, 4), np.uint8), np.zeros((2, 8, 8, 2), np.uint8),
                                 np.zeros((2, 8, 8, 4), int), np.zeros((2, 8, 8, 4)), np.full((2, 3, 8, 8), np.nan, np.float32),
                                 [art(1)[0], art(1, 8)[0]], np.zeros((8, 8, 4), np.uint8), np.zeros((2, 8, 8, 3), bool)],
                         ids=lambda bad: f"{type(bad).__name__} {getattr(bad, 'shape', '')}{getattr(bad, 'dtype', '')}")
def test_bad_pictures(bad, tmp_path):
    "One clear error, and not even a folder is made"
    for write in (lambda: sd.save_atlas(bad, tmp_path/"x/a.json"), lambda: sd.save_animation(bad, tmp_path/"x/a.gif"),
                  lambda: sd.palette_of(bad), lambda: sd.to_palette(bad, [[0, 0, 0]])):
        with pytest.raises(sd.InputError): write()
    assert not list(tmp_path.iterdir())


# --- Atlas

@pytest.mark.parametrize("power_of_two", [False, True])
@pytest.mark.parametrize("margin,spacing,ncol", [(0, 0, None), (3, 0, 1), (0, 2, 7), (1, 5, 3)])
@pytest.mark.parametrize("size", [(8, 8), (16, 16), (24, 16), (16, 24), (64, 8), (60, 44), (64, 64)])
def test_atlas_round_trip(size, margin, spacing, ncol, power_of_two, tmp_path):
    sprites = noise(5, *size, 4)
    png, file = sd.save_atlas(sprites, tmp_path/"a.json", ncol=ncol, margin=margin, spacing=spacing, power_of_two=power_of_two)
    assert (np.stack(list(sd.load_atlas(file).values())) == sprites).all()
    data, page = json.loads(file.read_text()), Image.open(png)
    assert data["meta"]["size"] == dict(w=page.width, h=page.height) and page.mode == "RGBA"
    if power_of_two: assert all(side & side - 1 == 0 for side in page.size)
    else: assert (cut(np.array(page), size, margin, spacing)[:5] == sprites).all()
    covered = np.zeros((page.height, page.width), int)
    for entry in data["frames"].values():
        x, y, w, h = (entry["frame"][k] for k in "xywh")
        covered[y:y + h, x:x + w] += 1
        assert entry["spriteSourceSize"] == dict(x=0, y=0, w=w, h=h) and entry["sourceSize"] == dict(w=w, h=h)
        assert (entry["rotated"], entry["trimmed"]) == (False, False)
    assert covered.max() == 1 and not np.array(page)[covered == 0].any()


def test_atlas_names(tmp_path):
    "Names from classes, given ones, umlauts; the order stays"
    sprites = art(4)
    _, file = sd.save_atlas(sprites, tmp_path/"a.json", labels=[1, 0, 1, -1], classes=("Ork", "fée"))
    assert list(sd.load_atlas(file)) == ["fée_00", "Ork_00", "fée_01", "sprite_00"]
    _, file = sd.save_atlas(sprites, tmp_path/"a.json", names=list("dcba"))
    assert (sd.load_atlas(file)["d"] == sprites[0]).all() and list(sd.load_atlas(file)) == list("dcba")


def test_atlas_tags(tmp_path):
    _, file = sd.save_atlas(art(6), tmp_path/"a.json", tags={"walk": (0, 3), "hit": (4, 5)}, durations=[50, 60, 70, 80, 90, 100])
    data = json.loads(file.read_text())
    assert [(t["name"], t["from"], t["to"], t["direction"]) for t in data["meta"]["frameTags"]] == [("walk", 0, 3, "forward"), ("hit", 4, 5, "forward")]
    assert data["animations"] == dict(walk=list("0123"), hit=list("45"))
    assert [entry["duration"] for entry in data["frames"].values()] == [50, 60, 70, 80, 90, 100]


@pytest.mark.parametrize("tags", [[("walk", 0, 1)], {"walk": (0, 6)}, {"walk": (2, 1)}, {"walk": 3}, {"": (0, 1)}, {"a/b": (0, 1)}, {"walk": (0, 1.5)}, {"walk": (-1, 2)}])
def test_bad_tags(tags, tmp_path):
    with pytest.raises(sd.InputError): sd.save_atlas(art(6), tmp_path/"a.json", tags=tags)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "..\\a", "/etc", "a:b", "a*", "x" * 101, " a", "a.", "a\tb", "\0", None, 3])
def test_bad_names(name, tmp_path):
    with pytest.raises(sd.InputError, match="letters that a file's name"): sd.save_atlas(art(2), tmp_path/"a.json", names=["good", name])


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "A"], "a", 5, []])
def test_bad_name_lists(names, tmp_path):
    with pytest.raises(sd.InputError): sd.save_atlas(art(2), tmp_path/"a.json", names=names)


@pytest.mark.parametrize("change", [
    lambda d: d["meta"].update(image="../a.png"), lambda d: d["meta"].update(image=7), lambda d: d.pop("meta"), lambda d: d.pop("frames"),
    lambda d: d["frames"]["sprite_00"]["frame"].update(x=-1), lambda d: d["frames"]["sprite_00"]["frame"].update(w=999),
    lambda d: d["frames"]["sprite_00"]["frame"].update(h="all"), lambda d: d["frames"]["sprite_00"].update(rotated=True),
    lambda d: d["frames"]["sprite_00"].update(trimmed=True), lambda d: d["frames"].update(sprite_00=3), lambda d: d["meta"].update(image="b.png")])
def test_damaged_atlas(change, tmp_path):
    _, file = sd.save_atlas(art(2), tmp_path/"a.json")
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    with pytest.raises(sd.InputError): sd.load_atlas(file)


def test_atlas_as_list(tmp_path):
    "The other form of frames: a list with file names"
    sprites = art(3)
    _, file = sd.save_atlas(sprites, tmp_path/"a.json")
    data = json.loads(file.read_text())
    data["frames"] = [dict(entry, filename=name) for name, entry in data["frames"].items()]
    file.write_text(json.dumps(data))
    assert (np.stack(list(sd.load_atlas(file).values())) == sprites).all()


def test_sheet_is_training_data(tmp_path):
    "What save_atlas writes, load_sprites reads"
    images = sd.make_sprites(12)[0]
    png, _ = sd.save_atlas(images, tmp_path/"a.json", ncol=4, margin=2, spacing=1)
    assert (load_sprites(png, cell=16, margin=2, spacing=1, progress=False).images == images).all()


# --- Animations

@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.apng"])
@pytest.mark.parametrize("loops", [0, 1, 2, 7])
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("colours,clear", [(2, True), (40, True), (255, True), (256, False)])
def test_animation_round_trip(name, loops, scale, colours, clear, tmp_path):
    "Pixels, clear pixels, durations, loops; at most 256 colours"
    frames = art(5, 8, 12, colours)
    if not clear: frames[..., 3], frames[..., :3] = 255, np.unique(noise(256, 3), axis=0)[RNG.integers(0, 250, (5, 8, 12))]
    path = sd.save_animation(frames, tmp_path/name, [20, 50, 100, 1000, 60_000], loops, scale)
    assert (visible(np.stack(read_picture(path))) == visible(np.kron(frames, np.ones((1, scale, scale, 1), np.uint8)))).all()
    with Image.open(path) as image:
        assert [image.seek(i) or round(image.info["duration"]) for i in range(5)] == [20, 50, 100, 1000, 60_000]
        assert image.info.get("loop") == ({1: None}.get(loops, max(0, loops - 1)) if name == "a.gif" else loops)


def tables(gif):
    "Bytes of the global colour table of a GIF, and of each frame's own"
    size = lambda flags: 3 * (2 << (flags & 7)) if flags & 128 else 0
    i, own = 13 + size(gif[10]), []
    while gif[i] != 0x3b:
        if gif[i] == 0x21: i += 2
        else:
            own.append(size(gif[i + 9]))
            i += 11 + own[-1]
        while gif[i]: i += gif[i] + 1
        i += 1
    return size(gif[10]), own


def test_gif_has_one_palette(tmp_path):
    path = sd.save_animation(art(6, colours=100), tmp_path/"a.gif")
    assert tables(path.read_bytes()) == (3 * 128, [0] * 6)


def test_gif_of_noise(tmp_path):
    "More colours than fit: 256 are left, clear pixels stay clear, and the last frame is exact"
    frames = np.concatenate([noise(4, 16, 16, 4) | np.array([0, 0, 0, 255], np.uint8), art(1, colours=150)])
    path = sd.save_animation(frames, tmp_path/"a.gif")
    got = np.stack(read_picture(path))
    assert len(np.unique(got.reshape(-1, 4), axis=0)) <= 256
    assert (visible(got)[-1] == visible(frames)[-1]).all() and (got[..., 3] == frames[..., 3]).all()
    assert (visible(np.stack(read_picture(sd.save_animation(frames, tmp_path/"a.png")))) == visible(frames)).all()
    everywhere = noise(3, 16, 16, 3) # no frame is exact
    assert len(np.unique(np.stack(read_picture(sd.save_animation(everywhere, tmp_path/"b.gif"))).reshape(-1, 4), axis=0)) <= 256


def test_clear_frames(tmp_path):
    "Frames without a single pixel"
    frames = np.zeros((2, 8, 8, 4), np.uint8)
    frames[0, 2, 3] = (9, 8, 7, 255)
    for name in ("a.gif", "a.png"): assert (np.stack(read_picture(sd.save_animation(frames, tmp_path/name))) [..., 3] == frames[..., 3]).all()
    with pytest.raises(sd.InputError, match="transparent"): sd.save_animation(frames[1:], tmp_path/"b.gif")


def test_rounding_and_equal_frames(tmp_path):
    path = sd.save_animation(art(2), tmp_path/"a.gif", [33, 66])
    with Image.open(path) as image: assert [image.seek(i) or image.info["duration"] for i in range(2)] == [30, 70]


@pytest.mark.parametrize("options", [dict(durations=10), dict(durations=70_000), dict(durations=[100] * 3), dict(durations="fast"), dict(durations=None),
                                     dict(durations=[100, np.nan]), dict(loops=-1), dict(loops=1.5), dict(loops=70_000), dict(scale=0), dict(scale=65)])
def test_bad_animation(options, tmp_path):
    with pytest.raises(sd.InputError): sd.save_animation(art(2), tmp_path/"a.gif", **options)
    assert not list(tmp_path.iterdir())


# --- Palettes

@pytest.mark.parametrize("k", [1, 2, 9, 256, 300])
@pytest.mark.parametrize("end", ["gpl", "hex", "png"])
def test_palette_files(k, end, tmp_path):
    palette = np.random.default_rng(k).permutation(np.unique(noise(400, 3), axis=0))[:k]
    for scale in (1, 4): assert (sd.load_palette(sd.save_palette(palette, tmp_path/f"p.{end}", scale=scale)) == palette).all()


@pytest.mark.parametrize("text", ["#0a0b0c\n#ffFFff\n", "0a0b0c\r\nffffff\r\n0A0B0C", "\ufeff0a0b0c\n\nffffff\n"])
def test_hex_of_others(text, tmp_path):
    (tmp_path/"p.hex").write_bytes(text.encode())
    assert sd.load_palette(tmp_path/"p.hex").tolist() == [[10, 11, 12], [255] * 3]


def test_gpl_of_others(tmp_path):
    "Aseprite's header with alpha, comments, names with spaces"
    (tmp_path/"p.gpl").write_text("GIMP Palette\nChannels: RGBA\nName: My: name\nColumns: 4\n#\n# by me\n 10  11 12 255 Dark sea\n255 255 255\t255\tUntitled\n")
    assert sd.load_palette(tmp_path/"p.gpl").tolist() == [[10, 11, 12], [255] * 3]


@pytest.mark.parametrize("name,content", [("a.gpl", b"JASC-PAL\n"), ("a.gpl", b""), ("a.gpl", b"GIMP Palette\n"), ("a.gpl", b"GIMP Palette\n1 2\n"), ("a.gpl", b"GIMP Palette\n1 2 300\n"),
                                          ("a.gpl", b"GIMP Palette\n-1 2 3\n"), ("a.hex", b"\xff\xfe\x00"), ("a.hex", b"12345"), ("a.hex", b"gggggg"), ("a.hex", b"1234567"), ("a.png", b"no"), ("a.txt", b"000000")])
def test_damaged_palettes(name, content, tmp_path):
    (tmp_path/name).write_bytes(content)
    with pytest.raises(sd.InputError): sd.load_palette(tmp_path/name)


def test_to_palette():
    "Every pixel gets the nearest colour, by brute force; clear ones stay; twice is once"
    images, palette = noise(3, 8, 8, 4), noise(11, 3)
    result = sd.to_palette(images, palette)
    nearest = palette[((images[..., None, :3].astype(int) - palette) ** 2).sum(-1).argmin(-1)]
    drawn = images[..., 3] > 0
    assert (result[drawn][:, :3] == nearest[drawn]).all() and (result[~drawn] == images[~drawn]).all()
    assert (result[..., 3] == images[..., 3]).all() and (sd.to_palette(result, palette) == result).all()


def test_palette_of():
    images = art(4, colours=60)
    colours = sd.palette_of(images)
    assert {tuple(c) for c in colours} == {tuple(c[:3]) for c in images[images[..., 3] > 0]}
    brightness = colours @ [299, 587, 114]
    assert (np.diff(brightness) >= 0).all()
    for n in (2, 7, 30): assert 2 <= len(sd.palette_of(images, n)) <= n
    assert (sd.palette_of(images, 256) == colours).all()
    for n in (0, 1, 257, 2.5, "many"):
        with pytest.raises(sd.InputError, match="n is"): sd.palette_of(images, n)


@pytest.mark.parametrize("palette", [None, [], 5, "none.hex", [[1, 2]], [[1, 2, 3, 4]], [[256, 0, 0]], [[-1, 0, 0]], [[.5, 0, 0]], [[np.nan] * 3], [[1, 2, 3], [1, 2]], np.zeros((2, 3), bool)])
def test_bad_palettes(palette):
    with pytest.raises(sd.InputError): sd.to_palette(art(1), palette)


# --- One call

def test_export_sprites(tmp_path, small):
    "What is written belongs together; the same seed gives the same files"
    class Model(torch.nn.Module):
        in_channels, n_cfeat, h, w, classes = 3, 5, 8, 12, ("Knight", "Troll", "Bread", "Bolt", "Wolf")
        def forward(self, x, t, c=None): return .3 * x
    settings = dict(n=6, weights=Model(), seed=3, steps=3, device="cpu", spacing=1)
    made = sd.export_sprites(tmp_path/"one", **settings)
    assert list(made) == list(exporting.FORMATS) and all(path.is_file() for paths in made.values() for path in paths)
    assert [path.stem for path in made["png"]] == ["Knight_00", "Troll_00", "Bread_00", "Bolt_00", "Wolf_00", "Knight_01"]
    sprites = sd.load_atlas(made["atlas"][1])
    for path in made["png"]: assert (read_picture(path)[0] == sprites[path.stem]).all() and sprites[path.stem].shape == (8, 12, 4)
    palettes = [sd.load_palette(path).tolist() for path in made["palette"]]
    assert palettes[0] == palettes[1] == palettes[2] == sd.palette_of(list(sprites.values())).tolist()
    again = sd.export_sprites(tmp_path/"two", **settings)
    for name in made: assert [p.read_bytes() for p in made[name]] == [p.read_bytes() for p in again[name]]
    many = sd.export_sprites(tmp_path/"three", **dict(settings, steps=500, sampler="ddpm"), formats="gif, png")
    assert list(many) == ["gif", "png"] and 1 < Image.open(many["gif"][0]).n_frames <= 27
    assert sorted(p.name for p in (tmp_path/"three").iterdir()) == ["denoising.gif", "sprites"]


def test_as_generate(tmp_path):
    "The same sprites as generate writes"
    settings = dict(n=3, seed=5, steps=2, device="cpu", colours=12)
    made, known = sd.export_sprites(tmp_path/"a", formats="png", **settings), sd.generate(out=tmp_path/"b", **settings)
    for a, b in zip(made["png"], known["sprites"]): assert (read_picture(a)[0] == read_picture(b)[0]).all()


@pytest.mark.parametrize("bad", [dict(n=0), dict(weights="dragons"), dict(weights="no.safetensors"), dict(context="dragon"), dict(formats="pdf"), dict(formats=[]),
                                 dict(colours=1), dict(palette="no.gpl"), dict(palette=[[1]]), dict(sampler="magic"), dict(steps=0), dict(guidance=21),
                                 dict(eta=2), dict(margin=-1), dict(spacing=.5), dict(scale=0), dict(device="abacus")], ids=str)
def test_bad_export(bad, tmp_path):
    with pytest.raises(sd.InputError): sd.export_sprites(tmp_path/"out", **bad)
    assert not (tmp_path/"out").exists()


def test_export_checks_targets_first(tmp_path, monkeypatch):
    "A folder in a file's place is found before sampling"
    (tmp_path/"atlas.json").mkdir()
    monkeypatch.setattr(exporting, "sample_request", lambda *args: pytest.fail("sampled"))
    with pytest.raises(sd.InputError, match="is a folder"): sd.export_sprites(tmp_path)


# --- ONNX

def test_onnx(small, tmp_path):
    "Same values as torch for any batch, no trace of this machine, the facts in the file"
    pytest.importorskip("onnxscript"), pytest.importorskip("onnxruntime")
    small.train() # is left as it is
    schedule = sd.cosine_schedule(50)
    file = sd.export_onnx(small, tmp_path/"sub/net.onnx", schedule)
    assert small.training and [p.name for p in file.parent.iterdir()] == ["net.onnx"]
    assert exporting.onnx_difference(file.read_bytes(), small.eval()) < 1e-4
    session = exporting.onnx_session(file)
    assert [(i.name, i.shape[1:]) for i in session.get_inputs()] == [("x_t", [3, 8, 12]), ("t", []), ("context", [5])]
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == list(sd.CLASSES) and facts["timesteps"] == "50"
    assert torch.equal(torch.tensor(json.loads(facts["alpha_bar"])), schedule.alpha_bar)
    content = file.read_bytes()
    for trace in (str(Path(sd.__file__).parent), str(Path(torch.__file__).parent), "unet.py"): assert trace.encode() not in content
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 12)).astype(np.float32)
    t, c = np.linspace(.1, 1, 4, dtype=np.float32), np.eye(5, dtype=np.float32)[:4]
    with torch.no_grad(): want = small(*map(torch.tensor, (x, t, c))).numpy()
    assert np.abs(session.run(None, dict(x_t=x, t=t, context=c))[0] - want).max() < 1e-4


def test_onnx_that_differs(small, tmp_path, monkeypatch):
    "A file that does not agree is not written"
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(exporting, "_onnx_bytes", lambda *args: b"")
    monkeypatch.setattr(exporting, "onnx_difference", lambda *args: .5)
    with pytest.raises(sd.InputError, match="differs from the network by 5.0e-01"): sd.export_onnx(small, tmp_path/"a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnxscript", "onnxruntime"])
def test_onnx_missing(package, small, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(sd.InputError, match=rf'package {package} is missing.*pip install "spritediff\[onnx\]"'): sd.export_onnx(small, tmp_path/"a.onnx")
    if package == "onnxruntime":
        with pytest.raises(sd.InputError, match="is missing"): exporting.onnx_session(b"")


def test_bad_onnx(small, tmp_path):
    pytest.importorskip("onnxscript"), pytest.importorskip("onnxruntime")
    with torch.no_grad(): small.out[0].bias[0] = torch.nan
    for model, path, options in ((small, "a.onnx", {}), (torch.nn.Linear(1, 1), "a.onnx", {}), ("dragons", "a.onnx", {}), (None, "a.pt", {}),
                                 (None, "a.onnx", dict(opset=11)), (None, "a.onnx", dict(schedule="linear"))):
        with pytest.raises(sd.InputError): sd.export_onnx(model, tmp_path/path, **options)
    assert not list(tmp_path.iterdir())
