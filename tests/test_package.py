"""The package as a whole: what an import costs and brings, and how its source documents itself."""
import ast, importlib, io, subprocess, sys, tokenize
from configparser import ConfigParser
from pathlib import Path

import pytest

import spritediff as sd

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(p.stem for p in (ROOT/"spritediff").glob("[!_]*.py")) + ["__main__"]
HEAVY = "matplotlib", "ipywidgets", "nbdev", "torchvision", "IPython"
CONSTANTS = "CLASSES", "SIZE"


def python(code):
    "Standard output of `code` in a new process"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light():
    "Besides torch, an import with training and sampling brings numpy's random numbers, the package and a few small modules: counted, since times depend on the machine"
    code = "import sys, torch; before = set(sys.modules); import spritediff as sd; sd.train; sd.sample_ddim; print(*(set(sys.modules) - before))"
    brought = python(code).split()
    assert "spritediff.training" in brought and len(brought) <= 60, brought


def test_import_brings_little():
    "Training and sampling need no plotting, no widgets, no nbdev until something is drawn"
    code = "import sys, spritediff as sd; sd.train; sd.sample_ddim; sd.generate; print([m for m in %r if m in sys.modules])"
    assert python(code % (HEAVY,)) == "[]\n"


TRAINING = """
import sys
for name in ("nbdev", "ipywidgets", "matplotlib", "matplotlib.pyplot", "IPython", "notebook"): sys.modules[name] = None
import torch, spritediff as sd
torch.set_num_threads(1)
for progress in (False, True):
    run = sd.train(sd.ContextUnet(3, 8, 5, 16), sd.make_sprites(8), 1, 4, device="cpu", progress=progress)
    print(len(run.losses), bool(run.losses.isfinite().all()))
"""


def test_training_without_notebook():
    "Training runs, with and without progress bar, where nbdev, ipywidgets and matplotlib are missing"
    assert python(TRAINING) == "2 True\n2 True\n"


FIRST = {"train": "from spritediff.training import train", "generate": "from spritediff.generation import generate", "context": "from spritediff.conditioning import context"}


@pytest.mark.parametrize("first", (*FIRST.values(), "sd.load_pretrained", "sd.sample_ddim(1, n=1)", "sd.train", "import spritediff.training", "from spritediff import *"))
def test_functions_named_as_their_modules(first):
    "sd.train, sd.generate and sd.context are the functions, whatever was imported or called before"
    code = f"import spritediff as sd\n{first}\nprint([type(getattr(sd, name)).__name__ for name in {list(FIRST)}])"
    assert python(code) == f"{['function'] * 3}\n"


@pytest.mark.parametrize("name", sd.__all__)
def test_public_names(name):
    "Each public name resolves and, unless a constant, has a docstring of its own"
    value = getattr(importlib.import_module(f"spritediff.{sd._HOME[name]}"), name)
    assert name in dir(sd)
    if name not in CONSTANTS: assert value.__doc__ and not value.__doc__.startswith(f"{name}("), "a dataclass's own docstring is no docstring"


def test_unknown_name():
    "An unknown attribute is an AttributeError that names it"
    with pytest.raises(AttributeError, match="knight"): sd.knight


def parse(module):
    "Tree of a module's source, and the numbers of its lines that hold a comment"
    text = (ROOT/"spritediff"/f"{module}.py").read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return ast.parse(text), {t.start[0] for t in tokens if t.type == tokenize.COMMENT}


def public_functions(tree):
    "Functions of a module's __all__, methods of its public classes, as (name, node)"
    names = next((ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__"), [])
    for node in tree.body:
        if getattr(node, "name", None) not in names: continue
        if isinstance(node, ast.FunctionDef): yield node.name, node
        elif node.name in sd.__all__:
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and (not method.name.startswith("_") or method.name == "__init__"): yield f"{node.name}.{method.name}", method


@pytest.mark.parametrize("module", MODULES)
def test_docments(module):
    "Each parameter of a public function has a comment on its line, and each public function a docstring"
    tree, comments = parse(module)
    bare, found = [], 0
    for name, node in public_functions(tree):
        found += 1
        a = node.args
        for arg in [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]:
            if arg.arg not in ("self", "cls") and arg.lineno not in comments: bare.append(f"{name}({arg.arg})")
        if not ast.get_docstring(node) and not name.endswith(("__init__", ".forward")): bare.append(f"{name}: docstring")
    assert not bare, bare
    assert found or module not in sd._MODULES


@pytest.mark.parametrize("module", MODULES)
def test_no_fixed_device(module):
    "No module sends tensors to cuda by name"
    text = (ROOT/"spritediff"/f"{module}.py").read_text(encoding="utf-8")
    assert ".cuda(" not in text and '.to("cuda' not in text and "eval(" not in text.replace(".eval(", "")


def test_version():
    "settings.ini has the package's version"
    config = ConfigParser()
    config.read(ROOT/"settings.ini", encoding="utf-8")
    assert config["DEFAULT"]["version"] == sd.__version__
