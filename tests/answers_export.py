"""Answers to the exercises of chapter 16: TABLE has (name, answer, what is said of it)."""
def least(change): return lambda p, q: (change(p[:, None], q) ** 2).sum(-1).argmin(1)
def exact(p, q): return p.astype(int) - q.astype(int)


TABLE = [
    ("atlas_size", (71, 78), "Right."), ("atlas_size", [71, 78], "Right."),
    ("atlas_size", (78, 71), "Width first"), ("atlas_size", (72, 79), "How many gaps"), ("atlas_size", (69, 76), "both sides"),
    ("atlas_size", (71, 53), "last two sprites"), ("atlas_size", (103, 54), "height x width"), ("atlas_size", (1, 1), "Add up"),
    ("atlas_size", 71, "Not yet"), ("atlas_size", "71x78", "Not yet"), ("atlas_size", (71,), "Not yet"), ("atlas_size", object(), "Not yet"),
    ("nearest_index", least(exact), "Right."),
    ("nearest_index", lambda p, q: least(exact)(p, q).tolist(), "Right."),
    ("nearest_index", least(lambda p, q: (p - q).astype(int)), "no negative numbers"),
    ("nearest_index", lambda p, q: (exact(p[:, None], q) ** 2).sum(-1).argmax(1), "farthest"),
    ("nearest_index", lambda p, q: q[least(exact)(p, q)], "not colours"), ("nearest_index", lambda p, q: exact(p[:, None], q).sum(-1).argmin(1), "Square the"),
    ("nearest_index", 3, "Not yet"), ("nearest_index", lambda p: p, "TypeError"), ("nearest_index", lambda p, q: None, "Not yet"),
    ("exported_guidance", lambda a, b, g: b + g * (a - b), "Right."),
    ("exported_guidance", lambda a, b, g: (1 - g) * b + g * a, "Right."), ("exported_guidance", lambda a, b, g: a + g * (a - b), "too far"),
    ("exported_guidance", lambda a, b, g: a + g * (b - a), "wrong way"), ("exported_guidance", lambda a, b, g: g * a + b, "Add g times"),
    ("exported_guidance", lambda a, b, g: a, "must give untold"), ("exported_guidance", 7, "Not yet"), ("exported_guidance", lambda a: a, "TypeError")]
