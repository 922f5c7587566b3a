"""Training: it learns, it repeats itself, and it refuses bad data first."""
import numpy as np
import pytest, torch

import spritediff as sd
from spritediff.training import to_device, train, training_state, train_steps

QUIET = dict(progress=False)


def small(seed=0, n_feat=8):
    "A small network with the weights of a seed"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return sd.ContextUnet(3, n_feat, 5, 16)


@pytest.fixture(scope="module")
def data(): return sd.make_sprites(20)


def same(a, b):
    "Whether two networks agree to the bit, buffers included"
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_overfits():
    "On one batch the loss falls far below where it began"
    run = train(small(n_feat=16), sd.make_sprites(10), n_epoch=150, batch_size=10, lr=5e-3, **QUIET)
    assert run.losses.shape == (150,) and run.losses[0] > .7
    assert run.losses[-20:].mean() < .35 * run.losses[0]
    assert torch.allclose(torch.tensor(run.epoch_losses), run.losses)
    assert not run.model.training and not run.ema.training


def test_same_seed_same_weights(data):
    "Model, average and losses repeat to the bit; another seed differs; a generator serves as seed"
    a, b, c = (train(small(), data, 2, 8, seed=s, **QUIET) for s in (3, torch.Generator().manual_seed(3), 4))
    assert same(a.model, b.model) and same(a.ema, b.ema) and torch.equal(a.losses, b.losses)
    assert not same(a.model, c.model) and not torch.equal(a.losses, c.losses)


def test_learning_rate(data, monkeypatch):
    "The learning rate falls linearly: lr (1 - epoch / n_epoch)"
    seen, step = [], torch.optim.Adam.step
    def spy(self, *args, **kwargs):
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)
    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    train(small(), data, 4, 20, lr=.01, **QUIET)
    assert seen == pytest.approx([.01, .0075, .005, .0025])


# --- The loss

def spied(n, drop):
    "The network's inputs in one call of diffusion_loss, and that loss"
    seen = {}
    def model(x, t, c):
        seen.update(x=x, t=t, c=c)
        return torch.zeros_like(x)
    loss = sd.diffusion_loss(model, torch.zeros(n, 3, 2, 2), torch.full((n, 5), .5), sd.linear_schedule(), torch.Generator().manual_seed(0), drop)
    return loss, seen


def test_context_is_dropped():
    "About one row in ten becomes zero, as a whole: within 5 standard errors"
    n = 20_000
    c = spied(n, .1)[1]["c"]
    kept = (c == .5).all(1)
    assert ((c == 0).all(1) | kept).all()
    assert abs(1 - kept.float().mean().item() - .1) < 5 * (.1 * .9 / n)**.5
    assert (spied(100, 0)[1]["c"] == .5).all() and (spied(100, 1)[1]["c"] == 0).all()


def test_times_and_noise():
    "t/T covers 1/T to 1 evenly, x_t is noised with the root, and the loss is the mean square of the noise left"
    n, (loss, seen) = 20_000, spied(20_000, .1)
    t = (seen["t"] * 500).round().long()
    counts = torch.bincount(t, minlength=501)
    assert counts[0] == 0 and len(counts) == 501 and (counts[1:] - n / 500).abs().max() < 6 * (n / 500)**.5
    eps = seen["x"] / (1 - sd.linear_schedule().alpha_bar[t]).sqrt()[:, None, None, None]
    assert abs(eps.std().item() - 1) < 5 / (2 * eps.numel())**.5
    assert loss.item() == pytest.approx(eps.square().mean().item(), rel=1e-4)


@pytest.mark.parametrize("decay", (.999, .5, 0.))
def test_ema(decay):
    "average = d average + (1 - d) now with d = min(decay, (1 + step) / (10 + step)); counts are copied"
    ema, model = small(1), small(2)
    model.init_conv.conv1[1].num_batches_tracked += 7
    want = {k: v.double() for k, v in ema.state_dict().items()}
    for step in (0, 1, 50, 20_000):
        d = min(decay, (1 + step) / (10 + step))
        sd.ema_update(ema, model, step, decay)
        want = {k: d * want[k] + (1 - d) * v.double() for k, v in model.state_dict().items()}
        for k, v in ema.state_dict().items():
            if v.is_floating_point(): torch.testing.assert_close(v.double(), want[k], rtol=1e-5, atol=1e-6)
            else: assert torch.equal(v, model.state_dict()[k])
    assert any(p.requires_grad for p in model.parameters())


# --- Data

@pytest.fixture
def files(data, tmp_path):
    "The sprites and one-hot labels as .npy files, as the course has them"
    np.save(tmp_path/"sprites.npy", data[0])
    np.save(tmp_path/"labels.npy", sd.one_hot(data[1]).double().numpy())
    return tmp_path/"sprites.npy", tmp_path/"labels.npy"


def test_forms_of_data(data, files):
    "Labels, rows of context and a CustomDataset give the same run; mixed rows another"
    rows = sd.one_hot(data[1])
    want = train(small(), data, 1, 8, **QUIET)
    for form in ((data[0], rows), (torch.as_tensor(data[0]), torch.as_tensor(data[1])), sd.CustomDataset(*files)):
        assert same(train(small(), form, 1, 8, **QUIET).model, want.model)
    assert not same(train(small(), (data[0], rows / 2), 1, 8, **QUIET).model, want.model)


def test_null_context(data, files):
    "null_context trains without context"
    want = train(small(), (data[0], torch.zeros(20, 5)), 1, 8, **QUIET)
    assert same(train(small(), sd.CustomDataset(*files, null_context=True), 1, 8, **QUIET).model, want.model)


def test_batches(data, monkeypatch):
    "An epoch holds every sprite once, in random order, with its own context"
    from importlib import import_module
    images, context = to_device(data, small(), "cpu")
    state, parts = training_state(small(), 1e-3, 0, "cpu"), []
    def step(state, x_0, context, *args, **kwargs):
        parts.append((x_0, context))
        state.step += 1
        return 0.
    monkeypatch.setattr(import_module("spritediff.training"), "train_step", step)
    for _ in train_steps(state, images, context, sd.linear_schedule(), 1, 8): pass
    assert [len(x) for x, _ in parts] == [8, 8, 4]
    x, c = (torch.cat(p) for p in zip(*parts))
    key = lambda images, rows: sorted((i.tobytes(), r.tobytes()) for i, r in zip(images, rows))
    assert not np.array_equal(sd.to_images(x), data[0])
    assert key(sd.to_images(x), c.numpy()) == key(data[0], sd.one_hot(data[1]).numpy())


@pytest.mark.parametrize("change", (
    lambda i, l: (i.astype("float32"), l), lambda i, l: (i.astype("int64"), l), lambda i, l: (i.tolist(), l),
    lambda i, l: (i.transpose(0, 3, 1, 2), l), lambda i, l: (i[..., :1], l), lambda i, l: (i[0], l), lambda i, l: (i[:0], l[:0]),
    lambda i, l: (i[:, :12], l), lambda i, l: (i[:, :12, :12], l),
    lambda i, l: (i, l[:-1]), lambda i, l: (i, l + 1), lambda i, l: (i, l - 1), lambda i, l: (i, np.eye(4)[l % 4]),
    lambda i, l: (i, np.eye(5)[l] * np.nan), lambda i, l: (i, l + .5)),
    ids="float int64 list channels-first grey single empty not-square small labels-short label-5 label--1 four-classes nan label-.5".split())
def test_bad_data(data, change):
    "Bad images and labels are refused before any work: no change to the network"
    model = small()
    with pytest.raises(sd.InputError, match="expected"): train(model, change(*data), 1, 8, **QUIET)
    assert same(model, small())


@pytest.mark.parametrize("bad", (dict(n_epoch=0), dict(batch_size=0), dict(batch_size=1.5), dict(seed=-1), dict(device="tpu"), dict(precision="half"),
                                 dict(lr=-1.), dict(lr="x"), dict(drop_context=2), dict(ema_decay=1.5)), ids=str)
def test_bad_values(data, bad):
    "Numbers out of range are refused before any work"
    model = small()
    with pytest.raises(sd.InputError, match="expected|available"):
        train(model, data, **{"n_epoch": 1, "batch_size": 20, **QUIET, **bad})
    assert same(model, small())


def test_draw_steps():
    "'even' draws as the papers do, unweighted; 'late' draws in proportion to t and weighs by min(1 / alpha_bar, 20)"
    from spritediff.training import draw_steps
    schedule = sd.linear_schedule()
    t, weight = draw_steps(50_000, schedule, sd.make_generator(0))
    assert t.min() == 1 and t.max() == 500 and abs(t.float().mean() - 250.5) < 3 and (weight == 1).all()
    t, weight = draw_steps(50_000, schedule, sd.make_generator(0), "late")
    assert t.min() >= 1 and t.max() == 500 and abs(t.float().mean() - 2 / 3 * 500) < 3
    assert torch.allclose(weight, (1 / schedule.alpha_bar[t]).clip(max=20)) and weight.min() >= 1


def test_late_emphasis_trains(data):
    "It gives other weights than 'even'; another word is refused"
    late, even = (train(small(), data, 2, 8, seed=3, emphasis=word, **QUIET) for word in ("late", "even"))
    assert not same(late.ema, even.ema)
    with pytest.raises(sd.InputError, match="emphasis is 'early'"): train(small(), data, 1, emphasis="early", **QUIET)
