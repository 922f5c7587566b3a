"""Training runs: stopped, killed, starved of disk, shared between processes, and taken up again."""
import json, os, random, shutil, signal, subprocess, sys, time
from pathlib import Path

import numpy as np
import pytest, torch
from PIL import Image

import spritediff as sd
from spritediff import runs
from spritediff.__main__ import main

PLAIN = dict(device="cpu", progress=False)
TINY = """
import sys
import spritediff.runs as runs
from spritediff.unet import ContextUnet
runs.ContextUnet = lambda channels, n_feat, *args, **kwargs: ContextUnet(channels, 8, *args, **kwargs)
from spritediff.__main__ import main
{before}
if __name__ == "__main__": sys.exit(main())
"""


@pytest.fixture
def small(monkeypatch):
    "A small network in place of the full one"
    monkeypatch.setattr(runs, "ContextUnet", lambda channels, n_feat, *args, **kwargs: sd.ContextUnet(channels, 8, *args, **kwargs))


@pytest.fixture(scope="module")
def art(tmp_path_factory):
    "A folder of pictures of another size, two classes of very different numbers"
    folder = tmp_path_factory.mktemp("art")
    images, labels = sd.make_sprites(40, 3)
    for i, image in enumerate(images):
        place = folder/("big class" if i < 34 else "small")
        place.mkdir(exist_ok=True)
        Image.fromarray(np.pad(image, ((4, 4), (0, 0), (0, 0)), constant_values=255)).save(place/f"{i}.png")
    return folder


def script(tmp_path, before=""):
    "The command line with a small network, for a process of its own"
    path = tmp_path/"tiny.py"
    path.write_text(TINY.format(before=before))
    return [sys.executable, str(path), "train", "--sprites", "40", "--batch-size", "10", "--device", "cpu"]


def weights(path): return sd.load_pretrained(path, "cpu").state_dict()
def same(a, b): return all(torch.equal(v, b[k]) for k, v in a.items()) and a.keys() == b.keys()
def losses(path): return [row["loss"] for row in runs.read_log(Path(path)/"log.csv")]


def test_files_of_a_run(tmp_path, small, art):
    "All that the chapter lists is there, and agrees; classes and size follow the data into the weights and out again"
    out = sd.train_sprites(tmp_path/"a"/"run", art, sprites=20, epochs=3, batch_size=8, sheets=2, **PLAIN)
    assert {p.name for p in out.iterdir()} == {"run.json", "log.csv", "checkpoint.pt", "weights.safetensors", "config.json", "README.md",
                                               "epoch_00.png", "epoch_02.png", "loss.png"}
    record, rows = json.loads((out/"run.json").read_text()), runs.read_log(out/"log.csv")
    assert record["finished"] and record["steps"] == 9 == len(rows) and [r["step"] for r in rows] == list(range(1, 10))
    assert [r["epoch"] for r in rows] == [0] * 3 + [1] * 3 + [2] * 3 and rows[-1]["lr"] == pytest.approx(1e-3 / 3, rel=1e-5)
    assert str(art) not in "".join((out/name).read_text() for name in ("run.json", "README.md", "config.json")), "a private path"
    model = sd.load_pretrained(out, "cpu")
    assert model.classes == ("big class", "small") and (model.h, model.w) == (24, 16)
    made = sd.generate(3, "small=1,big class=.5", steps=2, seed=0, out=tmp_path/"made", model=str(out), device="cpu")
    assert made["samples"].shape == (3, 3, 24, 16) and Image.open(made["sprites"][0]).size == (16, 24)
    assert main(["generate", "--n", "2", "--steps", "2", "--weights", str(out), "--context", "knight", "--out", str(tmp_path/"no")]) == 2
    mixer = sd.context_mixer(out, 1, steps=2, small=.5)
    assert list(mixer.controls)[:2] == ["big class", "small"] and mixer.controls["small"].value == .5


def test_resume_to_the_bit(tmp_path, small):
    "Stopped at any step, by a signal or an exception, the run ends as if it had not been"
    whole = sd.train_sprites(tmp_path/"whole", sprites=30, epochs=3, batch_size=8, emphasis="late", **PLAIN)
    for stop in (1, 4, 7, 11):
        path, step = tmp_path/f"stop{stop}", runs.RunFolder.note
        def note(self, loss, epoch):
            step(self, loss, epoch)
            if self.state.step == stop: os.kill(os.getpid(), signal.SIGINT)
        runs.RunFolder.note = note
        try:
            with pytest.raises(KeyboardInterrupt, match=f"stopped at step {stop} of 12; to go on: spritediff train --out .* --resume"):
                sd.train_sprites(path, sprites=30, epochs=3, batch_size=8, emphasis="late", **PLAIN)
        finally: runs.RunFolder.note = step
        assert len(losses(path)) == stop and not json.loads((path/"run.json").read_text())["finished"]
        sd.train_sprites(path, resume=True, **PLAIN)
        assert same(weights(path), weights(whole)) and losses(path) == losses(whole)
        assert json.loads((path/"run.json").read_text())["finished"]
    before = (whole/"weights.safetensors").read_bytes()
    sd.train_sprites(whole, resume=True, **PLAIN) # nothing is left to do
    assert (whole/"weights.safetensors").read_bytes() == before


def test_killed_at_random(tmp_path, small):
    "SIGKILL at 20 random moments of a run: each time the folder loads and goes on; the end is that of an undisturbed run"
    def train(out): sd.train_sprites(out, sprites=40, epochs=25, batch_size=10, minutes=0, sheets=10, resume=True, **PLAIN) # a checkpoint a step
    run, rng, steps = tmp_path/"run", random.Random(0), []
    for i in range(20):
        if (pid := os.fork()) == 0: # a process of its own that need not import everything anew
            try: train(run)
            finally: os._exit(0)
        for _ in range(i % 4): # let it save so many times; 0: any moment from the first on
            before, deadline = stamp(run), time.perf_counter() + 20
            while stamp(run) == before and time.perf_counter() < deadline: time.sleep(.001)
        time.sleep(rng.random() * .2)
        os.kill(pid, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), "it came to its end before it was killed"
        if (run/"checkpoint.pt").exists(): steps.append(torch.load(run/"checkpoint.pt", weights_only=True)["step"])
        if (run/"weights.safetensors").exists(): sd.load_weights(run/"weights.safetensors", "cpu")
    assert steps == sorted(steps) and len(set(steps)) > 5 and steps[-1] < 100, steps
    train(run), train(tmp_path/"whole")
    assert same(weights(run), weights(tmp_path/"whole")) and losses(run) == losses(tmp_path/"whole")
    assert not list(run.glob("*.part"))


def stamp(run):
    "When the checkpoint was last replaced"
    try: return (run/"checkpoint.pt").stat().st_mtime_ns
    except FileNotFoundError: return 0


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_signals(tmp_path, number):
    "Ctrl-C and SIGTERM: one line that says how to go on, exit code 130, a checkpoint of the last step"
    process = subprocess.Popen([*script(tmp_path), "--epochs", "500", "--out", "run"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path/"run"/"log.csv").exists() or len(losses(tmp_path/"run")) < 3: time.sleep(.02); assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    step = torch.load(tmp_path/"run"/"checkpoint.pt", weights_only=True)["step"]
    assert err.splitlines()[-1] == f"spritediff: stopped at step {step} of 2000; to go on: spritediff train --out run --resume" and step == len(losses(tmp_path/"run"))
    assert "s each on" in err if step >= 10 else True


# --- What goes wrong

def failing(tmp_path, before, *more):
    "Run the command with a fault planted; what it says on stderr after the progress bar"
    done = subprocess.run([*script(tmp_path, before), "--epochs", "3", "--minutes", "0", "--out", "run", *more], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip().splitlines()[-1]


FULL = """
import errno, io, pathlib
write, count = pathlib.Path.write_bytes, [0]
def full(self, data):
    if self.name.startswith("checkpoint"):
        count[0] += 1
        if count[0] == 5:
            write(self, bytes(data)[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")
    return write(self, data)
pathlib.Path.write_bytes = full
"""


def test_full_disk(tmp_path):
    "A disk that fills up in the midst of a checkpoint: a clear error, the last checkpoint whole, and it goes on from there"
    said = failing(tmp_path, FULL)
    assert "cannot write" in said and "No space left on device" in said and "The checkpoint of step 3 is whole: --resume goes on from it." in said
    assert not list((tmp_path/"run").glob("*.part"))
    sd.load_pretrained(tmp_path/"run", "cpu")
    done = subprocess.run([*script(tmp_path), "--out", "run", "--resume"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and len(losses(tmp_path/"run")) == 12


def test_a_really_full_disk(tmp_path):
    "The same with the operating system's own limit on the size of a file"
    said = failing(tmp_path, "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))")
    assert "cannot write" in said and "checkpoint.pt" in said and "File too large" in said


def test_lost_folder(tmp_path):
    "A folder that is taken away"
    said = failing(tmp_path, "import shutil\nstep = runs.RunFolder.note\ndef note(self, *args):\n    step(self, *args)\n"
                   "    if self.state.step == 5: shutil.rmtree(self.path)\nruns.RunFolder.note = note")
    assert "cannot write" in said and "There is no checkpoint to go on from." in said


def test_log_cannot_be_written(tmp_path, small, monkeypatch):
    "A log on a full disk"
    if not Path("/dev/full").exists(): pytest.skip("no /dev/full")
    monkeypatch.setattr(runs, "open_log", lambda path, step: open("/dev/full", "w", buffering=1))
    with pytest.raises(sd.InputError, match="cannot write the log .*No space left.*The checkpoint of step 0 is whole"):
        sd.train_sprites(tmp_path/"run", sprites=10, epochs=1, batch_size=5, **PLAIN)


@pytest.mark.parametrize("value", ("nan", "inf"))
def test_loss_turns_bad(tmp_path, small, monkeypatch, value):
    "A loss that is no number: the step is named, the checkpoint of before is kept"
    from importlib import import_module
    module = import_module("spritediff.training")
    real = module.train_step
    def step(state, *args, **kwargs):
        loss = real(state, *args, **kwargs)
        return float(value) if state.step == 6 else loss
    monkeypatch.setattr(module, "train_step", step)
    with pytest.raises(sd.InputError, match=f"the loss is {value} at step 6; .*smaller lr.*The checkpoint of step 5 is whole"):
        sd.train_sprites(tmp_path/"run", sprites=40, epochs=3, batch_size=8, minutes=0, **PLAIN)
    assert losses(tmp_path/"run")[-1] and len(losses(tmp_path/"run")) == 5


def test_broken_weights_are_not_saved(tmp_path, small):
    "A learning rate that blows up the weights never reaches the checkpoint"
    with pytest.raises(sd.InputError, match="(weights hold NaN or infinity|the loss is (nan|inf)).*The checkpoint of step 0 is whole"):
        runs.RunFolder.save, save = lambda self, finished=False: (breaks(self), save(self, finished)), runs.RunFolder.save
        try: sd.train_sprites(tmp_path/"run", sprites=10, epochs=1, batch_size=5, **PLAIN)
        finally: runs.RunFolder.save = save
    assert sd.load_pretrained(tmp_path/"run", "cpu")


def breaks(run):
    "NaN in the weights, once there have been steps"
    with torch.no_grad():
        if run.state.step: next(run.state.model.parameters()).fill_(float("nan"))


def test_resume_with_something_else(tmp_path, small, art):
    "Other settings, other sprites, no run, a damaged checkpoint: each is named"
    run = sd.train_sprites(tmp_path/"run", shutil.copytree(art, tmp_path/"art"), sprites=16, epochs=1, batch_size=8, **PLAIN)
    with pytest.raises(sd.InputError, match="holds a run already"): sd.train_sprites(run, **PLAIN)
    for name, value in (("epochs", 7), ("lr", .1), ("seed", 3), ("start", "sprites"), ("emphasis", "late")):
        with pytest.raises(sd.InputError, match=f"{name} is .*, with which the run"): sd.train_sprites(run, resume=True, **{name: value}, **PLAIN)
    shutil.rmtree(tmp_path/"art"/"small")
    shutil.copytree(art/"big class", tmp_path/"art"/"small")
    with pytest.raises(sd.InputError, match="began with other sprites"): sd.train_sprites(run, resume=True, **PLAIN)
    (run/"checkpoint.pt").write_bytes((run/"checkpoint.pt").read_bytes()[:999])
    with pytest.raises(sd.InputError, match="cannot read"): sd.train_sprites(run, resume=True, **PLAIN)


def test_pickled_checkpoint(tmp_path, small, evil):
    "A checkpoint that would run code is refused and not run"
    (tmp_path/"run").mkdir()
    torch.save({"model": evil[0]}, tmp_path/"run"/"checkpoint.pt")
    with pytest.raises(sd.InputError, match="nothing that runs code"): sd.train_sprites(tmp_path/"run", resume=True, **PLAIN)
    assert not evil[1].exists()


@pytest.mark.parametrize("bad", (dict(epochs=0), dict(batch_size=0), dict(lr=-1.), dict(seed=-1), dict(precision="half"), dict(emphasis="early"), dict(minutes=-1),
                                 dict(sheets=0), dict(sprites=0), dict(mirror="hero"), dict(size=16), dict(data="none"), dict(start="none"), dict(device="tpu")), ids=str)
def test_bad_settings(tmp_path, small, bad):
    "Each is refused before anything is written"
    with pytest.raises(sd.InputError): sd.train_sprites(tmp_path/"run", **{"sprites": 10, "epochs": 1, **PLAIN, **bad})
    assert not (tmp_path/"run").exists()


def test_balance_and_mirror(art):
    "Small classes come up as often; mirroring reaches the classes that are named, or all"
    images, labels, classes, source = runs.training_data(art, 400)
    assert classes == ("big class", "small") and np.bincount(labels).tolist() == [200, 200]
    for mirror, there in (("small", {1}), ("all", {0, 1})):
        flipped = runs.training_data(art, 400, mirror)[0]
        known = {i.tobytes() for i in images}
        assert {int(l) for i, l in zip(flipped, labels) if i.tobytes() not in known} == there


# --- Several processes

def torchrun(tmp_path, n, *args):
    "The command under PyTorch's launcher"
    first, *rest = script(tmp_path)
    done = subprocess.run([first, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}", *rest, *args], cwd=tmp_path, capture_output=True,
                          text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done


def test_two_processes(tmp_path):
    "One writer, the batch stated, weights as of one process up to rounding; a checkpoint moves from one process to two and back"
    done = torchrun(tmp_path, 2, "--epochs", "4", "--out", "pair")
    assert done.stdout.count("run in pair") == 1 and "16 steps of 10 sprites, 5 in each process" in done.stderr
    assert json.loads((tmp_path/"pair"/"run.json").read_text())["processes"] == 2 and len(losses(tmp_path/"pair")) == 16
    one = subprocess.run([*script(tmp_path), "--epochs", "4", "--out", "one"], cwd=tmp_path, capture_output=True, text=True)
    assert one.returncode == 0
    assert losses(tmp_path/"pair")[:3] == pytest.approx(losses(tmp_path/"one")[:3], abs=1e-5)
    assert losses(tmp_path/"pair") == pytest.approx(losses(tmp_path/"one"), abs=2e-3)
    stop = "step = runs.RunFolder.note\ndef note(self, *args):\n    step(self, *args)\n    import os, signal\n" \
           "    if self.state.step == 6 and runs.first_process(): os.kill(os.getpid(), signal.SIGINT)\nruns.RunFolder.note = note"
    half = subprocess.run([*script(tmp_path, stop), "--epochs", "4", "--out", "half"], cwd=tmp_path, capture_output=True, text=True)
    assert half.returncode == 130 and len(losses(tmp_path/"half")) == 6
    torchrun(tmp_path, 2, "--out", "half", "--resume")
    assert losses(tmp_path/"half") == pytest.approx(losses(tmp_path/"one"), abs=2e-3) and len(losses(tmp_path/"half")) == 16
    subprocess.run([*script(tmp_path), "--out", "pair", "--resume"], cwd=tmp_path, check=True, capture_output=True) # and back: nothing left to do


SLOW = """
import os, signal, time
from pathlib import Path
note, save = runs.RunFolder.note, runs.RunFolder.save
def signalling(self, *args):
    note(self, *args)
    if self.state.step == 3: {act}
def slowly(self, *args):
    if self.state.step: time.sleep(2)
    save(self, *args)
runs.RunFolder.note, runs.RunFolder.save = signalling, slowly
"""


@pytest.mark.parametrize("act, to_all", [
    ("self.writes or os.kill(os.getpid(), signal.SIGTERM)", False),
    ("self.writes and os.kill(os.getpid(), signal.SIGINT)", False),
    ("(Path(str(os.getpid()) + '.pid').touch(), time.sleep(1))", True)])
def test_signal_to_two(tmp_path, act, to_all):
    "One of the processes is asked to stop, or all and the launcher, which passes it on: all stop at the same step, and the first saves in peace"
    first, *rest = script(tmp_path, SLOW.format(act=act))
    run = subprocess.Popen([first, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *rest, "--epochs", "4", "--out", "run"], cwd=tmp_path,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True)
    if to_all:
        while len(pids := [int(p.stem) for p in tmp_path.glob("*.pid")]) < 2 and run.poll() is None: time.sleep(.05)
        for pid in (*pids, run.pid): os.kill(pid, signal.SIGTERM)
    said = run.communicate(timeout=120)[1]
    assert run.returncode and said.count("stopped at step 4 of 16") == 1, said
    assert torch.load(tmp_path/"run"/"checkpoint.pt", weights_only=True)["step"] == 4 == len(losses(tmp_path/"run"))


def test_float64_agrees_exactly(tmp_path):
    "Two processes and one agree to 1e-10 over 20 steps where rounding is that small: gradients, batch statistics and averages are shared rightly"
    code = tmp_path/"exact.py"
    code.write_text("""
import json, os, sys, torch
from spritediff.runs import Group
from spritediff import ContextUnet, linear_schedule, make_sprites
from spritediff.training import to_device, train_steps, training_state
torch.set_num_threads(1); torch.manual_seed(1)
state = training_state(ContextUnet(3, 8, 5, 16).double(), 1e-3, 0, "cpu")
group = Group(torch.device("cpu")) if "RANK" in os.environ else None
if group: group.prepare(state.model)
images, context = to_device(make_sprites(95), state.model, "cpu")
losses = list(train_steps(state, images, context.double(), linear_schedule(), 10, 50, group=group))
flat = torch.cat([v.flatten().double() for v in state.ema.state_dict().values()])
if not group or group.rank == 0: torch.save([torch.tensor(losses, dtype=torch.float64), flat], sys.argv[1])
""")
    subprocess.run([sys.executable, str(code), "one.pt"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(code), "two.pt"], cwd=tmp_path, check=True,
                   capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    one, two = (torch.load(tmp_path/name) for name in ("one.pt", "two.pt"))
    assert len(one[0]) == 20 and (one[0] - two[0]).abs().max() < 1e-10
    assert (one[1] - two[1]).abs().max() < 1e-7 # weights: rounding below Adam's 1e-8, some of it grows a little
