"""One thread and the CPU, so that bit-equality means something on every machine; SPRITEDIFF_DEVICE overrides the latter."""
import os, sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]/"tools"))
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SPRITEDIFF_DEVICE", "cpu")

import pytest, torch

torch.set_num_threads(1)


def pytest_configure(config):
    config.addinivalue_line("markers", "cuda: needs a GPU, skipped without one")
    config.addinivalue_line("markers", "quality: asks how good the shipped weights are")


def pytest_collection_modifyitems(items):
    for item in items:
        if "cuda" in item.keywords and not torch.cuda.is_available(): item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture(scope="session")
def site_pages(tmp_path_factory):
    "All notebooks as nbdev hands them to Quarto: the folder, and what nbdev said"
    from browser import process
    return process(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def chromium():
    "A browser; skips where pages cannot be opened"
    import browser
    if why := browser.missing(): pytest.skip(why)
    with browser.chromium() as b: yield b


@pytest.fixture(scope="session")
def modules(tmp_path_factory):
    "The npm packages that pages load; skips where npm is missing"
    import shutil
    import browser
    if not shutil.which("npm"): pytest.skip("npm is not installed")
    return browser.packages(tmp_path_factory.mktemp("npm"))


@pytest.fixture
def tiny():
    "A small network of fixed random weights, in eval mode"
    import spritediff as sd
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return sd.ContextUnet(3, n_feat=8, n_cfeat=5, height=16).eval()


class Runs:
    "Unpickling this writes a file: the sign that a loader ran code."
    def __init__(self, sign): self.sign = str(sign)
    def __reduce__(self): return open, (self.sign, "w")


@pytest.fixture
def evil(tmp_path):
    "An object whose unpickling runs code, and the file that then exists"
    sign = tmp_path/"code_ran"
    return Runs(sign), sign
