"""The yardstick: known answers, refusals, the judge's own quality, and the shipped weights on their bar."""
import json

import pytest, torch

import spritediff as sd
from spritediff.__main__ import main
from spritediff.evaluation import Judge, check_sprites, draw_samples, frechet_interval, save_judge


@pytest.fixture(scope="module")
def yardstick(): return sd.make_yardstick(200, held_out=sd.make_sprites(800, 5, "held-out")[0], training=sd.make_sprites(500, 0, "train")[0])


@pytest.fixture(scope="module")
def real():
    images, labels = sd.make_sprites(200, 9, "held-out")
    return sd.to_x(images), torch.as_tensor(labels)


def test_judge_on_held_out():
    "At least 99% right, on sprites drawn with a seed that nothing else here uses, in each class"
    images, labels = sd.make_sprites(2000, 77, "held-out")
    with torch.no_grad(): right = sd.load_judge()(sd.to_x(images)).argmax(1) == torch.as_tensor(labels)
    assert right.float().mean() >= .99
    assert all(right[torch.as_tensor(labels) == k].float().mean() >= .98 for k in range(5))


def test_judge_training_repeats():
    "A small judge learns something and the same seed gives the same weights"
    data = sd.make_sprites(1000, 1, "train")
    a, b = (sd.train_judge(data, epochs=6, seed=3) for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values()))
    images, labels = sd.make_sprites(300, 2, "held-out")
    with torch.no_grad(): assert (a(sd.to_x(images)).argmax(1) == torch.as_tensor(labels)).float().mean() > .6


def test_frechet_of_gaussians():
    "Equal to the value worked out by hand, also with correlated features; symmetric"
    g, d = sd.make_generator(0), 4
    root = torch.randn(d, d, generator=g)
    a = torch.randn(100_000, d, generator=g) @ root.T
    b = 2 * torch.randn(100_000, d, generator=g) @ root.T + 1
    want = d + (root @ root.T).trace().item() # |1|^2 + tr(S + 4S - 2*2S)
    assert sd.frechet_distance(a, b) == pytest.approx(want, rel=.02)
    assert sd.frechet_distance(a, b) == pytest.approx(sd.frechet_distance(b, a), rel=1e-6)


def test_interval_holds_the_value():
    "The interval contains the value, and is wider for fewer sprites"
    g = sd.make_generator(1)
    b = torch.randn(5000, 8, generator=g)
    width = {}
    for n in (100, 1000):
        a = torch.randn(n, 8, generator=g) + .5
        low, high = frechet_interval(a, b)
        assert low < sd.frechet_distance(a, b) < high
        width[n] = high - low
    assert width[1000] < width[100]


def test_interval_draws_within_classes():
    "Classes far apart, in equal numbers: drawn as a whole, the mixture wavers, within classes it does not"
    g = sd.make_generator(4)
    labels, b = torch.arange(500) % 2, torch.randn(5000, 8, generator=g)
    b[::2, 0] += 20
    a = torch.randn(500, 8, generator=g)
    a[labels == 0, 0] += 20
    (low, high), (low_within, high_within) = frechet_interval(a, b), frechet_interval(a, b, labels)
    assert high_within - low_within < (high - low) / 2


def test_precision_and_recall_apart():
    "Half the modes: precise, low recall. Half the sprites far off: the reverse"
    g = sd.make_generator(2)
    real = torch.randn(400, 2, generator=g) + torch.tensor([[0., 0], [50, 0]]).repeat(200, 1)
    precision, recall = sd.precision_recall(real, real[::2] + .01)
    assert precision > .9 and recall < .6
    precision, recall = sd.precision_recall(real, torch.cat([real, real + 1000]))
    assert precision == .5 and recall == 1


def test_nearest(real):
    "A copy is found at distance 0, whatever its place"
    x, _ = real
    order = torch.randperm(len(x), generator=sd.make_generator(0))
    distance, index = sd.nearest_sprites(x, x[order])
    assert distance.max() < 1e-6 and torch.equal(x[order][index], x)


def test_score_is_repeatable_json(yardstick, real):
    "The same sprites, the same numbers; all of them plain"
    a, b = yardstick.score(*real), yardstick.score(*real)
    assert a == b == json.loads(json.dumps(a)) and a["low"] <= a["distance"] <= a["high"]


@pytest.mark.parametrize("change, says", [
    (lambda x, y: (x[:99], y[:99]), "is 99; expected"), (lambda x, y: (x[:, :1], y), r"expected \(n, 3, 16, 16\)"),
    (lambda x, y: (x[..., :8], y), "judge's size"), (lambda x, y: (x, y[:5]), "5 classes for 200 sprites"),
    (lambda x, y: (torch.where(x > .9, torch.nan, x), y), "NaN or infinity"), (lambda x, y: (x / 0, y), "NaN or infinity")])
def test_bad_sprites(yardstick, real, change, says):
    with pytest.raises(sd.InputError, match=says): yardstick.score(*change(*real))
    with pytest.raises(sd.InputError, match=says): check_sprites(*change(*real), yardstick)


@pytest.mark.parametrize("settings, says", [
    (dict(n=99), "is 99"), (dict(n=2.5), "is 2.5"), (dict(sampler="euler"), "euler"), (dict(steps=0), "steps is 0"),
    (dict(steps=501), "steps is 501"), (dict(sampler="ddpm", steps=50), "steps is 50"), (dict(guidance=21), "guidance is 21"),
    (dict(guidance=float("nan")), "guidance is nan"), (dict(precision="half"), "precision is 'half'"),
    (dict(model=sd.ContextUnet(3, 8, 5, 8)), "expected 3, 16x16 and hero"), (dict(model=sd.ContextUnet(3, 8, 7, 16)), "and 0, 1, 2, 3, 4, 5, 6;"),
    (dict(model=sd.ContextUnet(1, 8, 5, 16)), "1 channels")])
def test_bad_settings(settings, says):
    "Refused before anything is sampled"
    with pytest.raises(sd.InputError, match=says): sd.evaluate(progress=False, **settings)


def test_bad_yardsticks(tmp_path):
    with pytest.raises(sd.InputError, match="expected 400 or more"): sd.make_yardstick(200, held_out=sd.make_sprites(300)[0])
    with pytest.raises(sd.InputError, match="cannot load a judge"): sd.load_judge("nobody")
    torch.save({"head.bias": torch.zeros(5)}, tmp_path/"j.safetensors")
    with pytest.raises(sd.InputError, match="cannot load a judge"): sd.load_judge(tmp_path/"j.safetensors")
    save_judge(Judge(3), tmp_path/"j.safetensors")
    assert sd.load_judge(tmp_path/"j.safetensors")(torch.zeros(1, 3, 16, 16)).shape == (1, 3)


def test_draw_samples_repeats():
    "Same seed, same sprites; the batches of 250 do not show; contexts or classes may be given"
    model, labels = sd.load_pretrained(device="cpu"), torch.arange(4)
    for sampler in ("ddim", "dpm"):
        a, b, c = (draw_samples(model, y, sampler, 3) for y in (labels, labels, torch.eye(5)[:4]))
        assert torch.equal(a, b) and torch.equal(a, c) and a.shape == (4, 3, 16, 16)


def test_command(tmp_path, capsys):
    "The table on the screen and the record in a file say the same; bad input is one line and exit code 2"
    file = tmp_path/"new"/"score.json"
    assert main(["evaluate", "--n", "100", "--steps", "2", "--sampler", "dpm", "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    assert record["sampler"] == "dpm" and f"{record['accuracy']:.3f}" in capsys.readouterr().out
    for bad in (["--n", "3"], ["--weights", "nothing"], ["--weights", "no.safetensors"], ["--guidance", "x"], ["--sampler", "x"]):
        assert main(["evaluate", *bad]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert main(["judge", "--epochs", "0"]) == 2


def test_shipped_weights():
    "What is asked for comes out: at least 92% of 200 sprites in ten steps (the record of 1,000 is in results/evaluation.json)"
    labels = torch.arange(200) % 5
    x = draw_samples(sd.load_pretrained(), labels, "dpm", 10)
    with torch.no_grad(): named = sd.load_judge()(x).argmax(1)
    assert (named == labels).float().mean() >= .92
