"""Hostile and broken input, across the modules: one clear error and nothing written, or a right result; never code that runs, gigabytes, or a hang."""
import json, os, resource, shutil, signal, stat, struct, sys, time, zipfile, zlib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest, torch
from PIL import Image

import spritediff as sd
from spritediff import own, runs
from spritediff.__main__ import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and names that Windows does not have")
IMAGES, LABELS = sd.make_sprites(10)
SECONDS, MEGABYTES = 10, 400 # that a refusal may take


def small_net(channels, n_feat, *args, **kwargs): return sd.ContextUnet(channels, 8, *args, **kwargs)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    "What the cases damage: a finished run, weights, pictures, an atlas, a palette"
    place = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(runs, "ContextUnet", small_net), patch.setattr(runs, "draw_progress", lambda *args: None)
        torch.manual_seed(0)
        sd.train_sprites(place/"run", sprites=10, epochs=2, batch_size=5, device="cpu", progress=False)
        sd.save_pretrained(sd.ContextUnet(3, 8, 5, 16), place/"w")
        torch.save(sd.ContextUnet(3, 8, 5, 16).state_dict(), place/"course.pth")
    for i, (image, label) in enumerate(zip(IMAGES, LABELS)): picture(place/"art"/sd.CLASSES[label]/f"{i}.png", image)
    sd.save_atlas(IMAGES, place/"a.json")
    return place


@pytest.fixture
def f(base, tmp_path, monkeypatch):
    "A copy of it, small networks, and an alarm: nothing may hang"
    shutil.copytree(base, tmp_path/"f")
    monkeypatch.setattr(runs, "ContextUnet", small_net), monkeypatch.setattr(runs, "draw_progress", lambda *args: None)
    def late(*args): pytest.fail(f"not done after {SECONDS} s")
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield tmp_path/"f"
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# --- Helpers of the table. A maker gets the folder and returns what the action shall work on.

class Runs:
    "Unpickling this writes a file: the sign that a loader ran code."
    def __init__(self, f): self.sign = str(f/"code_ran")
    def __reduce__(self): return open, (self.sign, "w")


def picture(path, image=IMAGES[0]):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, "PNG")
    return path


def file(name, content=b""):
    "A file of this content"
    def make(f):
        (f/name).parent.mkdir(parents=True, exist_ok=True)
        (f/name).write_bytes(content)
        return f/name
    return make


def pipe(name):
    def make(f):
        (f/name).unlink(missing_ok=True)
        os.mkfifo(f/name)
        return f/name
    return make


def folder(name):
    "A folder where a file should be"
    def make(f):
        if (f/name).is_file(): (f/name).unlink()
        (f/name).mkdir(parents=True)
        return f/name
    return make


def link(name, to):
    def make(f):
        (f/name).unlink(missing_ok=True)
        (f/name).symlink_to(to)
        return f/name
    return make


def then(make, *more):
    "One maker after the other; the result is the folder `more[-1]` if that is a text, else the last maker's"
    def both(f):
        path = make(f)
        for each in more: path = f/each if isinstance(each, str) else each(f)
        return path
    return both


def at(name): return lambda f: f/name
def text(value): return lambda f: value


def chunk(name, data): return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
def png(height, width, rows, more=b"", bits=8, colour=2):
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


WHOLE = b"".join(b"\0" + row.tobytes() for row in IMAGES[0].reshape(16, -1))


def gif(*frames):
    "A GIF of a 1x1 screen with frames of these sizes, which are nearly without content"
    body = b"".join(b"," + struct.pack("<HHHHB", 0, 0, w, h, 0) + b"\2\2\x4c\1\0" for h, w in frames)
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(range(6)) + body + b";"


def arrays(**more):
    "An .npz with these arrays"
    def make(f):
        np.savez(f/"x.npz", **(dict(images=IMAGES, labels=LABELS) | more))
        return f/"x.npz"
    return make


def header(shape, descr="|u1"):
    "The begin of a .npy file"
    head = repr(dict(descr=descr, fortran_order=False, shape=shape)).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head


def members(**contents):
    "A zip of these, packed"
    def make(f):
        with zipfile.ZipFile(f/"x.npz", "w", zipfile.ZIP_DEFLATED) as z:
            for name, content in contents.items(): z.writestr(f"{name}.npy", content)
        return f/"x.npz"
    return make


def lying(size):
    "A zip whose table of contents tells this size of its first member, which has 64 MB"
    def make(f):
        members(images=header((10 ** 6, 8, 8, 1)) + bytes(2 ** 26), labels=b"x")(f)
        content = (f/"x.npz").read_bytes()
        for kind, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
            i = content.find(kind) + place
            content = content[:i] + struct.pack("<I", size) + content[i + 4:]
        return file("x.npz", content)(f)
    return make


def pair(sprites, labels):
    "The course's two .npy files, as bytes or arrays"
    def make(f):
        (f/"n").mkdir()
        for name, value in (("sprites.npy", sprites), ("labels.npy", labels)):
            if isinstance(value, bytes): (f/"n"/name).write_bytes(value)
            elif value is not None: np.save(f/"n"/name, value)
        return f/"n"
    return make


def net(**more):
    "The description in weights, with other sizes"
    return lambda config: config["network"].update(more)


def described(change, name="w"):
    "Weights whose own description is changed; a text replaces it"
    def make(f):
        content = (f/name/"weights.safetensors").read_bytes()
        n, = struct.unpack("<Q", content[:8])
        head = json.loads(content[8:8 + n])
        if isinstance(change, str): head["__metadata__"]["config"] = change
        else:
            config = json.loads(head["__metadata__"]["config"])
            change(config)
            head["__metadata__"]["config"] = json.dumps(config)
        head = json.dumps(head).encode()
        (f/name/"weights.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + content[8 + n:])
        return f/name/"weights.safetensors"
    return make


def changed(change):
    "Weights whose tensors are changed"
    def make(f):
        from safetensors.torch import safe_open, save_file
        path = f/"w"/"weights.safetensors"
        with safe_open(path, "pt") as old: state, facts = {name: old.get_tensor(name) for name in old.keys()}, old.metadata()
        save_file({name: change(name, value) for name, value in state.items()}, path, facts)
        return f/"w"
    return make


def checkpoint(change):
    "The run, with a changed checkpoint; what `change` returns takes its place"
    def make(f):
        path = f/"run"/"checkpoint.pt"
        saved = torch.load(path, weights_only=True)
        new = change(saved)
        torch.save(saved if new is None else new, path)
        return f/"run"
    return make


def other_checkpoint(f):
    "The checkpoint of a run with a smaller picture"
    sd.train_sprites(f/"other", own.save_npz(sd.load_sprites(f/"art", size=8, progress=False), f/"small.npz"), sprites=5, epochs=1, device="cpu", progress=False)
    saved, mine = (torch.load(f/name/"checkpoint.pt", weights_only=True) for name in ("other", "run"))
    torch.save(saved | dict(facts=mine["facts"]), f/"run"/"checkpoint.pt")
    return f/"run"


def expanded(f):
    "A small file whose tensors claim to be enormous"
    state = torch.load(f/"course.pth", weights_only=True)
    n = 2 ** 16
    for name in ("init_conv.conv1.0.weight",): state[name] = torch.zeros(1).expand(n, 3, 3, 3)
    torch.save(state, f/"course.pth")
    return f/"course.pth"


def all_expanded(f):
    "The same, all tensors alike"
    with torch.device("meta"): state = sd.ContextUnet(3, 2 ** 14, 5, 16).state_dict()
    torch.save({name: torch.zeros((), dtype=value.dtype).expand(value.shape) for name, value in state.items()}, f/"course.pth")
    return f/"course.pth"


def atlas(change):
    "An atlas with a fault"
    def make(f):
        data = json.loads((f/"a.json").read_text())
        change(data)
        (f/"a.json").write_text(json.dumps(data))
        return f/"a.json"
    return make


def noise_picture(f):
    "A picture of many colours"
    return picture(f/"p.png", np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8))


def command(*args):
    "The command line with these arguments; {} is the path, {f} the folder"
    return lambda path, f: main([arg if not isinstance(arg, str) else arg.format(path, f=f) for arg in args])


def simply(function, *args, **kwargs): return lambda path, f: function(path, *args, **kwargs)


load = simply(sd.load_sprites, progress=False)
pretrained, weights, course = simply(sd.load_pretrained), simply(sd.load_weights), simply(sd.load_course_checkpoint)
read_atlas, read_palette = simply(sd.load_atlas), simply(sd.load_palette)
data = command("data", "{}", "--out", "{f}/new/x.npz", "--sheet", "{f}/new/x.png")
FEW = "--sprites", "10", "--epochs", "1", "--batch-size", "5", "--device", "cpu"
train = command("train", "--data", "{}", "--out", "{f}/new", *FEW)
start = command("train", "--start", "{}", "--out", "{f}/new", *FEW)
resume = command("train", "--out", "{}", "--resume", "--device", "cpu")
generate = command("generate", "--weights", "{}", "--n", "1", "--steps", "1", "--out", "{f}/new")
export = command("export", "--weights", "{}", "--n", "1", "--steps", "1", "--out", "{f}/new")
onnx = command("export", "--weights", "{}", "--onnx", "{f}/new/x.onnx")
evaluate = command("evaluate", "--weights", "{}", "--n", "100", "--steps", "1", "--json", "{f}/new/x.json")
write_to = lambda *more: command("generate", "--weights", "{f}/w", "--n", "1", "--steps", "1", "--out", "{}", *more)
save_to = lambda path, f: sd.save_pretrained(sd.load_pretrained(f/"w"), path)
file_to = lambda path, f: import_module("spritediff.generation").save_weights(sd.load_pretrained(f/"w"), path)
atlas_to = lambda path, f: sd.save_atlas(IMAGES, path)
animation_to = lambda path, f: sd.save_animation(IMAGES, path)
DEEP = b"[" * 100_000
LONG = "x" * 5000
NULL, SURROGATE = "a\0b", "\udcff\udcfe"
REFUSED = {
    # Pictures
    "picture: cut after the header": (file("x.png", png(16, 16, WHOLE)[:40]), load, "not a PNG"),
    "picture: 30000x30000 in 100 bytes": (file("x.png", png(30000, 30000, b"\0")), load, "far too many pixels"),
    "picture: 5000x5000, below Pillow's own limit": (file("x.png", png(5000, 5000, b"\0")), data, "5000x5000 pixels; expected at most"),
    "picture: BMP of 2 billion pixels": (file("x.bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 46000, 46000, 1, 24, 0, 0, 0, 0, 0, 0)), load, "pixels"),
    "picture: a GIF whose second frame is enormous": (file("x.gif", gif((1, 1), (12000, 12000), (1, 1))), load, "pixels"),
    "picture: a GIF with frames that are enormous": (file("x.gif", gif((60000, 60000))), load, "pixels"),
    "picture: APNG of 2 billion frames": (file("x.png", png(16, 16, WHOLE, chunk(b"acTL", struct.pack(">II", 2 ** 31 - 1, 0)))), load, "frames"),
    "picture: APNG with fewer frames than it says": (file("x.png", png(16, 16, WHOLE, chunk(b"acTL", struct.pack(">II", 7, 0)))), load, "cannot be read"),
    "picture: text that unpacks to 100 MB": (file("x.png", png(16, 16, WHOLE, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10 ** 8))))), load, "cannot be read"),
    "picture: TIFF in disguise": (lambda f: [Image.fromarray(IMAGES[0]).convert("CMYK").save(f/"x.png", "TIFF"), f/"x.png"][1], data, "not a PNG"),
    "picture: PostScript in disguise": (file("x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n"), data, "not a PNG"),
    "picture: Python in disguise": (file("x.png", b"import os; os.abort()"), data, "not a PNG"),
    "picture: zero bytes": (file("x.png"), data, "empty file"),
    "picture: a pipe": (pipe("x.png"), data, "neither a file nor a folder"),
    "picture: a device": (text("/dev/zero"), data, "neither a file nor a folder"),
    "picture: empty text": (text(""), data, "path is ''"),
    "picture: bytes for a path": (lambda f: os.fsencode(f/"art"), load, "path is b'"),
    "picture: NUL in a path": (text(NULL), data, "cannot open"),
    "picture: a path of 5000 letters": (text(LONG), data, "cannot open"),
    "folder: nothing but a link to itself": (lambda f: [(f/"l").mkdir(), link("l/self", f/"l")(f), f/"l"][2], data, "no sprite found"),
    "folder: names that become the same": (lambda f: [picture(f/"t"/"a\nb"/"1.png"), picture(f/"t"/"a\\nb"/"2.png"), f/"t"][2], load, "a\\\\nb"),
    # Arrays
    "arrays: a zip bomb": (lying(3 * 10 ** 9), data, "bytes unpacked, at most"),
    "arrays: a zip that lies about its size": (lying(100), load, "cannot read"),
    "arrays: ten gigabytes declared": (members(images=header((10 ** 6, 64, 64, 3)), labels=header((1,))), train, "cannot read"),
    "arrays: 2^80 bytes declared": (members(images=header((2 ** 40, 2 ** 40)), labels=b""), data, "cannot read"),
    "arrays: names of 4 GB declared": (members(images=header((0,)), labels=header((0,)), classes=header((5,), "<U200000000")), load, "cannot read"),
    "arrays: one-hot of 100,000 classes": (arrays(labels=np.eye(10, 100_000, dtype=np.uint8)), train, "100000"),
    "arrays: 100,000 names": (arrays(classes=np.arange(100_000).astype(str)), load, "100000"),
    "arrays: a name of 100,000 letters twice": (arrays(classes=np.array(["x" * 100_000] * 5)), load, "different names"),
    "arrays: labels of truth values": (arrays(labels=LABELS > 2), train, "labels are bool"),
    "arrays: negative labels": (arrays(labels=-LABELS), train, "expected 0 to at most"),
    "arrays: infinite labels": (arrays(labels=np.full(10, np.inf)), data, "NaN or infinite"),
    "arrays: complex images": (arrays(images=IMAGES.astype(complex)), data, "complex128"),
    "arrays: pickled labels": (lambda f: arrays(labels=np.array([Runs(f)] * 10))(f), train, "cannot read"),
    "arrays: a header that is code": (pair(b"\x93NUMPY\1\0\x60\0" + b"{'descr': __import__('os').abort()}".ljust(95) + b"\n", LABELS), data, "cannot read"),
    "arrays: a header of 60,000 bytes": (pair(b"\x93NUMPY\1\0\xff\xff" + repr(dict(descr="|u1", fortran_order=False, shape=(1,) * 9000)).encode().ljust(65535), LABELS), data, "cannot read"),
    "arrays: .npy of 10^15 bytes declared": (pair(header((10 ** 12, 16, 16, 3)), LABELS), data, "cannot read"),
    "arrays: .npy with labels cut off": (pair(IMAGES, header((10,), "<i8") + b"123"), data, "cannot read"),
    "arrays: labels in a pipe": (then(pair(IMAGES, None), pipe("n/labels.npy"), "n"), load, "cannot read"),
    "arrays: a folder called labels.npy": (lambda f: [pair(IMAGES, None)(f), (f/"n.npy"/"labels.npy").mkdir(parents=True), np.save(f/"n.npy"/"s.npy", IMAGES), f/"n.npy"/"s.npy"][3], load, "cannot read"),
    # Classes
    "classes: a folder with '='": (lambda f: [picture(f/"art"/"a=b"/"1.png"), f/"art"][1], train, "without '=' and ','"),
    "classes: a folder with ','": (lambda f: [picture(f/"art"/"a,b"/"1.png"), f/"art"][1], train, "without '=' and ','"),
    "classes: one that the weights do not know": (lambda f: [picture(f/"art"/"tree"/"1.png"), f/"art"][1], command("train", "--data", "{}", "--start", "{f}/w", "--out", "{f}/new", *FEW), "expected tree among them"),
    "classes: 300, and one to mirror that is none of them": (lambda f: [[picture(f/"many"/f"class number {i}"/"1.png") for i in range(300)], f/"many"][1], command("train", "--data", "{}", "--mirror", "none", "--out", "{f}/new", *FEW), "mirror names 'none'"),
    "classes: named twice on the command line": (at("art"), command("data", "{}", "--classes", "hero,hero", "--out", "{f}/new/x.npz"), "different names"),
    # Checkpoints of the course
    "course: zero bytes": (file("c.pth"), course, "cannot read"), "course: a folder": (folder("c.pth"), course, "cannot read"), "course: a pipe": (pipe("c.pth"), course, "cannot read"),
    "course: pickled code": (lambda f: [torch.save({"up0.0.weight": Runs(f)}, f/"c.pth"), f/"c.pth"][1], course, "nothing that runs code"),
    "course: tensors that claim to be enormous": (expanded, course, "does not hold a ContextUnet"),
    "course: all tensors claim to be enormous": (all_expanded, course, "does not hold a ContextUnet"),
    "course: a list": (lambda f: [torch.save([1, 2], f/"c.pth"), f/"c.pth"][1], course, "does not hold a ContextUnet"),
    "course: a tensor": (lambda f: [torch.save(torch.zeros(3), f/"c.pth"), f/"c.pth"][1], course, "does not hold a ContextUnet"),
    "course: no path": (text(None), course, "cannot read"), "course: NUL in the path": (text(NULL), course, "cannot read"),
    # Weights
    "weights: an absurd header length": (file("w/weights.safetensors", struct.pack("<Q", 2 ** 62) + b"{}"), generate, "cannot load weights"),
    "weights: a header of 100 MB declared": (file("w/weights.safetensors", struct.pack("<Q", 10 ** 8 - 1) + b"{}"), export, "cannot load weights"),
    "weights: a tensor outside of the file": (file("x.safetensors", struct.pack("<Q", 64) + b'{"a":{"dtype":"F32","shape":[99],"data_offsets":[0,396]}}'.ljust(64)), evaluate, "cannot load weights"),
    "weights: a tensor of 2^70 bytes": (file("x.safetensors", struct.pack("<Q", 96) + b'{"a":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}}'.ljust(96) + bytes(4)), weights, "cannot load weights"),
    "weights: from a newer version": (described(lambda c: c.update(format=2)), start, "a newer version wrote them"),
    "weights: terabytes of features": (described(net(n_feat=2 ** 21)), generate, "cannot load weights"),
    "weights: 2^70 features": (described(net(n_feat=2 ** 70)), export, "cannot load weights"),
    "weights: 10^300 high": (described(net(height=4 * 10 ** 300)), pretrained, "cannot load weights"),
    "weights: a billion channels": (described(net(in_channels=10 ** 9)), weights, "cannot load weights"),
    "weights: -1 channels": (described(net(in_channels=-1)), weights, "cannot load weights"),
    "weights: half a feature": (described(net(n_feat=8.5)), weights, "cannot load weights"),
    "weights: a size that is text": (described(net(n_cfeat="5")), evaluate, "cannot load weights"),
    "weights: a size that is a list": (described(net(height=[16])), weights, "cannot load weights"),
    "weights: an unknown setting": (described(net(device="cuda")), weights, "cannot load weights"),
    "weights: no description": (described("null"), weights, "cannot load weights"), "weights: a nested description": (described(DEEP.decode()), generate, "cannot load weights"),
    "weights: a description of 10 MB": (described(lambda c: c.update(schedule="x" * 10 ** 7)), generate, "cannot load weights"),
    "weights: classes with a line end": (described(lambda c: c.update(classes=["a\nb", *"cdef"])), command("generate", "--weights", "{}", "--context", "z", "--out", "{f}/new"), "cannot load weights"),
    "weights: classes that are no text": (described(lambda c: c.update(classes=["\ud800", *"cdef"])), generate, "cannot load weights"),
    "weights: classes that leave the folder": (described(lambda c: c.update(classes=["../../x", *"cdef"])), export, "expected 1 to 100 letters"),
    "weights: a class that is a path": (described(lambda c: c.update(classes=["/etc/x", *"cdef"])), export, "expected 1 to 100 letters"),
    "weights: NaN": (changed(lambda name, value: value * np.nan if name == "out.3.bias" else value), generate, "NaN"),
    "weights: NaN, on to training": (changed(lambda name, value: value * np.nan if name == "out.3.bias" else value), start, "NaN"),
    "weights: a pipe": (pipe("x.safetensors"), weights, "cannot load weights"),
    "weights: a pipe in the folder": (then(pipe("w/weights.safetensors"), "w"), generate, "there are no weights"),
    "weights: a folder in place of the file": (then(folder("w/weights.safetensors"), "w"), generate, "there are no weights"),
    "weights: a link to itself": (then(link("w/weights.safetensors", "weights.safetensors"), "w"), generate, "there are no weights"),
    "weights: empty text, generate": (text(""), generate, "there are no weights"), "weights: empty text, export": (text(""), export, "there are no weights"),
    "weights: empty text, evaluate": (text(""), evaluate, "there are no weights"), "weights: empty text, onnx": (text(""), onnx, "there are no weights"),
    "weights: empty text, start": (text(""), start, "there are no weights"),
    "weights: a name of 5000 letters": (text(LONG), generate, "there are no weights"), "weights: a name of 5000 letters, start": (text(LONG), start, "there are no weights"),
    "weights: NUL": (text(NULL), export, "there are no weights"), "weights: no text": (text(5), weights, "cannot load weights"), "weights: a number for a name": (text(5), pretrained, "there are no weights"),
    "weights: a shipped name that leaves the folder": (text("../weights"), generate, "there are no weights"),
    "config.json: nested": (then(file("w/config.json", DEEP), "w"), generate, "cannot read config.json"),
    "config.json: not UTF-8": (then(file("w/config.json", b"\xff\xfe{}"), "w"), export, "cannot read config.json"),
    "config.json: 300 MB": (lambda f: [os.truncate(f/"w"/"config.json", 3 * 10 ** 8), f/"w"][1], generate, "cannot read config.json"),
    "config.json: a pipe": (then(pipe("w/config.json"), "w"), generate, "cannot read config.json"),
    "config.json: a folder": (then(folder("w/config.json"), "w"), generate, "cannot read config.json"),
    "config.json: of another network": (then(described(net(height=12, width=12), "run"), lambda f: shutil.copy(f/"run"/"weights.safetensors", f/"w"), "w"), generate, "cannot load weights"),
    "config.json: a number of 5000 digits": (then(file("w/config.json", b'{"network": ' + b"9" * 5000 + b"}"), "w"), generate, "cannot read config.json"),
    # Runs
    "run: the checkpoint is a folder": (then(folder("run/checkpoint.pt"), "run"), resume, "cannot read"), "run: the checkpoint is empty": (then(file("run/checkpoint.pt"), "run"), resume, "cannot read"),
    "run: the checkpoint is a pipe": (then(pipe("run/checkpoint.pt"), "run"), resume, "cannot read"),
    "run: the checkpoint is a list": (checkpoint(lambda s: [1]), resume, "run"), "run: the checkpoint is a tensor": (checkpoint(lambda s: torch.zeros(2)), resume, "run"),
    "run: the checkpoint has no facts": (checkpoint(lambda s: s.pop("facts") and None), resume, "run"), "run: the facts are a text": (checkpoint(lambda s: s.update(facts="x")), resume, "run"),
    "run: no settings": (checkpoint(lambda s: s["facts"].pop("settings") and None), resume, "run"), "run: settings that are a list": (checkpoint(lambda s: s["facts"].update(settings=[])), resume, "run"),
    "run: no seed in the settings": (checkpoint(lambda s: s["facts"]["settings"].pop("seed") and None), resume, "run"), "run: a bad setting": (checkpoint(lambda s: s["facts"]["settings"].update(epochs="many")), resume, "n_epoch is 'many'"),
    "run: settings of 10^12 sprites": (checkpoint(lambda s: s["facts"]["settings"].update(sprites=10 ** 12)), resume, "sprites is 1000000000000"),
    "run: no data in the facts": (checkpoint(lambda s: s["facts"].pop("data") and None), resume, "run"), "run: no seconds in the facts": (checkpoint(lambda s: s["facts"].pop("seconds") and None), resume, "seconds is None"),
    "run: pickled": (lambda f: [torch.save(dict(model=Runs(f)), f/"run"/"checkpoint.pt"), f/"run"][1], resume, "nothing that runs code"),
    "run: of another network": (other_checkpoint, resume, "expected a checkpoint of the same network"),
    "run: of other sprites": (checkpoint(lambda s: s["facts"].update(data="0" * 16)), resume, "began with other sprites"),
    "run: no step": (checkpoint(lambda s: s.pop("step") and None), resume, "run"), "run: a negative step": (checkpoint(lambda s: s.update(step=-7)), resume, "run"),
    "run: a step that is text": (checkpoint(lambda s: s.update(step="3")), resume, "run"), "run: an order of another length": (checkpoint(lambda s: s.update(step=3, order=torch.arange(3))), resume, "run"),
    "run: an order that is no tensor": (checkpoint(lambda s: s.update(step=3, order="abc")), resume, "run"), "run: an order out of range": (checkpoint(lambda s: s.update(step=3, order=torch.arange(10) + 9)), resume, "run"),
    "run: a generator that is text": (checkpoint(lambda s: s.update(generator="x")), resume, "run"), "run: a generator cut off": (checkpoint(lambda s: s.update(generator=s["generator"][:99])), resume, "run"),
    "run: NaN in the weights": (checkpoint(lambda s: s["model"].update({"out.3.bias": torch.full((3,), np.nan)})), resume, "NaN"),
    "run: the log is a folder": (then(folder("run/log.csv"), "run"), resume, "log.csv"), "run: the log is a pipe": (then(pipe("run/log.csv"), "run"), resume, "log.csv"),
    "run: run.json is a folder": (then(folder("run/run.json"), "run"), resume, "cannot write"),
    "run: a folder that is a file": (file("x"), command("train", "--out", "{}", "--resume", *FEW), "cannot write"), "run: the checkpoint alone, without --resume": (at("run"), command("train", "--out", "{}", *FEW), "holds a run already"),
    # Atlases and palettes
    "atlas: nested": (file("a.json", DEEP), read_atlas, "cannot read"), "atlas: not UTF-8": (file("a.json", b"\xff\xfe"), read_atlas, "cannot read"), "atlas: a pipe": (pipe("a.json"), read_atlas, "cannot read"),
    "atlas: 300 MB": (lambda f: [os.truncate(f/"a.json", 3 * 10 ** 8), f/"a.json"][1], read_atlas, "cannot read"),
    "atlas: no path": (text(None), read_atlas, "cannot read"), "atlas: NUL in the path": (text(NULL), read_atlas, "cannot read"), "atlas: empty text": (text(""), read_atlas, "cannot read"),
    "atlas: a sheet above its folder": (atlas(lambda d: d["meta"].update(image="../secret.png")), read_atlas, "beside the atlas"), "atlas: an absolute sheet": (atlas(lambda d: d["meta"].update(image="/etc/passwd")), read_atlas, "beside the atlas"),
    "atlas: the sheet is '..'": (atlas(lambda d: d["meta"].update(image="..")), read_atlas, "beside the atlas"), "atlas: the sheet has no name": (atlas(lambda d: d["meta"].update(image="")), read_atlas, "beside the atlas"),
    "atlas: NUL in the sheet's name": (atlas(lambda d: d["meta"].update(image=NULL)), read_atlas, "beside the atlas"), "atlas: the sheet is the atlas": (atlas(lambda d: d["meta"].update(image="a.json")), read_atlas, "a.json"),
    "atlas: a sheet of 5000x5000": (then(file("a.png", png(5000, 5000, b"\0")), "a.json"), read_atlas, "a.png"), "atlas: a cell of 10^300": (atlas(lambda d: d["frames"]["sprite_00"]["frame"].update(w=10 ** 300)), read_atlas, "sprite_00"),
    "atlas: names that are lists": (atlas(lambda d: d.update(frames=[{"filename": [1], "frame": {}}])), read_atlas, "cannot read"), "atlas: frames that are a number": (atlas(lambda d: d.update(frames=3)), read_atlas, "cannot read"),
    "palette: text called png": (file("p.png", b"no picture"), read_palette, "p.png"), "palette: a pipe": (pipe("p.hex"), read_palette, "cannot read"), "palette: 300 MB": (lambda f: [file("p.hex")(f), os.truncate(f/"p.hex", 3 * 10 ** 8), f/"p.hex"][2], read_palette, "cannot read"),
    "palette: a million colours": (noise_picture, read_palette, "colours"), "palette: on the command line": (file("p.gpl", b"GIMP Palette\n1 2 3e9\n"), command("export", "--palette", "{}", "--weights", "{f}/w", "--n", "1", "--out", "{f}/new"), "p.gpl"),
    "palette: NUL": (text("\0.hex"), read_palette, "expected a name"), "palette: a folder": (folder("p.hex"), read_palette, "is a folder"), "palette: a name of 5000 letters": (text(LONG + ".hex"), read_palette, "xxx"),
    # Where to write
    "out: empty text": (text(""), write_to(), "''"), "out: NUL": (text(NULL), write_to(), "cannot write"), "out: 5000 letters": (text(LONG), write_to(), "cannot write"), "out: a file": (file("x"), write_to(), "cannot write"),
    "out: a dangling link": (link("x", "nowhere/at/all"), write_to(), "cannot write"), "out: a link to itself": (link("x", "x"), write_to(), "cannot write"), "out: a device": (text("/dev/null"), write_to(), "cannot write"),
    "out: no folder of the system": (text("/proc/nothing"), write_to(), "cannot write"), "out: sheet.png is a folder": (then(folder("x/sheet.png"), "x"), write_to(), "sheet.png"),
    "out: a sprite is a folder": (then(folder("x/sprite_000.png"), "x"), write_to(), "sprite_000.png"), "out: the animation is a folder": (then(folder("x/denoising.gif"), "x"), write_to("--colours", "4"), "denoising.gif"),
    "out: the sheet is a link to nowhere": (then(folder("x"), link("x/sheet.png", "none/none.png"), "x"), write_to(), "sheet.png"),
    "out of export: empty text": (text(""), command("export", "--weights", "{f}/w", "--n", "1", "--steps", "1", "--out", "{}"), "''"), "out of export: 5000 letters": (text(LONG), command("export", "--weights", "{f}/w", "--n", "1", "--steps", "1", "--out", "{}"), "cannot write"),
    "out of export: sprites is a file": (then(file("x/sprites"), "x"), command("export", "--weights", "{f}/w", "--n", "1", "--steps", "1", "--out", "{}"), "cannot write"),
    "out of train: empty text": (text(""), command("train", "--out", "{}", *FEW), "''"), "out of train: NUL": (text(NULL), command("train", "--out", "{}", *FEW), "cannot write"), "out of train: 5000 letters": (text(LONG), command("train", "--out", "{}", *FEW), "cannot write"),
    "out of train: a dangling link": (link("x", "nowhere/at/all"), command("train", "--out", "{}", *FEW), "cannot write"),
    "out of data: NUL": (text("a\0.npz"), command("data", "{f}/art", "--out", "{}"), "a\\x00.npz"), "out of data: 5000 letters": (text(LONG + ".npz"), command("data", "{f}/art", "--out", "{}"), "xxx"), "out of data: empty text": (text(""), command("data", "{f}/art", "--out", "{}"), "out is"),
    "json of evaluate: a folder": (folder("x"), command("evaluate", "--weights", "{f}/w", "--n", "100", "--steps", "1", "--json", "{}"), "x"), "json of evaluate: NUL": (text(NULL), command("evaluate", "--weights", "{f}/w", "--n", "100", "--steps", "1", "--json", "{}"), "a\\x00b"),
    "json of evaluate: empty text": (text(""), command("evaluate", "--weights", "{f}/w", "--n", "100", "--steps", "1", "--json", "{}"), "''"), "data of evaluate: empty text": (text(""), command("evaluate", "--weights", "{f}/w", "--data", "{}"), "path is ''"),
    "data of train: empty text": (text(""), train, "path is ''"), "data of train: NUL": (text(NULL), train, "cannot open"), "data of train: 5000 letters": (text(LONG), train, "cannot open"),
    "save_pretrained: a file": (file("x"), save_to, "cannot write"), "save_pretrained: NUL": (text(NULL), save_to, "cannot write"), "save_pretrained: empty text": (text(""), save_to, "''"), "save_pretrained: weights is a folder": (then(folder("x/weights.safetensors"), "x"), save_to, "cannot write"),
    "save_pretrained: no network": (at("new"), lambda path, f: sd.save_pretrained(torch.nn.Linear(1, 1), path), "ContextUnet"), "save_weights: empty text": (text(""), file_to, "expected the name of a file"), "save_weights: NUL": (text(NULL), file_to, "a\\x00b"),
    "save_weights: a name of 300 letters": (at("x" * 300), file_to, "cannot write"), "save_weights: a dangling link's folder": (then(link("x", "none"), at("x/w.safetensors")), file_to, "cannot write"),
    "save_atlas: a name of 300 letters": (at("x" * 300 + ".json"), atlas_to, "xxx"), "save_atlas: a dangling link's folder": (then(link("x", "none"), at("x/a.json")), atlas_to, "cannot write"),
    "save_atlas: names that leave the folder": (at("new/a.json"), lambda path, f: sd.save_atlas(IMAGES[:1], path, names=["../x"]), "letters that a file's name"), "save_atlas: a class that leaves it": (at("new/a.json"), lambda path, f: sd.save_atlas(IMAGES[:1], path, labels=[0], classes=["/x"]), "letters that a file's name"),
    "save_atlas: gigabytes of margin": (at("new/a.json"), lambda path, f: sd.save_atlas(np.zeros((100, 64, 64, 4), np.uint8), path, spacing=4096, power_of_two=True), "pixels"),
    "save_atlas: a label out of range": (at("new/a.json"), lambda path, f: sd.save_atlas(IMAGES[:1], path, labels=[7]), "a label is"), "save_atlas: a name of 10^5 letters": (at("new/a.json"), lambda path, f: sd.save_atlas(IMAGES[:1], path, names=["x" * 10 ** 5]), "a name is"),
    "save_animation: gigabytes": (at("new/a.png"), lambda path, f: sd.save_animation(np.zeros((500, 64, 64, 4), np.uint8), path, scale=64), "pixels"), "save_animation: a name of 300 letters": (at("x" * 300 + ".gif"), animation_to, "xxx"), "save_animation: a path of bytes": (text(b"a.gif"), animation_to, "expected a name"),
    # The command line itself
    "command: an unknown option with line ends": (text(""), command("generate", "--x\ny\nz"), "unrecognized"), "command: an argument of 100,000 letters": (text(""), command("generate", "--n", "x" * 100_000), "n is"), "command: 10^12 sprites": (at("w"), command("generate", "--weights", "{}", "--n", "1000000000000", "--out", "{f}/new"), "n is"),
    "command: 10^12 sprites to export": (at("w"), command("export", "--weights", "{}", "--n", "1000000000000", "--out", "{f}/new"), "n is"), "command: 10^12 sprites to train on": (text(""), command("train", "--sprites", "1000000000000", "--out", "{f}/new"), "sprites is"),
    "command: a class of surrogates": (text(SURROGATE), command("generate", "--weights", "{f}/w", "--context", "{}", "--out", "{f}/new"), "there is no class")}


def tree(folder):
    "All below a folder, with sizes; a log that is taken up again may lose zeros at the end of its numbers"
    return sorted((str(p), p.name != "log.csv" and p.lstat().st_size, stat.S_IFMT(p.lstat().st_mode)) for p in folder.rglob("*"))


@pytest.mark.parametrize("case", REFUSED)
def test_refused(f, tmp_path, case, capsys, monkeypatch):
    "One line: the value, what was expected, the remedy; soon, without gigabytes, code that runs, or anything written"
    make, action, words = REFUSED[case]
    path = make(f)
    (tmp_path/"here").mkdir()
    monkeypatch.chdir(tmp_path/"here")
    before, memory, began = tree(tmp_path), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    try: said = action(path, f)
    except sd.InputError as e: said = f"spritediff: {e}\n"
    else:
        printed = capsys.readouterr()
        assert said == 2 and printed.out == ""
        said = printed.err
    assert said.startswith("spritediff: ") and said.count("\n") == 1 and said.endswith(".\n") and len(said) < 620, said
    assert words in said and ("expected" in said or "this machine has" in said), said
    assert not (f/"code_ran").exists() and tree(tmp_path) == before
    assert time.perf_counter() - began < SECONDS and (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024 < MEGABYTES


# --- What is odd and right: each function asserts the result

def run_of(f, folder, *more):
    "A short run on a folder of pictures, by the command; its network"
    assert main(["train", "--data", str(folder), "--out", str(f/"trained"), *FEW, *more]) == 0
    return sd.load_pretrained(f/"trained", "cpu")


def drawn(f, *more, weights="trained"):
    "Does the command draw a sprite with these weights?"
    return main(["generate", "--weights", str(f/weights), "--n", "1", "--steps", "1", "--device", "cpu", "--out", str(f/"drawn"), *more]) == 0


NAMES = ("my hero", "żółw 龍", "a\nb", SURROGATE, "all", "seed", "classes", "steps", "n", "-x", "Hero", "hero", "a_b", "a-b", "'quoted' \"twice\"", "[x](y)|`z`", "%s {} \\", "x" * 200)


def odd_class_names(f):
    "From folders to training, weights, and what is asked for"
    for i, name in enumerate(NAMES): picture(f/("data " + SURROGATE + "\n|")/name/"pîc ture\n.png", IMAGES[i % 10])
    model = run_of(f, f/("data " + SURROGATE + "\n|"))
    assert sorted(model.classes) == sorted(own.readable(name) for name in NAMES)
    for name in model.classes: assert drawn(f, f"--context={name}=1"), name
    assert drawn(f, "--context", "all") and not drawn(f, "--context", "a_B")
    (f/"trained"/"README.md").read_text("utf-8"), json.loads((f/"trained"/"run.json").read_text())


def class_called_all(f):
    "It can be asked for with its strength"
    for name in ("all", "one"): picture(f/"t"/name/"1.png", IMAGES[0])
    model = run_of(f, f/"t", "--mirror", "all")
    assert model.classes == ("all", "one") and sd.parse_context("all=1", model.classes).tolist() == [[1, 0]] and len(sd.parse_context("all", model.classes)) == 2


def many_classes(f):
    for i in range(300): picture(f/"many"/f"class {i:03d}"/"1.png", IMAGES[i % 10])
    assert len(run_of(f, f/"many").classes) == 300 and drawn(f, "--context", "class 299=.5,class 000")
    assert not drawn(f, "--context", "class 300")


def one_picture(f): assert run_of(f, picture(f/"a b.png")).classes == ("a b",) and drawn(f, "--context", "a b")
def one_class(f): assert run_of(f, f/"art", "--classes", "food").classes == ("food",) and drawn(f)


def mixed_and_broken(f):
    "Sizes, depths, colours, frames of all sorts, and files that are no pictures, in one folder"
    art, deep = f/"art"/"food", (IMAGES[0, ..., 0].astype(np.uint16) * 257)
    for i, image in enumerate((IMAGES[1][:12, :10], np.kron(IMAGES[2], np.ones((3, 3, 1), np.uint8)), np.full((200, 90, 3), np.arange(90)[:, None], np.uint8))): picture(art/f"m{i}.png", image)
    Image.fromarray(deep).save(art/"deep.png"), Image.fromarray(IMAGES[3]).convert("CMYK").save(art/"print.jpg", "JPEG")
    frames = [Image.fromarray(i).convert("P") for i in IMAGES[:4]]
    frames[0].save(art/"walk.gif", save_all=True, append_images=frames[1:])
    for make in (file("art/food/zero.png"), file("art/food/cut.png", png(16, 16, WHOLE)[:70]), file("art/food/bomb.png", png(9999, 9999, b"")), pipe("art/food/pipe.png"), link("art/food/gone.png", "none"),
                 link("art/food/loop", "."), link("art/food/self.png", "self.png"), file("art/food/x.png", b"%!PS"), file("art/food/grow.gif", gif((1, 1), (12000, 12000)))): make(f)
    report = sd.load_sprites(f/"art", progress=False).report
    assert report["sprites"] == len(IMAGES) + 9 and len(report["skipped"]) == 9 and report["fitted"]["enlargement undone"] == 1
    assert run_of(f, f/"art").h == 16 and any("JPEG" in text for text in report["warnings"])


def deep_folders(f):
    "Deeper than the operating system allows a path to be"
    here = os.getcwd()
    os.chdir(f/"art"/"food")
    for _ in range(25): os.mkdir("y" * 200), os.chdir("y" * 200)
    Image.fromarray(IMAGES[0]).save("deep.png")
    os.chdir(here)
    sprites = sd.load_sprites(f/"art", progress=False)
    assert len(sprites) == len(IMAGES) and any("too long" in why for why in sprites.report["skipped"].values())
    shutil.rmtree(f/"art")


def folder_without_search(f):
    "Its names may be listed, but no file opened"
    if os.geteuid() == 0: pytest.skip("the administrator may read all")
    (f/"art"/"food").chmod(0o400)
    try: sprites = sd.load_sprites(f/"art", progress=False)
    finally: (f/"art"/"food").chmod(0o700)
    assert 0 < len(sprites) < len(IMAGES) and any("Permission" in why for why in sprites.report["skipped"].values())


def half_weights(f):
    "Weights in 16 or 64 bits are taken in 32"
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        changed(lambda name, value: value.to(kind) if value.is_floating_point() else value)(f)
        assert sd.load_pretrained(f/"w").out[3].bias.dtype == torch.float32 and drawn(f, weights="w")


def linked_weights(f):
    link("l", f/"w")(f)
    assert drawn(f, weights="l") and run_of(f, f/"art", "--start", str(f/"l")).n_feat == 8


def file_in_other_words(f):
    "A hidden treasure in an .npz that nobody asks for is not opened"
    arrays(extra=np.array([Runs(f)], object), labels=np.eye(5, dtype=bool)[LABELS])(f)
    assert len(sd.load_sprites(f/"x.npz")) == 10


def damaged_log(f):
    "Lines that cannot be read are left out; the others stay, and the run goes on"
    path = f/"run"/"log.csv"
    lines = path.read_bytes().splitlines()
    assert len(lines) == 5
    for damage in (b"\xff\xfe\0" * 99, b"x" * 200_000 + b'"', b"nan,0,0,0,0"):
        path.write_bytes(b"\n".join([*lines[:3], damage, *lines[4:], b"9,9,.1,.1,9", b"4,1,.0"]))
        assert main(["train", "--out", str(f/"run"), "--resume", "--device", "cpu"]) == 0
        assert [row["step"] for row in runs.read_log(path)] == [1, 2, 4]
    path.unlink()
    assert main(["train", "--out", str(f/"run"), "--resume", "--device", "cpu"]) == 0 and runs.read_log(path) == []


def damaged_record(f):
    for content in (b"\xff", DEEP):
        (f/"run"/"run.json").write_bytes(content)
        assert main(["train", "--out", str(f/"run"), "--resume", "--device", "cpu"]) == 0 and json.loads((f/"run"/"run.json").read_text())["finished"]


def odd_places(f):
    "Folders and files with line ends, surrogates and Unicode in their names"
    for name in (SURROGATE, "a\nb", "ż 龍", "-o", "..."):
        place = f/name
        assert main(["generate", "--weights", str(f/"w"), "--n", "1", "--steps", "1", "--out", str(place)]) == 0 and len(list(place.iterdir())) == 3
        _, atlas_file = sd.save_atlas(IMAGES, place/f"{name}.json")
        assert (np.stack(list(sd.load_atlas(atlas_file).values()))[..., :3] == IMAGES).all()
        assert sd.save_animation(IMAGES, place/f"{name}.gif").stat().st_size
        assert main(["data", str(f/"art"), "--out", str(place/"x.npz")]) == 0 and len(sd.load_sprites(place/"x.npz")) == 10
        sd.save_pretrained(sd.load_pretrained(f/"w"), place/"w")
        if name == SURROGATE: # safetensors knows no such paths
            with pytest.raises(sd.InputError, match="cannot load weights"): sd.load_pretrained(place/"w")
            continue
        assert main(["export", "--weights", str(place/"w"), "--n", "1", "--steps", "1", "--out", str(place/"e")]) == 0


def links_are_replaced(f):
    "A link in a file's place becomes a file; what it leads to stays as it is"
    (f/"kept").write_text("kept")
    for i, (write, end) in enumerate(((atlas_to, "json"), (animation_to, "gif"), (file_to, "safetensors"), (lambda path, f: own.save_npz(sd.load_sprites(f/"art", progress=False), path), "npz"))):
        for to in ("kept", "none/at/all"):
            path = link(f"{i}.{end}", to)(f)
            write(path, f)
            assert not path.is_symlink() and path.stat().st_size > 99 and (f/"kept").read_text() == "kept" and not (f/"none").exists()


def long_message(f):
    "A long value loses its middle, a short message stays as it is, and line ends go"
    assert str(sd.InputError("a\nb")) == "a b" and len(str(sd.InputError("x" * 9999))) < 600 and str(sd.InputError("y" * 500)) == "y" * 500


FINE = (odd_class_names, class_called_all, many_classes, one_picture, one_class, mixed_and_broken, deep_folders, folder_without_search, half_weights, linked_weights,
        file_in_other_words, damaged_log, damaged_record, odd_places, links_are_replaced, long_message)


@pytest.mark.parametrize("check", FINE, ids=lambda check: check.__name__)
def test_fine(f, tmp_path, check, monkeypatch):
    "Odd things that are right"
    monkeypatch.chdir(tmp_path)
    check(f)
    assert not (f/"code_ran").exists()
