"""Guidance put into weights, as chapter 10 tells; `results/guided` and `results/guided_cc0` were made so.

    python tests/absorb.py --out FOLDER --start WEIGHTS [--guidance 2 | --guidance 2,2.5,2,1.5,2] [--steps 800] [--sprites 60000] [--data FILE --mirror CLASSES]

WEIGHTS is a name, folder or file for `load_pretrained`; FILE the sprites that they learned from, if not the package's own.
"""
import argparse, json, time
from datetime import date
from pathlib import Path

import torch

import spritediff as sd
from spritediff.core import hardware
from spritediff.evaluation import absorb_guidance
from spritediff.runs import model_card, training_data


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("out", None), ("start", None), ("guidance", "2"), ("steps", 800), ("sprites", 60_000), ("data", ""), ("mirror", ""),
                        ("lr", 5e-4), ("seed", 0), ("precision", "auto")):
        parser.add_argument(f"--{name}", default=value, required=value is None, type=type(value or ""))
    args = parser.parse_args()
    command = "python tests/absorb.py " + " ".join(f"--{name} {value}" for name, value in vars(args).items() if value != "")
    images, labels, _, source = training_data(args.data or None, args.sprites, args.mirror, args.seed)
    strengths = [float(g) for g in args.guidance.split(",")]
    strengths = strengths[0] if len(strengths) == 1 else strengths
    model, out, began = sd.load_pretrained(args.start), Path(args.out), time.perf_counter()
    state = absorb_guidance(model, images, labels, strengths, args.steps, lr=args.lr, seed=args.seed, precision=args.precision)
    facts = dict(command=command, source=source, sprites=args.sprites, guidance=strengths, steps=args.steps, batch_size=100, lr=args.lr,
                 seed=args.seed, precision=args.precision, seconds=round(time.perf_counter() - began),
                 hardware=hardware(next(model.parameters()).device), torch=torch.__version__, date=str(date.today()))
    sd.save_pretrained(state.ema, out, model_card(state.ema, facts))
    (out/"run.json").write_text(json.dumps(facts, indent=1) + "\n")
    samples, _ = sd.sample_ddim_context(40, torch.eye(5).repeat_interleave(8, 0), 25, model=state.ema, seed=0)
    sd.save_png(sd.sheet(samples, ncol=8), out/"sheet.png")


if __name__ == "__main__": main()
