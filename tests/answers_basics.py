"""Answers to the exercises of chapters 00, 01, 02 and 11: TABLE has (name, answer, what is said of it)."""
import numpy as np
import torch

from spritediff.core import InputError, make_generator
from spritediff.sprites import INKS


def noise(seed, i): return torch.randn(3, 16, 16, generator=make_generator(1000 * seed + i))


def shared_noise(seed, i):
    torch.manual_seed(1000 * seed + i)
    return torch.randn(3, 16, 16)


def moving(stream=make_generator(0)): return lambda seed, i: torch.randn(3, 16, 16, generator=stream)


def multiple(name, value, of):
    if not isinstance(value, int) or value % of: raise InputError(f"{name} is {value!r}; expected a multiple of {of}. Pass one.")
    return value


def multiple_plain(name, value, of):
    if not isinstance(value, int) or value % of: raise ValueError(f"{name} is {value!r}; expected a multiple of {of}. Pass one.")
    return value


def multiple_short(name, value, of):
    if not isinstance(value, int) or value % of: raise InputError(f"{name} is {value!r}; expected a multiple of {of}.")
    return value


def multiple_vague(name, value, of):
    if not isinstance(value, int) or value % of: raise InputError(f"{name} is bad; expected a multiple of {of}. Pass one.")
    return value


def multiple_halves(name, value, of):
    if isinstance(value, str) or value % (of / 4 if value != 21 else of): raise InputError(f"{name} is {value!r}; expected a multiple of {of}. Pass one.")
    return value


def shapes(kind): return np.prod([len(a) for a in kind.slots.values()])
def names(kind): return np.prod([len(c) for c in kind.colours.values()])
def ways(kind): return int(len(INKS) * shapes(kind) * names(kind) * 9 ** len(kind.colours))


def leaks(images, train):
    seen = {image.tobytes() for image in images[train]}
    return sum(image.tobytes() in seen for image in images[~train])


def leaks_distinct(images, train): return len({i.tobytes() for i in images[train]} & {i.tobytes() for i in images[~train]})
def leaks_all(images, train): return int((~train).sum())


def leaks_anywhere(images, train):
    every = [i.tobytes() for i in images]
    return sum(every.count(i.tobytes()) > 1 for i in images[~train])


def size(n, ncol, scale):
    columns = min(n, ncol)
    return (17 * -(-n // columns) + 1) * (17 * columns + 1) * scale ** 2 * 3


def size_wide(n, ncol, scale): return (17 * -(-n // ncol) + 1) * (17 * ncol + 1) * scale ** 2 * 3
def size_bare(n, ncol, scale): return n * 768 * scale ** 2


MUSHROOM = """
kind mushroom
a: red brown violet
b: bone cream
= stem 8
......bbbb......
......bbbb......
.....bbbbbb.....
= cap 4
.....aaaaaa.....
...aaaaaaaaaa...
..aaaaaaaaaaaa..
..aaaaaaaaaaaa..
= spots none
= spots 5
.....ww...w.....
.........ww.....
"""
WIDE = MUSHROOM.replace("..aaaaaaaaaaaa..", "aaaaaaaaaaaaaaaa")

RIGHT = [
    ("same_draws", (True, False, False, True)), ("same_draws", torch.tensor([True, False, False, True])),
    ("which_device", ["cpu", "cuda", "error"]), ("which_device", (torch.device("cpu"), torch.device("cuda"), "Error")),
    ("own_noise", noise), ("clear_error", multiple),
    ("bar_tones", [0, 1, 1, 1, 2]), ("bar_tones", np.array([0, 1, 1, 1, 2])), ("choices", ways),
    ("held_out", (100, 9.4868)), ("held_out", [100, 9.5]), ("leaking", leaks), ("my_kind", MUSHROOM),
    ("white_from", 170), ("white_from", np.int64(170)), ("sheet_size", size),
    ("how_strong", (1, 10)), ("after_ten", (490, 300, 200, 10)),
    ("diagonal_leaks", 27), ("solid_pixels", (64, 27)), ("chain", [12, 12, 32]), ("chain", np.array([12, 12, 32], np.uint8)),
]
WRONG = [
    ("same_draws", (True, True, True, True), "(b)"), ("same_draws", (True, False, True, True), "(c)"),
    ("same_draws", (False, False, False, False), "run each"), ("same_draws", (True, False), "run each"),
    ("which_device", ["cuda", "cuda", "error"], "first"), ("which_device", ["cpu", "cpu", "error"], "second"),
    ("which_device", ["cpu", "cuda", "cuda:1"], "third"), ("which_device", ["cpu"], "three texts"), ("which_device", "cpu", "three texts"),
    ("own_noise", lambda s, i: noise(0, s + i), "share a seed"), ("own_noise", lambda s, i: noise(0, s * i), "share a seed"),
    ("own_noise", lambda s, i: noise(s, 0), "share a seed"), ("own_noise", shared_noise, "shared stream"),
    ("own_noise", lambda s, i: torch.randn(3, 16, 16), "shared stream"), ("own_noise", moving(), "second call"),
    ("own_noise", lambda s, i: noise(s, i)[:1], "shape"), ("own_noise", lambda s, i: noise(s, i) + 1, "mean 0"),
    ("own_noise", lambda s, i: noise(s, i).abs(), "mean 0"), ("own_noise", lambda s: noise(s, 0), "function of s and i"),
    ("clear_error", lambda name, value, of: value, "lets 21 pass"), ("clear_error", multiple_plain, "ValueError"),
    ("clear_error", multiple_short, "what to do"), ("clear_error", multiple_vague, "lacks 21"), ("clear_error", multiple_halves, "lets 2.5"),
    ("clear_error", lambda name, value, of: None, "return it"),
    ("bar_tones", [0] * 5, "below too"), ("bar_tones", [1] * 5, "two ends"), ("bar_tones", [2, 1, 1, 1, 0], "come from"), ("bar_tones", [0, 1, 2], "formula"),
    ("choices", lambda k: ways(k) / 3, "outline has a colour"), ("choices", lambda k: 3 * shapes(k) * names(k), "variations"),
    ("choices", lambda k: 27 * shapes(k) * names(k), "on its own"), ("choices", shapes, "the shapes"), ("choices", lambda k: shapes(k) * names(k), "vary"),
    ("choices", lambda k: 7, "choice by choice"), ("choices", lambda: 7, "one `Kind`"),
    ("held_out", (100, 90), "root"), ("held_out", (100, 10), "1 - p"), ("held_out", (900, 9.487), "training"), ("held_out", 100, "coin"),
    ("leaking", leaks_distinct, "counts twice"), ("leaking", leaks_anywhere, "only the training"), ("leaking", leaks_all, "number of held-out"),
    ("leaking", lambda images, train: 0, "For each"), ("leaking", lambda images, train: 7, "Without twins"), ("leaking", lambda images: 7, "function of"),
    ("my_kind", "", "`kind`"), ("my_kind", "kind dot", "0 slots"), ("my_kind", MUSHROOM.replace("= spots none\n", ""), "`none`"),
    ("my_kind", MUSHROOM.replace("red", "rot"), "'rot'"), ("my_kind", MUSHROOM.replace("ww.", "wz."), "'z'"), ("my_kind", WIDE, "outline"),
    ("my_kind", MUSHROOM.replace("b: bone cream", ""), "'b' has no"), ("my_kind", MUSHROOM.replace("..bb", ".bb"), "16 rows of 16"),
    ("my_kind", MUSHROOM.replace("b", "a").replace("kind mushroom", "kind x").replace("aone cream", "bone"), "two materials"),
    ("white_from", 85, "other end"), ("white_from", 84, "tripled"), ("white_from", 169, "tripled"), ("white_from", 1 / 3, "as a byte"),
    ("sheet_size", size_bare, "white space"), ("sheet_size", size_wide, "(5, 8, 4)"), ("sheet_size", lambda n, ncol: 0, "function of"),
    ("how_strong", (10, 10), "Stretching"), ("how_strong", (10, 1), "other way"), ("how_strong", (1, 100), "becomes of s"),
    ("after_ten", (200, 10, 490, 300), "First"), ("after_ten", (491, 320, 201, 11), "500, has cost"), ("after_ten", (490, 300), "k-th"),
    ("diagonal_leaks", 0, "corner"), ("solid_pixels", (64, 63), "further"), ("solid_pixels", (28, 27), "reached"), ("solid_pixels", (27, 64), "reached"),
    ("chain", [16, 16, 16], "third"), ("chain", [8, 8, 32], "weighted"), ("chain", [0, 20, 20], "first is merged"), ("chain", [0, 16, 32], "again"),
]
TABLE = [*((name, answer, "Right.") for name, answer in RIGHT), *WRONG]
