"""The weights that come with the package, and files of weights at large."""
import json, pickle, socket, statistics, time
from importlib.resources import files

import pytest, torch

import spritediff as sd

FOLDER = files("spritediff").joinpath("weights")


def test_offline_and_fast(monkeypatch):
    "load_pretrained needs no network and less than half a second"
    def blocked(*args, **kwargs): raise AssertionError("a socket was opened")
    sd.load_pretrained # imports
    monkeypatch.setattr(socket, "socket", blocked)
    monkeypatch.setattr(socket, "create_connection", blocked)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        model = sd.load_pretrained(device="cpu")
        seconds.append(time.perf_counter() - began)
    assert statistics.median(seconds) < .5
    assert (model.in_channels, model.n_feat, model.n_cfeat, model.h, model.w) == (3, 64, 5, 16, 16) and not model.training
    assert all(v.isfinite().all() for v in model.state_dict().values())


def test_size():
    "The file is smaller than 8 MB, and readable by all users"
    path = FOLDER.joinpath("sprites", "weights.safetensors")
    assert 5_900_000 < path.stat().st_size < 8_000_000
    assert path.stat().st_mode & 0o044 == 0o044


@pytest.mark.parametrize("fact", ("command", "seed", "steps", "hardware", "date"))
def test_model_card(fact):
    "The model card has a filled row for each fact of the run"
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in FOLDER.joinpath("sprites", "README.md").read_text(encoding="utf-8").splitlines()
            if line.startswith("|")]
    assert any(row[0] == fact and len(row) == 2 and row[1].strip("`") for row in rows), f"the model card has no {fact}"


def test_unknown_name():
    "An unknown name or path is refused with the names there are"
    for name in ("knight", "../weights/knight", ""):
        with pytest.raises(sd.InputError, match="expected cc0 or plain or sprites"): sd.load_pretrained(name)


# --- Files of weights

@pytest.mark.parametrize("sizes", (dict(height=16), dict(height=8, width=12), dict(height=16, n_cfeat=3)))
def test_round_trip(tmp_path, sizes):
    "Saved weights come back to the bit, with all sizes"
    model = sd.ContextUnet(**{"in_channels": 3, "n_feat": 8, "n_cfeat": 5, **sizes}).eval()
    found = sd.load_weights(sd.save_weights(model, tmp_path/"w.safetensors"), "cpu")
    assert (found.h, found.w, found.n_cfeat) == (model.h, model.w, model.n_cfeat) and not found.training
    assert found.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in found.state_dict().items())
    x = torch.randn(2, 3, model.h, model.w, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(): torch.testing.assert_close(found(x, .5), model(x, .5), rtol=1e-4, atol=1e-5)
    assert all(p.requires_grad for p in found.parameters()) # it can be trained on


@pytest.mark.parametrize("damage", (lambda b: b[:len(b) // 2], lambda b: b[:5], lambda b: b"", lambda b: b[:-8], lambda b: bytes(len(b)),
                                    lambda b: b"\xff" * 8 + b[8:], lambda b: b[:8] + b"x" + b[9:], lambda b: b.replace(b'"config"', b'"confix"', 1),
                                    lambda b: b.replace(b"out.3.bias", b"out.9.bias", 1), lambda b: b.replace(b'\\"height\\": 16', b'\\"height\\": 10'),
                                    lambda b: b.replace(b'\\"food\\"', b'\\"hero\\"'), lambda b: b.replace(b'\\"timesteps\\": 500', b'\\"timesteps\\": 400'),
                                    lambda b: b.replace(b'\\"format\\": 1', b'\\"format\\": 2'),
                                    lambda b: b.replace(b'\\"n_feat\\"', b'\\"m_feat\\"'), lambda b: b.replace(b'\\"height\\": 16', b'\\"height\\": 12')))
def test_damaged(tmp_path, tiny, damage):
    "A file that is cut off, overwritten or inconsistent is refused"
    path = sd.save_weights(tiny, tmp_path/"w.safetensors")
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    with pytest.raises(sd.InputError, match="cannot load weights"): sd.load_weights(path)


def test_folder_round_trip(tmp_path):
    "A folder of save_pretrained opens with sizes and class names; what config.json says can be read by a person"
    with torch.random.fork_rng(): model = sd.ContextUnet(3, 8, 2, 24, 16, classes=("tree", "old rock")).eval()
    folder = sd.save_pretrained(model, tmp_path/"a"/"mine", "# Mine\n")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "weights.safetensors"]
    config = json.loads((folder/"config.json").read_text())
    assert config["classes"] == ["tree", "old rock"] and config["network"]["height"] == 24 and config["schedule"]["timesteps"] == 500
    for path in (folder, str(folder), folder/"weights.safetensors"):
        found = sd.load_pretrained(path, "cpu")
        assert found.classes == ("tree", "old rock") and (found.h, found.w) == (24, 16)
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in found.state_dict().items())
    assert "tree, old rock" in (sd.save_pretrained(model, tmp_path/"b")/"README.md").read_text()


@pytest.mark.parametrize("fault, says", (
    (lambda f: (f/"config.json").unlink(), "cannot read config.json"), (lambda f: (f/"config.json").write_text("{"), "cannot read config.json"),
    (lambda f: (f/"config.json").write_text("[]"), "disagrees"), (lambda f: (f/"config.json").write_bytes(b"\xff\xfe"), "cannot read config.json"),
    (lambda f: swap(f, '"height": 16', '"height": 20'), "disagrees with the weights about the network"),
    (lambda f: swap(f, '"food"', '"fool"'), "disagrees with the weights about the classes"),
    (lambda f: swap(f, "0.02", "0.03"), "disagrees with the weights about the schedule"),
    (lambda f: (f/"weights.safetensors").unlink(), "there are no weights"), (lambda f: (f/"weights.safetensors").write_bytes(b"x"), "cannot load weights")))
def test_bad_folder(tmp_path, tiny, fault, says):
    "A folder whose parts are missing, damaged or contradict each other is refused"
    folder = sd.save_pretrained(tiny, tmp_path/"w")
    fault(folder)
    with pytest.raises(sd.InputError, match=says): sd.load_pretrained(folder)


def swap(folder, old, new):
    "Change config.json"
    text = (folder/"config.json").read_text()
    assert old in text
    (folder/"config.json").write_text(text.replace(old, new))


def test_newer_version(tmp_path, tiny, monkeypatch):
    "Weights of a newer format say so"
    from importlib import import_module
    monkeypatch.setattr(import_module("spritediff.generation"), "FORMAT", 2)
    path = sd.save_weights(tiny, tmp_path/"w.safetensors")
    monkeypatch.undo()
    with pytest.raises(sd.InputError, match="a newer version wrote them. Install the newest spritediff"): sd.load_weights(path)


def test_missing(tmp_path):
    "A missing file and a folder are refused"
    for path in (tmp_path/"none.safetensors", tmp_path):
        with pytest.raises(sd.InputError, match="cannot load weights"): sd.load_weights(path)


@pytest.mark.parametrize("write", (torch.save, lambda o, path: path.write_bytes(pickle.dumps(o))))
def test_pickle_in_disguise(tmp_path, evil, write):
    "A pickle with the suffix of safetensors is refused and not run"
    path, (thing, sign) = tmp_path/"w.safetensors", evil
    write({"out.3.bias": thing}, path)
    with pytest.raises(sd.InputError, match="cannot load weights"): sd.load_weights(path)
    assert not sign.exists()


def test_bad_place(tmp_path, tiny):
    "Saving where a file is in the way of the folder is refused"
    (tmp_path/"none").touch()
    with pytest.raises(sd.InputError): sd.save_weights(tiny, tmp_path/"none"/"w.safetensors")


@pytest.mark.quality
def test_loss():
    "On held-out sprites, the shipped weights' loss is below 0.08"
    x_0, labels = sd.make_sprites(500, 1, "held-out")
    model, generator = sd.load_pretrained(device="cpu"), torch.Generator().manual_seed(0)
    with torch.no_grad():
        loss = sd.diffusion_loss(model, sd.to_x(x_0), sd.one_hot(labels), sd.linear_schedule(), generator, drop_context=0)
    assert loss < .08
