"""The network: its sizes, its names, its inputs, and checkpoints of the course."""
import pickle, re

import pytest, torch

import spritediff as sd


def names():
    "All state names of the course's network, from its table"
    conv, norm = ("weight", "bias"), ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    blocks = ["init_conv", "down1.model.0", "down1.model.1", "down2.model.0", "down2.model.1",
              "up1.model.1", "up1.model.2", "up2.model.1", "up2.model.2"]
    res = {f"{b}.conv{i}.{j}.{p}" for b in blocks for i in (1, 2) for j, ps in ((0, conv), (1, norm)) for p in ps}
    plain = [f"{e}embed{i}.model.{j}" for e in ("time", "context") for i in (1, 2) for j in (0, 2)]
    plain += ["up0.0", "up0.1", "up1.model.0", "up2.model.0", "out.0", "out.1", "out.3"]
    return res | {f"{p}.{q}" for p in plain for q in conv}


SHAPES = {"init_conv.conv1.0.weight": (64, 3, 3, 3), "init_conv.shortcut.weight": (64, 3, 1, 1), "down1.model.1.conv2.0.weight": (64, 64, 3, 3),
          "down2.model.0.conv1.0.weight": (128, 64, 3, 3), "down2.model.1.conv2.1.running_var": (128,), "timeembed1.model.0.weight": (128, 1),
          "timeembed2.model.2.weight": (64, 64), "contextembed1.model.0.weight": (128, 5), "contextembed2.model.0.weight": (64, 5),
          "up0.0.weight": (128, 128, 4, 4), "up0.1.weight": (128,), "up1.model.0.weight": (256, 64, 2, 2), "up2.model.0.weight": (128, 64, 2, 2),
          "up1.model.2.conv1.0.weight": (64, 64, 3, 3), "out.0.weight": (64, 128, 3, 3), "out.1.bias": (64,), "out.3.weight": (3, 64, 3, 3)}


@pytest.fixture(scope="module")
def full(): return sd.ContextUnet(3, n_feat=64, n_cfeat=5, height=16).eval()


def inputs(n=3, height=16, width=16):
    "Pictures, times and contexts"
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, height, width, generator=g), torch.rand(n, generator=g), torch.rand(n, 5, generator=g)


def test_size(full):
    "1,481,027 parameters, of them 256 in the shortcut"
    assert sum(p.numel() for p in full.parameters()) == 1_481_027
    assert sum(p.numel() for p in full.init_conv.shortcut.parameters()) == 256


def test_names(full):
    "The 156 state names of the course, and the shortcut's two"
    assert len(names()) == 156
    assert full.state_dict().keys() == names() | {"init_conv.shortcut.weight", "init_conv.shortcut.bias"}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(full, name):
    "The shapes behind the names"
    assert tuple(full.state_dict()[name].shape) == SHAPES[name]


def test_repeatable(full):
    "Two identical calls in eval mode agree to the bit"
    x, t, c = inputs()
    with torch.no_grad(): assert torch.equal(full(x, t, c), full(x, t, c))


def test_activations(tiny):
    "GELU is the exact one; the only shortcut is in init_conv"
    assert all(m.approximate == "none" for m in tiny.modules() if isinstance(m, torch.nn.GELU))
    assert [n for n, m in tiny.named_modules() if n.endswith("shortcut")] == ["init_conv.shortcut"]


def test_shortcut(tiny):
    "init_conv computes (shortcut(x) + CB(x)) / 1.414"
    x, block = inputs()[0], tiny.init_conv
    with torch.no_grad(): torch.testing.assert_close(block(x), (block.shortcut(x) + block.conv2(block.conv1(x))) / 1.414)


def test_forms_of_t(tiny):
    "t as (B,), (B, 1, 1, 1), one float and a tensor without axes agree"
    x, _, c = inputs()
    with torch.no_grad():
        want = tiny(x, torch.full((3,), .25), c)
        for t in (torch.full((3, 1, 1, 1), .25), .25, torch.tensor(.25), torch.tensor([.25])):
            assert torch.allclose(tiny(x, t, c), want, atol=1e-6)
        assert not torch.allclose(tiny(x, .75, c), want, atol=1e-4)


def test_rows_are_independent(tiny):
    "In eval mode each picture has its own time and context"
    x, t, c = inputs()
    with torch.no_grad():
        together = tiny(x, t, c)
        for i in range(3): torch.testing.assert_close(tiny(x[i:i + 1], t[i], c[i:i + 1]), together[i:i + 1], rtol=1e-4, atol=1e-5)


def test_no_context(tiny):
    "No context means zeros; another context gives another answer"
    x, t, c = inputs()
    with torch.no_grad():
        assert torch.equal(tiny(x, t), tiny(x, t, torch.zeros(3, 5)))
        assert (tiny(x, t) - tiny(x, t, 10 * c)).abs().max() > 1e-4


@pytest.mark.parametrize("height, width", ((8, 8), (12, 12), (20, 20), (32, 32), (16, 24), (32, 8)))
def test_other_sizes(height, width):
    "Heights other than 16, and pictures that are not square; the pooling covers the whole map"
    model = sd.ContextUnet(3, 8, 5, height, width).eval()
    x, t, c = inputs(2, height, width)
    x.requires_grad_()
    out = model(x, t, c)
    assert out.shape == x.shape
    vector = model.to_vec(model.down2(model.down1(model.init_conv(x))))
    assert vector.shape == (2, 16, 1, 1)
    with pytest.raises(sd.InputError, match="x has the shape"): model(x[:, :, :-4], t, c)


@pytest.mark.parametrize("bad", (dict(height=10), dict(height=4), dict(height=0), dict(height=16, width=10), dict(height=16, n_feat=12)))
def test_bad_sizes(bad):
    "Sizes that the network cannot have are refused"
    with pytest.raises(sd.InputError): sd.ContextUnet(3, **{"n_feat": 8, "n_cfeat": 5, **bad})


def test_bad_inputs(tiny):
    "Inputs that do not fit are refused with both shapes"
    x, t, c = inputs()
    for args in ((x[:, :2], t, c), (x, t[:2], c), (x, t, c[:, :4]), (x, t, c[:2])):
        with pytest.raises(sd.InputError, match="expected"): tiny(*args)


# --- Checkpoints of the course

def saved(model, path):
    "The course's checkpoint of `model`: its state without the shortcut"
    torch.save({k: v for k, v in model.state_dict().items() if "shortcut" not in k}, path)
    return path


@pytest.mark.parametrize("sizes", ((3, 8, 5, 16), (3, 16, 7, 28), (1, 8, 10, 8)))
def test_course_checkpoint(tmp_path, sizes):
    "A state without shortcut loads, sizes and all, with a shortcut of zeros"
    model = sd.ContextUnet(*sizes)
    found = sd.load_course_checkpoint(saved(model, tmp_path/"model.pth"))
    assert not found.training and (found.in_channels, found.n_feat, found.n_cfeat, found.h) == sizes
    for name, value in found.state_dict().items():
        assert torch.equal(value, torch.zeros_like(value) if "shortcut" in name else model.state_dict()[name]), name


@pytest.mark.parametrize("write", (torch.save, lambda o, path: path.write_bytes(pickle.dumps(o))))
def test_checkpoint_with_code(tmp_path, evil, write):
    "A pickle that would run code is refused and does not run"
    path, (thing, sign) = tmp_path/"model.pth", evil
    write({"init_conv.conv1.0.weight": thing}, path)
    with pytest.raises(sd.InputError, match="cannot read"): sd.load_course_checkpoint(path)
    assert not sign.exists()
    pickle.loads(pickle.dumps(thing)).close()
    assert sign.exists() # it would have


@pytest.mark.parametrize("damage", (lambda b: b[:len(b) // 2], lambda b: b[:10], lambda b: b"", lambda b: b"no checkpoint at all",
                                    lambda b: b[:-200], lambda b: bytes(len(b)), lambda b: b"PK\x03\x04" + bytes(100)))
def test_damaged_checkpoint(tmp_path, tiny, damage):
    "A file cut off, emptied or overwritten is refused"
    path = saved(tiny, tmp_path/"model.pth")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(sd.InputError, match="cannot read"): sd.load_course_checkpoint(path)


@pytest.mark.parametrize("zipped, name", ((True, rb"_rebuild_tensor_v2"), (True, rb"FloatStorage"), (True, rb"OrderedDict"), (False, rb"_rebuild_tensor_v2"),
                                          (False, rb"FloatStorage"), (False, rb"OrderedDict"), (False, rb"\d{9,}")))
def test_inconsistent_checkpoint(tmp_path, tiny, zipped, name):
    "A file of either format in which a name inside is damaged is refused"
    state = {k: v for k, v in tiny.state_dict().items() if "shortcut" not in k}
    torch.save(state, tmp_path/"model.pth", _use_new_zipfile_serialization=zipped)
    before = (tmp_path/"model.pth").read_bytes()
    after = re.sub(name, lambda m: m[0][:-1] + b"3", before, count=1) # of a storage's key: its last digit
    assert after != before
    (tmp_path/"model.pth").write_bytes(after)
    with pytest.raises(sd.InputError, match="cannot read"): sd.load_course_checkpoint(tmp_path/"model.pth")


def test_missing_checkpoint(tmp_path):
    "A missing file and a folder are refused"
    for path in (tmp_path/"none.pth", tmp_path):
        with pytest.raises(sd.InputError, match="cannot read"): sd.load_course_checkpoint(path)


def test_wrong_network(tmp_path, tiny):
    "Files of other things than the course's network are refused"
    state = {k: v for k, v in tiny.state_dict().items() if "shortcut" not in k}
    short, odd = dict(state), dict(state)
    del short["out.3.bias"]
    odd["down1.model.0.conv1.0.weight"] = torch.zeros(2, 2)
    for content in (torch.nn.Linear(2, 2).state_dict(), short, odd, {}, {**state, "more": torch.ones(1)},
                    dict(state, **{"init_conv.conv1.0.weight": "text"}), [1, 2], 5, torch.ones(3)):
        torch.save(content, tmp_path/"model.pth")
        with pytest.raises(sd.InputError, match="does not hold a ContextUnet"): sd.load_course_checkpoint(tmp_path/"model.pth")
