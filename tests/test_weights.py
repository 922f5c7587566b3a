"""The weights that come with the package, and files of weights at large."""
import pickle, socket, statistics, time
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
    path = FOLDER.joinpath("sprites.safetensors")
    assert 5_900_000 < path.stat().st_size < 8_000_000
    assert path.stat().st_mode & 0o044 == 0o044


@pytest.mark.parametrize("fact", ("command", "seed", "steps", "hardware", "date"))
def test_model_card(fact):
    "The model card has a filled row for each fact of the run"
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in FOLDER.joinpath("sprites.md").read_text(encoding="utf-8").splitlines()
            if line.startswith("|")]
    assert any(row[0] == fact and len(row) == 2 and row[1].strip("`") for row in rows), f"the model card has no {fact}"


def test_unknown_name():
    "An unknown name is refused with the names there are; no path gets out of the folder"
    for name in ("knight", "../weights/sprites", ""):
        with pytest.raises(sd.InputError, match="expected one of cc0, sprites"): sd.load_pretrained(name)


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
                                    lambda b: b"\xff" * 8 + b[8:], lambda b: b[:8] + b"x" + b[9:], lambda b: b.replace(b"sizes", b"forms", 1),
                                    lambda b: b.replace(b"out.3.bias", b"out.9.bias", 1), lambda b: b.replace(b'\\"height\\": 16', b'\\"height\\": 10'),
                                    lambda b: b.replace(b'\\"n_feat\\"', b'\\"m_feat\\"'), lambda b: b.replace(b'\\"height\\": 16', b'\\"height\\": 12')))
def test_damaged(tmp_path, tiny, damage):
    "A file that is cut off, overwritten or inconsistent is refused"
    path = sd.save_weights(tiny, tmp_path/"w.safetensors")
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    with pytest.raises(sd.InputError, match="cannot load weights"): sd.load_weights(path)


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
