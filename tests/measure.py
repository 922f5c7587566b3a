"""Measurements that take longer than a chapter may: they are kept in results/evaluation.json, which the chapters read.

    python tests/measure.py PART [PART ...] [--file FILE]

Parts: shipped, seeds, steps, eta, guidance, strengths, depth, best, recipes, continued, mixtures, cc0. A part replaces its own entry in the file and leaves the others.
cc0 needs the data file: --data FILE.npz
"""
import argparse, copy, json, sys, time
from pathlib import Path

import torch

import spritediff as sd
from spritediff.ddim import ddim_steps, ddim_times
from spritediff.evaluation import best_guess, draw_samples, figures, frechet_distance, yardstick_of_file
from spritediff.generation import load_pretrained, load_weights
from spritediff.core import hardware
from spritediff.runs import first_network
from spritediff.schedule import linear_schedule, perturb_input
from spritediff.training import train

FAST = dict(precision="bfloat16", progress=False)
STEPS = (5, 8, 10, 15, 25, 50, 100)
PAIRS = ((0, 2), (0, 1), (2, 3), (3, 4)) # hero to food, hero to non-hero, food to spell, spell to side-facing
ROOT = Path(__file__).parents[1]


def shipped(args):
    "The shipped weights at their bar, in full precision; those without guidance in them; and those of the runs before, where they are"
    settings, rows = dict(yardstick=sd.make_yardstick(1000), progress=False), []
    for name, eta, guidance in (("sprites", 0., 1.), ("sprites", 1., 1.), ("sprites", 1., 2.), ("plain", 0., 1.), ("plain", 1., 1.), ("plain", 1., 2.)):
        rows.append(dict(weights=name, **sd.evaluate(load_pretrained(name), eta=eta, guidance=guidance, **settings)))
        yield rows
    for run in ("train_late", "train"):
        path = ROOT/"results"/run/"weights.safetensors"
        if path.exists(): rows.append(dict(weights=f"results/{run}", **sd.evaluate(load_weights(path), eta=0., guidance=1., **settings)))
        yield rows


def seeds(args):
    "How much of a distance is chance: the shipped weights from other noise than in `steps`"
    yardstick, rows, model = sd.make_yardstick(1000), [], load_pretrained("sprites")
    for sampler, n, numbers in (("ddim", 25, (1, 2, 3, 4)), ("ddpm", 500, (1, 2))):
        for seed in numbers:
            rows.append(dict(weights="sprites", **sd.evaluate(model, sampler=sampler, steps=n, eta=0., seed=seed, yardstick=yardstick, **FAST)))
            yield rows


def steps(args):
    "Few steps: both fast samplers over the number of steps, and all steps of DDPM"
    yardstick, rows = sd.make_yardstick(1000), []
    for name in ("plain", "sprites"):
        model = load_pretrained(name)
        for sampler, n in [(s, n) for n in STEPS for s in ("ddim", "dpm")] + [("ddpm", 500)]:
            rows.append(dict(weights=name, **sd.evaluate(model, sampler=sampler, steps=n, eta=0., guidance=1., yardstick=yardstick, **FAST)))
            yield rows


def eta(args):
    "DDIM with a share of DDPM's randomness"
    yardstick, rows = sd.make_yardstick(1000), []
    for name in ("plain", "sprites"):
        model = load_pretrained(name)
        for n, share in [(n, share) for n in (10, 25, 50) for share in (.5, 1.)]:
            rows.append(dict(weights=name, **sd.evaluate(model, steps=n, eta=share, guidance=1., yardstick=yardstick, **FAST)))
            yield rows


def guidance(args):
    "Accuracy against variety as guidance grows"
    yardstick, rows, model = sd.make_yardstick(1000), [], load_pretrained("plain")
    for g in (0, 1, 1.5, 2, 4, 8):
        rows.append(sd.evaluate(model, guidance=g, eta=0., yardstick=yardstick, **FAST))
        yield rows


def strengths(args):
    "How much guidance does each class want? For the teacher of results/guided; other noise and other real sprites than in the rest"
    path = ROOT/"results/train_long2/weights.safetensors"
    if not path.exists(): sys.exit(f"{path} is missing; the command in the run.json beside it makes it")
    model, labels, rows = load_weights(path), torch.arange(1000) % 5, []
    images, kinds = sd.make_sprites(5000, 202, "held-out")
    yardstick, kinds = sd.make_yardstick(1000), torch.as_tensor(kinds)
    real = yardstick.features(sd.to_x(images))
    for eta, n in ((0., 25), (1., 100)):
        for g in (1.5, 2., 2.5):
            made = yardstick.features(draw_samples(model, labels, "ddim", n, g, eta, 1, "bfloat16"))
            rows.append(dict(steps=n, eta=eta, guidance=g, distance=frechet_distance(made, real),
                             by_class={name: frechet_distance(made[labels == k], real[kinds == k]) for k, name in enumerate(sd.CLASSES)}))
            yield rows


def depth(args):
    "Real sprites noised up to t and denoised again: at which t does the damage begin?"
    yardstick, rows = sd.make_yardstick(1000), []
    images, labels = sd.make_sprites(1000, 303, "held-out")
    x_0, c, labels = sd.to_x(images), sd.one_hot(labels), torch.as_tensor(labels)
    for name, path in (("course", ROOT/"results/train/weights.safetensors"), ("plain", None)):
        if path and not path.exists(): continue
        model = load_weights(path) if path else load_pretrained("plain")
        for t in (100, 200, 300, 400, 500):
            x = denoise_from(model, x_0, c, t)
            rows.append(dict(weights=name, t=t, **yardstick.score(x, labels)))
            yield rows


def denoise_from(model, x_0, context, t, stride=20):
    "Noise to `t` and take DDIM steps of 20 down from there"
    x_t = perturb_input(x_0, t, torch.randn(x_0.shape, generator=sd.make_generator(t)))
    times, schedule = [*range(t, 0, -stride), 0], linear_schedule()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for now, t_prev in zip(times, times[1:]):
            eps_hat = torch.cat([model(x, now / 500, c) for x, c in zip(x_t.split(250), context.split(250))])
            x_t = sd.denoise_ddim(x_t, now, t_prev, eps_hat.float(), schedule)
    return x_t


def best(args):
    "The best guess stands in for the network at some t: where is the quality lost?"
    yardstick, rows, labels = sd.make_yardstick(1000), [], torch.arange(1000) % 5
    for above, up_to in ((0, 500), (0, 300), (0, 200), (0, 100), (100, 500), (200, 500), (300, 500), (0, 0)): # the network's share
        x = draw_samples(StandIn(load_pretrained("plain"), above, up_to), labels, precision="bfloat16")
        rows.append(dict(above=above, up_to=up_to, **yardstick.score(x, labels)))
        yield rows


class StandIn(torch.nn.Module):
    "A network whose answers are the best ones, but for above < t <= up_to"
    def __init__(self, network, above, up_to):
        super().__init__()
        self.network, self.above, self.up_to = network, above, up_to
        for name in ("in_channels", "n_cfeat", "h", "w", "classes"): setattr(self, name, getattr(network, name))

    def forward(self, x_t, t, c):
        step = round(500 * torch.as_tensor(t).flatten()[0].item())
        if self.above < step <= self.up_to: return self.network(x_t, t, c)
        x_0_hat, labels, alpha_bar = torch.empty_like(x_t), c.argmax(1), linear_schedule().alpha_bar[step]
        with torch.autocast("cpu", enabled=False):
            for k in labels.unique().tolist(): x_0_hat[labels == k] = best_guess(x_t[labels == k], step, figures(k))
        return (x_t - alpha_bar.sqrt() * x_0_hat) / (1 - alpha_bar).sqrt()


def recipes(args):
    "Two recipes, from the same first weights, over the same sprites, for as many steps"
    yield from compare(lambda: first_network(sd.make_sprites(1)[0], None, sd.CLASSES)[0], args.epochs, "recipe")


def continued(args):
    "The same two, going on from the weights of results/train instead; these are made by the command in its run.json"
    yield from compare(lambda: load_weights(ROOT/"results/train/weights.safetensors"), args.epochs, "continued")


def compare(start, epochs, name):
    "Train with either emphasis and measure; a sheet of each goes to results"
    yardstick, data, rows = sd.make_yardstick(1000), sd.make_sprites(30_000, 0, "train"), []
    for emphasis in ("even", "late"):
        run = train(start(), data, epochs, emphasis=emphasis, precision="bfloat16", progress=False)
        rows.append(dict(emphasis=emphasis, training_steps=len(run.losses), training_seconds=round(run.seconds),
                         **sd.evaluate(run.ema, eta=0., guidance=1., yardstick=yardstick, **FAST)))
        sd.save_png(sd.sheet(draw_samples(run.ema, torch.arange(5).repeat_interleave(8)), ncol=8), ROOT/f"results/{name}_{emphasis}.png")
        yield rows


def mixtures(args):
    "From one class to another in steps of 0.1: the judge's verdicts, for one-hot training and for training on mixtures"
    rows, onehot = [], load_pretrained("plain")
    for name, model in (("one-hot", onehot), ("mixtures", train_on_mixtures(copy.deepcopy(onehot)))):
        for a, b in PAIRS:
            share = torch.linspace(0, 1, 11).repeat_interleave(24)
            contexts = torch.zeros(len(share), 5)
            contexts[:, a], contexts[:, b] = 1 - share, share
            x = draw_samples(model, contexts, precision="bfloat16")
            with torch.no_grad(): named = sd.load_judge()(x).argmax(1).reshape(11, 24)
            rows.append(dict(training=name, a=sd.CLASSES[a], b=sd.CLASSES[b],
                             is_a=(named == a).float().mean(1).tolist(), is_b=(named == b).float().mean(1).tolist()))
            sd.save_png(sd.sheet(x.reshape(11, 24, 3, 16, 16)[:, :8].transpose(0, 1).flatten(0, 1), ncol=11),
                        ROOT/f"results/mix_{name}_{sd.CLASSES[a]}_{sd.CLASSES[b]}.png")
            yield rows


def cc0(args):
    "The second model, against the held-out part of its own data, as judged by a judge of that data"
    if not args.data: sys.exit("cc0 needs --data FILE.npz")
    yardstick = yardstick_of_file(args.data, "cc0", 120)
    rows, model = [], load_pretrained("cc0")
    for g in (1, 2):
        rows.append(dict(weights="cc0", **sd.evaluate(model, 120, guidance=g, yardstick=yardstick, progress=False)))
        yield rows


def train_on_mixtures(model, sprites=15_000, epochs=7):
    "Go on from one-hot training with contexts that mix two classes: the picture is of class a with probability s_a"
    images, labels = sd.make_sprites(sprites, 3, "train")
    g, own = sd.make_generator(3), sd.one_hot(labels)
    other = torch.randint(5, (len(own),), generator=g)
    share = torch.rand(len(own), 1, generator=g).sqrt() # density of a share s is proportional to s: the mixture's definition
    mixed = share * own + (1 - share) * torch.eye(5)[other]
    keep = torch.rand(len(own), 1, generator=g) < .5 # half of the contexts stay one-hot
    return train(model, (images, torch.where(keep, own, mixed)), epochs, lr=3e-4, emphasis="late", precision="bfloat16",
                 progress=False).ema


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[f.__name__ for f in PARTS])
    parser.add_argument("--file", type=Path, default=ROOT/"results/evaluation.json")
    parser.add_argument("--epochs", type=int, default=10, help="of each recipe, 300 steps each")
    parser.add_argument("--data", type=Path, help="the data file of cc0")
    args = parser.parse_args()
    for part in (f for f in PARTS if f.__name__ in args.parts):
        began, name = time.perf_counter(), part.__name__
        made = part(args)
        for rows in made if hasattr(made, "__next__") else [made]: # after every row, so that nothing is lost
            record = json.loads(args.file.read_text()) if args.file.exists() else {}
            epochs = f" --epochs {args.epochs}"
            options = dict(recipes=epochs, continued=epochs, cc0=" --data FILE.npz").get(name, "")
            record[name] = dict(command=f"python tests/measure.py {name}{options}", seed=dict(strengths=1, seeds=None).get(name, 0), hardware=hardware("cpu"), torch=torch.__version__,
                                date=time.strftime("%Y-%m-%d"), seconds=round(time.perf_counter() - began), rows=rows)
            args.file.write_text(json.dumps(record, indent=1) + "\n")
        print(f"{name}: {len(rows)} rows, {time.perf_counter() - began:.0f} s", flush=True)


PARTS = (shipped, seeds, steps, eta, guidance, strengths, depth, best, recipes, continued, mixtures, cc0)
if __name__ == "__main__": sys.exit(main())
