"""The repair of chapter 10 as a long run, with its files in a folder; `results/repair` was made so.

    python tests/repair.py --out FOLDER --start WEIGHTS [--rounds 60] [--sprites 60000] [--seed 0] [--precision auto]

WEIGHTS is a folder or file for `load_pretrained`. Weights, card and sheets are written every ten rounds.
"""
import argparse, json, time
from datetime import date
from pathlib import Path

import torch

import spritediff as sd
from spritediff.core import hardware
from spritediff.evaluation import repair
from spritediff.runs import model_card


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("out", None), ("start", None), ("rounds", 60), ("sprites", 60_000), ("lr", 5e-4), ("seed", 0), ("precision", "auto")):
        parser.add_argument(f"--{name}", default=value, required=value is None, type=type(value or ""))
    args = parser.parse_args()
    model, out, began = sd.load_pretrained(args.start), Path(args.out), time.perf_counter()
    command = "python tests/repair.py " + " ".join(f"--{name} {value}" for name, value in vars(args).items())

    def after(r, state):
        print(f"round {r + 1} of {args.rounds}, {time.perf_counter() - began:.0f} s", flush=True)
        if (r + 1) % 10 and r + 1 < args.rounds: return
        facts = dict(command=command, source="drawn by the package", sprites=args.sprites, rounds=r + 1, steps=state.step,
                     finished=r + 1 == args.rounds, seed=args.seed, seconds=round(time.perf_counter() - began),
                     hardware=hardware(next(model.parameters()).device), torch=torch.__version__, date=str(date.today()))
        sd.save_pretrained(state.ema, out, model_card(state.ema, facts))
        (out/"run.json").write_text(json.dumps(facts, indent=1) + "\n")
        samples, _ = sd.sample_ddim_context(40, torch.eye(5).repeat_interleave(8, 0), 25, model=state.ema, seed=0)
        sd.save_png(sd.sheet(samples, ncol=8), out/f"round_{r + 1:03d}.png")

    repair(model, *sd.make_sprites(args.sprites, args.seed, "train"), args.rounds, args.lr, args.seed, precision=args.precision,
           after=after)


if __name__ == "__main__": main()
