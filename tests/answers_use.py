"""Answers to the exercises of chapters 12 to 15: TABLE has (name, answer, what is said of it)."""
import os
from pathlib import Path

import numpy as np

import spritediff as sd


def beside(path, pieces):
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "w") as file: file.writelines(pieces)
        os.replace(part, path)
    finally: part.unlink(missing_ok=True)


def litter(path, pieces):
    with open(f"{path}.part", "w") as file: file.writelines(pieces)
    os.replace(f"{path}.part", path)


def swallow(path, pieces):
    try: beside(path, pieces)
    except OSError: pass


def direct(path, pieces):
    with open(path, "w") as file:
        for piece in pieces: file.write(piece)


def gone(path, pieces):
    path.unlink()
    beside(path, pieces)


def first_only(path, pieces): beside(path, [next(iter(pieces))])
def at_once(path, pieces): Path(path).write_text("".join(pieces))


def in_time(steps, seconds, clock):
    end, done = clock() + seconds, []
    for step in steps:
        done.append(step)
        if clock() >= end: break
    return done


def late(steps, seconds, clock):
    end, done = clock() + seconds, []
    for step in steps:
        if clock() > end: break
        done.append(step)
    return done


def one_more(steps, seconds, clock):
    end, done, over = clock() + seconds, [], False
    for step in steps:
        if over: break
        done.append(step)
        over = clock() >= end
    return done


def from_zero(steps, seconds, clock):
    done = []
    for step in steps:
        done.append(step)
        if clock() >= seconds: break
    return done


def frequent(block):
    colours, counts = np.unique(block.reshape(-1, 3), axis=0, return_counts=True)
    return colours[np.lexsort((colours @ (.299, .587, .114), -counts))[0]]


def lightest(block):
    colours, counts = np.unique(block.reshape(-1, 3), axis=0, return_counts=True)
    return colours[np.lexsort((-(colours @ (.299, .587, .114)), -counts))[0]].tolist()


def together(parts):
    n = sum(k for k, _, _ in parts)
    mean = sum(k * m for k, m, _ in parts) / n
    return mean, sum(k * (v + (m - mean) ** 2) for k, m, v in parts) / n


def within(parts): return together(parts)[0], sum(k * v for k, _, v in parts) / sum(k for k, _, _ in parts)
def plain(parts): return tuple(sum(p[i] for p in parts) / len(parts) for i in (1, 2))


def buffers(size):
    import torch
    with torch.device("meta"): return sum(size(b) for b in sd.ContextUnet(3, 64, 5, 16).buffers())


def in_turn(first, second):
    waiting = [iter(first), iter(second)]
    while waiting:
        for steps in list(waiting):
            step = next(steps, None)
            if step is None: waiting.remove(steps)
            else: yield step


def together_first(first, second):
    first, second = list(first), list(second)
    yield from in_turn(first, second)


def ends_early(first, second):
    for pair in zip(first, second): yield from pair


def one_after(first, second):
    yield from first
    yield from second


def endless(first, second):
    yield from in_turn(first, second)
    while True: yield 0


def program(call, tell, known=(sd.InputError,), bad=2, stopped=130, name="spritediff: "):
    try: call()
    except known as e:
        tell(f"{name}{e}")
        return bad
    except KeyboardInterrupt:
        tell("spritediff: stopped")
        return stopped
    return 0


TEAM = 'spritediff generate --n 12 --context "hero=1,spell=0.5" --sampler dpm --steps 15 --guidance 3 --seed 7 --colours 16 --out team'

TABLE = [
    ("side_by_side", in_turn, "Right."), ("side_by_side", ends_early, "nobody has asked"), ("side_by_side", together_first, "nobody has asked"),
    ("side_by_side", lambda a, b: in_turn(list(a), list(b)), "before the first"), ("side_by_side", one_after, "in turn"), ("side_by_side", zip, "Not yet"),
    ("side_by_side", lambda a, b: iter(()), "yields 0 of"), ("side_by_side", endless, "more steps than"), ("side_by_side", lambda a: a, "TypeError"),
    ("team_line", TEAM, "Right."), ("team_line", TEAM.replace('"hero=1,spell=0.5"', "hero=1, spell=0.5"), "The command says"), ("team_line", TEAM.replace('"', ""), "Right."),
    ("team_line", TEAM.replace("generate", "export"), "spritediff generate"), ("team_line", TEAM.replace("0.5", "0.6"), "--context"),
    ("team_line", TEAM.replace("--seed 7 ", ""), "--seed"), ("team_line", TEAM.replace("colours", "colors"), "The command says"), ("team_line", TEAM[:-5], "The command says"),
    ("team_line", TEAM.replace('5"', "5"), "Not yet"), ("team_line", 12, "Answer with a text"),
    ("exit_codes", (0, 2, 2, 130), "Right."), ("exit_codes", [0, 0, 2, 130], "(b)"), ("exit_codes", (2, 2, 2, 130), "(a)"), ("exit_codes", (0, 2, 2, 2), "(d)"),
    ("exit_codes", (0, 2, 2, 0), "(d)"), ("exit_codes", (0, 1, 1, 1), "three codes"),
    ("one_line", program, "Right."), ("one_line", lambda c, t: program(c, t, Exception), "ZeroDivisionError"), ("one_line", lambda c, t: program(c, t, ValueError), "ValueError"),
    ("one_line", lambda c, t: program(c, t, bad=1), "code 2"), ("one_line", lambda c, t: program(c, t, stopped=2), "130"), ("one_line", lambda c, t: program(c, t, name=""), "one line"),
    ("one_line", lambda c, t: c(), "code 0"),
    ("first_four", (True, False, True), "Right."), ("first_four", [True] * 3, "later steps"), ("first_four", [False] * 3, "eta=0"),
    ("first_four", (True, True, False), "after the first"), ("first_four", (True, False), "Not yet"),
    ("evaluations", (800, 1600, 480, 16000), "Right."), ("evaluations", (800, 800, 480, 16000), "guidance"), ("evaluations", (25, 50, 15, 500), "all 32"),
    ("evaluations", (1600, 800, 960, 16000), "Multiply"), ("evaluations", 1600, "Not yet"),
    ("write_whole", beside, "Right."), ("write_whole", direct, "half a file"), ("write_whole", at_once, "half a file"), ("write_whole", gone, "half a file"),
    ("write_whole", litter, "left behind"), ("write_whole", swallow, "reach the caller"), ("write_whole", first_only, "all pieces"),
    ("write_whole", lambda path: None, "TypeError"),
    ("beside_parameters", buffers(lambda b: b.numel() * b.element_size()), "Right."), ("beside_parameters", buffers(lambda b: b.numel()), "how many bytes"),
    ("beside_parameters", buffers(lambda b: 4 * b.numel()), "float32"), ("beside_parameters", 4 * 1480771, "named_buffers"), ("beside_parameters", 0, "Not yet"),
    ("run_for", in_time, "Right."), ("run_for", one_more, "no longer has time"), ("run_for", late, "expected 4"), ("run_for", from_zero, "begin at 0"),
    ("run_for", lambda steps, seconds, clock: list(steps)[:4], "all steps"), ("run_for", lambda steps, seconds, clock: in_time(steps, 4, clock), "expected 4"),
    ("run_for", lambda steps, seconds, clock: in_time(steps, seconds, clock)[::-1], "in their order"), ("run_for", lambda steps: [], "TypeError"),
    ("panel_history", (4, 3), "Right."), ("panel_history", [3, 2], "earlier results"), ("panel_history", (5, 4), "forgets"), ("panel_history", (6, 5), "came to their end"),
    ("panel_history", 4, "Not yet"),
    ("margins", [0, 8], "Right."), ("margins", {8, 0}, "Right."), ("margins", [8], "are more"), ("margins", [0, 4, 8], "4 does not"), ("margins", [], "are more"),
    ("margins", 8, "Not yet"),
    ("factors", (6, 2, 1), "Right."), ("factors", [6, 6, 6], "shifts all"), ("factors", (6, 1, 1), "divide 92"), ("factors", (6, 2, 6), "around the spot"),
    ("factors", (1, 1, 1), "Write down"), ("factors", (6, 2), "Not yet"),
    ("main_colour", frequent, "Right."), ("main_colour", lambda b: frequent(b).tolist(), "Right."), ("main_colour", lightest, "Two and two"),
    ("main_colour", lambda b: np.median(b, (0, 1)), "no colour of the block"), ("main_colour", lambda b: b[0, 0], "Not yet"),
    ("main_colour", lambda b: b.mean((0, 1)), "no colour of the block"), ("main_colour", lambda b: None, "TypeError"),
    ("needed", ["model", "optimizer", "generator", "step", "order"], "Right."), ("needed", "model,optimizer,generator, step, order", "Right."),
    ("needed", sd.check.PARTS, "without ema"), ("needed", {"model", "step", "order"}, "began anew"), ("needed", ["weights"], "no part weights"), ("needed", 6, "Not yet"),
    ("interval", (2 * 2 * 36000) ** .5, "Right."), ("interval", 380, "Right."), ("interval", 6.32, "seconds"), ("interval", 268.3, "in the mean"),
    ("interval", 300, "sum of two terms"), ("interval", "5 minutes", "Not yet"),
    ("shared_steps", (6400, 25), "Right."), ("shared_steps", (1600, 100), "batch of 400"), ("shared_steps", (1600, 25), "all four"), ("shared_steps", (200, 25), "one epoch"),
    ("shared_steps", (6400, 100), "effective batch"), ("shared_steps", 6400, "Not yet"),
    ("pooled", together, "Right."), ("pooled", within, "lie apart"), ("pooled", plain, "counts more"), ("pooled", lambda parts: (together(parts)[0], 1.), "variance is not"),
    ("pooled", lambda parts: (0., 1.), "mean is not right"), ("pooled", lambda parts: 3, "TypeError"),
]
