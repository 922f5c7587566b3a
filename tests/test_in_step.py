"""What is made from the notebooks is in step with them, and nbdev and Quarto can make the site of them."""
import json, os, re, shutil, subprocess, sys
from pathlib import Path
from urllib.parse import unquote

import pytest, yaml

from in_step import LIB, NBS, ROOT, STATE, VIEW, directives, notebooks, out_of_step, settings
import nbformat

NAMES = [p.name for p in notebooks()]
REPAIR = "repair: python tools/in_step.py"
RERUN = "repair: python tools/in_step.py --run NAME"


def load(name): return nbformat.read(NBS/name, as_version=4)
def code(nb): return [c for c in nb.cells if c.cell_type == "code"]
def prose(nb): return "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")


@pytest.fixture(scope="module")
def differ(): return out_of_step()


def test_notebooks_are_clean(differ):
    assert not [f for f in differ if f.endswith(".ipynb")], REPAIR


def test_modules_in_step(differ):
    assert not [f for f in differ if f.endswith(".py")], REPAIR


def test_readme_in_step(differ):
    assert not [f for f in differ if f.startswith(("README", "index_files"))], REPAIR


@pytest.mark.parametrize("name", NAMES)
def test_outputs(name):
    cells = code(load(name))
    outputs = [o for c in cells for o in c.outputs]
    assert outputs or not cells, f"{name} holds no outputs; {RERUN}"
    assert not [o.evalue for o in outputs if o.output_type == "error"], f"{name} holds an error; {RERUN}"
    flags = set(settings()["tst_flags"].split())
    unshown = [c.id for c in cells if not c.outputs and re.search(r"^(print|display|plt\.show)\(", c.source, re.M)
               and directives(c).get("eval") != "false" and not flags & directives(c).keys()]
    assert not unshown, f"{name}: cells that should show something and do not; {RERUN}"


@pytest.mark.parametrize("name", NAMES)
def test_no_machine_path(name):
    for c in code(load(name)):
        for o in c.outputs:
            text = "".join(o.get("text", "")) + "".join(o.get("data", {}).get("text/plain", ""))
            found = re.search(r"\S*(/home/|/Users/|/root/|/tmp/|site-packages)\S*", text)
            assert not found, f"{name}, cell {c.id} shows a path of one machine: {found[0]}"


@pytest.mark.parametrize("name", NAMES)
def test_widgets_are_saved(name):
    nb = load(name)
    state = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    views = [o.data[VIEW]["model_id"] for c in code(nb) for o in c.outputs if VIEW in o.get("data", {})]
    refers = set(re.findall(r"IPY_MODEL_([\w-]+)", json.dumps(state)))
    assert {*views, *refers} <= state.keys(), f"{name}: a page would lack widgets; {RERUN}"
    ids = {c.id for c in code(nb)}
    assert all(i.rpartition("-")[0] in ids for i in state), f"{name}: widget ids change at every run; {RERUN}"


@pytest.mark.parametrize("name", NAMES)
def test_title_cell(name):
    "nbdev makes the page's header of cell 0 and drops all other text in it"
    first = load(name).cells[0]
    assert first.cell_type == "markdown"
    title, *rest = [s for s in first.source.splitlines() if s.strip()]
    assert title.startswith("# ") and rest and rest[0].startswith("> ")
    assert all(re.match(r"- \S.*: ", s) for s in rest[1:]), f"{name}: move the rest of cell 0 to cell 1"


def links(text):
    "Links and images of Markdown `text` to files, as (is it an image, path)"
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", text, flags=re.S | re.M)
    found = re.findall(r"""(!?)\[(?:[^\]]|\]\[)*\]\(([^)\s]+)""", text)
    found += [("!", s) for s in re.findall(r"""<img[^>]*src="([^"]+)""", text)]
    return [(bang == "!", unquote(to.partition("#")[0])) for bang, to in found
            if not re.match(r"[a-z]+:|#", to)]


@pytest.mark.parametrize("name", NAMES)
def test_links(name):
    nb = load(name)
    for is_image, to in links(prose(nb)):
        assert (NBS/to).exists(), f"{name}: no {to}"
        # The site holds nbs/ only: show other pictures from a code cell, whose output the page keeps.
        assert not is_image or (NBS/to).resolve().is_relative_to(NBS), f"{name}: {to} is not on the site"
    # In code and prose, a path that ends in a suffix names a file
    for to in re.findall(r"\.\./results/[\w./-]+\.\w+", "\n".join(c.source for c in nb.cells)):
        assert (NBS/to).exists(), f"{name}: no {to}"


def test_readme_links():
    for _, to in links((ROOT/"README.md").read_text(encoding="utf-8")): assert (ROOT/to).exists(), f"no {to}"


def test_readme_commands():
    "CI runs two command lines of README.md: each stands there once, in a fenced block"
    fenced = re.findall(r"^```\w*\n(.*?)^```", (ROOT/"README.md").read_text(encoding="utf-8"), re.S | re.M)
    lines = "".join(fenced).splitlines()
    for regex in ("nbdev_test", "pip install .*spritediff generate"):
        assert sum(bool(re.search(regex, s)) for s in lines) == 1, regex


def test_quarto_yml():
    assert (NBS/"_quarto.yml").resolve() == ROOT/"_quarto.yml"
    site = yaml.safe_load((ROOT/"_quarto.yml").read_text(encoding="utf-8"))
    assert site["project"]["output-dir"] == settings()["doc_path"]
    html = site["format"]["html"]
    files = [html["css"], html["include-in-header"], *html["theme"].values(), site["image"], site["website"]["favicon"]]
    for file in files: assert (NBS/file).is_file(), f"no {file}"


def test_nbdev_makes_pages(site_pages):
    "All that nbdev_docs does before it calls Quarto, on a copy"
    folder, said = site_pages
    # nbdev runs each cell that imports, slow ones too: nothing else may stand in it, unless it is exported
    assert "imports and other code" not in said, said
    for name in NAMES:
        page, nb = nbformat.read(folder/name, as_version=4), load(name)
        assert "title:" in page.cells[0].source, name
        assert page.metadata.get("widgets") == nb.metadata.get("widgets"), f"{name}: not the notebook's own widgets"
