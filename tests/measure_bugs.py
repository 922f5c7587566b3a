"""Mistakes in training, measured: they take longer than the chapter "Spot the bug" may, so it reads results/bugs.json.

    python tests/measure_bugs.py [--steps 300]

Each run goes on from the shipped weights for the same steps on the same batches, with one mistake or with none, and is then sampled from and
scored. Beside the record stands a sheet of 40 sprites of each run (eta 1), eight of each class in a row.
"""
import argparse, json, time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import spritediff as sd
from spritediff.evaluation import draw_samples
from spritediff.core import hardware
from spritediff.viz import save_png, sheet

ROOT = Path(__file__).parents[1]
SCHEDULE = sd.linear_schedule()
BATCH, LR, SEED, SCORED = 50, 5e-4, 0, 200


class FreshShortcut(nn.Module):
    "The course's shortcut: a new random convolution in every forward pass"
    def forward(self, x): return nn.Conv2d(3, 64, 1)(x)


def without_root(x_0, t, eps):
    "The course's noising"
    alpha_bar_t = SCHEDULE.alpha_bar[t][:, None, None, None]
    return alpha_bar_t.sqrt() * x_0 + (1 - alpha_bar_t) * eps


# name: (noising, scale of the pictures: low end, is the shortcut made anew)
MISTAKES = {"none": (sd.perturb_input, -1, False), "square root": (without_root, -1, False),
            "shortcut": (sd.perturb_input, -1, True), "scale": (sd.perturb_input, 0, False)}


def go_on(name, steps):
    "The shipped weights after `steps` more steps with a mistake, and the losses"
    noising, low, fresh = MISTAKES[name]
    model, g = sd.load_pretrained("plain", "cpu").train(), sd.make_generator(SEED)
    if fresh: model.init_conv.shortcut = FreshShortcut()
    torch.manual_seed(SEED)
    images, labels = sd.make_sprites(5000, 0, "train")
    x_0 = (sd.to_x(images) + 1) / 2 * (1 - low) + low
    c, optimizer, losses = sd.one_hot(labels), torch.optim.Adam(model.parameters(), LR), []
    for step in range(steps):
        for group in optimizer.param_groups: group["lr"] = LR * (1 - step / steps)
        i, t = torch.randint(len(x_0), (BATCH,), generator=g), torch.randint(1, 501, (BATCH,), generator=g)
        eps = torch.randn(BATCH, 3, 16, 16, generator=g)
        keep = torch.rand(BATCH, 1, generator=g) >= .1
        with torch.autocast("cpu", torch.bfloat16): eps_hat = model(noising(x_0[i], t, eps), t / 500, c[i] * keep)
        loss = F.mse_loss(eps_hat.float(), eps)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        losses.append(loss.item())
    return model.eval(), losses, low


def grain(x):
    "How far the four corners, which should be white, are from it: median of |x - 1|"
    return (x[:, :, [0, 0, -1, -1], [0, -1, 0, -1]] - 1).abs().median().item()


def run(name, steps, yardstick):
    "One row of the record, and a sheet"
    labels = torch.arange(SCORED) % 5
    model, losses, low = go_on(name, steps)
    row = dict(mistake=name, steps=steps, loss=sum(losses[-50:]) / len(losses[-50:]), scores={})
    for eta in (0., 1.):
        torch.manual_seed(SEED)
        x = draw_samples(model, labels, "ddim", 25, 1., eta, SEED, "bfloat16")
        x = (x - low) / (1 - low) * 2 - 1 # judged and drawn on the usual scale
        row["scores"][f"{eta:g}"] = yardstick.score(x, labels) | dict(grain=grain(x))
    save_png(sheet(torch.cat([x[k::5][:8] for k in range(5)]), ncol=8), ROOT/f"results/bug_{name.replace(' ', '_')}.png") # eta 1
    a, b = (sd.sample_ddim(4, n=5, model=model, seed=SEED)[0] for _ in range(2))
    return dict(row, twice_the_same=bool(torch.equal(a, b)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="how many steps each run goes on")
    args, rows, yardstick = parser.parse_args(), [], sd.make_yardstick(SCORED)
    torch.set_num_threads(1)
    for name in MISTAKES:
        rows.append(run(name, args.steps, yardstick))
        print(name, {k: v for k, v in rows[-1].items() if k != "scores"}, flush=True)
        for eta, score in rows[-1]["scores"].items(): print("  eta", eta, {k: score[k] for k in ("accuracy", "distance", "precision", "recall", "grain")}, flush=True)
        record = dict(command=f"python tests/measure_bugs.py --steps {args.steps}", seed=SEED, batch_size=BATCH, lr=LR,
                      sprites=SCORED, hardware=hardware("cpu"), torch=torch.__version__, date=time.strftime("%Y-%m-%d"), rows=rows)
        (ROOT/"results/bugs.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__": main()
