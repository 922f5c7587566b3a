"""The book as its readers meet it: every link leads somewhere, every formula can be set, nothing of the machinery shows.

The checkers are in book.py. Each has a second test here, which plants a fault for it to find.
"""
import os, re, shutil, subprocess
from functools import lru_cache
from pathlib import Path

import nbformat, pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import book, browser
import spritediff as sd
from in_step import MAP, NBS, ROOT, chapter_map, minutes, notebooks, parts, settings

NAMES = [p.name for p in notebooks()]
HERE = settings()["doc_host"] + settings()["doc_baseurl"]
each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def pages(site_pages):
    "All notebooks as Quarto gets them"
    return {name: nbformat.read(site_pages[0]/name, as_version=4) for name in NAMES}


@pytest.fixture(scope="module")
def site(pages): return book.Site(pages, other=["404.qmd"])


@pytest.fixture(scope="module")
def katex(modules): return modules/"katex"


def md(*texts): return new_notebook(cells=[new_markdown_cell(t) for t in texts])


def code(source, *outputs): return new_notebook(cells=[new_code_cell(source, outputs=list(outputs))])


def shown(text): return new_output("stream", text=text)


# --- Every page

@each
def test_links(name, pages, site): assert not book.link_faults(pages[name], name, site)


@each
def test_references(name, pages): assert not book.reference_faults(pages[name])


@each
def test_captions(name, pages): assert not book.caption_faults(pages[name], needed=name < "19")


@each
def test_outputs(name, pages): assert not book.output_faults(pages[name])


@each
def test_directives(name, pages): assert not book.directive_faults(pages[name])


@each
def test_divs(name, pages): assert not book.div_faults(pages[name])


@each
def test_tags(name, pages): assert not book.tag_faults(pages[name])


@each
def test_formulas(name, pages, katex): assert not book.tex_faults(pages[name], katex)


@each
def test_spelling(name):
    faults = book.spelling_faults(nbformat.read(NBS/name, as_version=4))
    assert not faults, "correct them, or add the words to tests/words.txt"


def test_reference_page(monkeypatch):
    "Every public name has its entry, as its source says today, and an example that uses it and shows something"
    monkeypatch.chdir(NBS)
    nb = nbformat.read("29_reference.ipynb", as_version=4)
    cells, made = [c for c in nb.cells if c.cell_type == "code"], {}
    for cell in cells[:3]: exec(cell.source, made)  # the imports, and what makes the entries
    entries = {m[1]: i for i, c in enumerate(cells) if (m := re.search(r'^entry\("(\w+)"\)$', c.source, re.M))}
    assert list(entries) == sd.__all__
    for name, i in entries.items():
        assert cells[i].outputs[0].data["text/markdown"] == made["entry"](name).data, f"{name}: run the notebook again"
        use = cells[i + 1]
        assert re.search(rf"\bsd\.{name}\b", use.source) and use.outputs, name


def test_numbers_of_formulas(pages):
    "Each number of a formula is given once, and what the text calls (6.7) is there"
    tags = re.findall(r"\\tag\{([^}]*)\}", "\n".join(c.source for nb in pages.values() for c in nb.cells if c.cell_type == "markdown"))
    assert tags and len(tags) == len(set(tags))
    assert not [f"{name}: {no}" for name, nb in pages.items() for no in book.numbers(nb) if no not in tags]


# --- Each checker finds what is planted

PAGES = {"a.ipynb": md("# A", "## Two words, $x_0$ and `code`\n\n## More {#sec-more}", '<p id="here">'), "b.ipynb": md("# B")}


@pytest.mark.parametrize("to", ("c.ipynb", "a.ipynb#three-words", "#here", "../README.md", "nothing.png", "http://example.org", "https://",
                                f"{HERE}/c.html", "a.html"))
def test_link_faults_are_found(to):
    site = book.Site(PAGES)
    assert len(book.link_faults(md(f"See [it]({to})."), "b.ipynb", site)) == 1
    assert not book.link_faults(md(f"See `[it]({to})`."), "b.ipynb", site)


@pytest.mark.parametrize("to", ("a.ipynb", "a.ipynb#two-words-x_0-and-code", "a.ipynb#sec-more", "a.ipynb#here", "favicon.png",
                                "https://example.org/a_(b)", f"{HERE}/a.html#here"))
def test_good_links_pass(to): assert not book.link_faults(md(f"See [it]({to})."), "b.ipynb", book.Site(PAGES))


def test_more_link_faults_are_found():
    for text in ("[it]()", "![p](gone.png)", '<img alt="p" src="gone.png">', '<a href="gone.ipynb">it</a>', "[it][nowhere]"):
        assert book.link_faults(md(text), "b.ipynb", book.Site(PAGES)), text
    assert book.link_faults(md("[[`b`](b.ipynb)](a.ipynb)"), "b.ipynb", book.Site(PAGES))
    source = book.Site(PAGES).source
    assert book.link_faults(md(f"[it]({source}spritediff/gone.py#L3)"), "b.ipynb", book.Site(PAGES))


def test_reference_faults_are_found():
    assert len(book.reference_faults(md("As @eq-gone says."))) == 1
    assert len(book.reference_faults(md("$$x$$ {#eq-a}", "$$y$$ {#eq-a}"))) == 1
    assert not book.reference_faults(md("$$x$$ {#eq-a}", "See @eq-a, not `@eq-b`."))


def test_caption_faults_are_found():
    alt = '#| fig-alt: "A hero."\n'
    for bad in (alt, '#| fig-cap: "Ours."\n' + alt, '#| label: plot\n#| fig-cap: "Ours."\n', "#| label: fig-a\n#| fig-cap: Ours.\n",
                '#| label: fig-a\n#| fig-cap: "A hero."\n' + alt, '#| label: fig-a\n#| fig-cap: "$\\bar x$."\n'):
        assert len(book.caption_faults(code(bad + "x"))) == 1, bad
    assert not book.caption_faults(code('#| label: fig-a\n#| fig-cap: "Ours, $\\\\bar x$."\n' + alt + "x"))
    assert not book.caption_faults(code(alt), needed=False)


def test_output_faults_are_found():
    assert book.output_faults(code("1 + 1")) == ["code, but no output"]
    assert len(book.output_faults(code("1 / 0", new_output("error", ename="ZeroDivisionError", evalue="by zero", traceback=[])))) == 1
    assert not book.output_faults(md("words only")) and not book.output_faults(code("print(1)", shown("1")))


def test_directive_faults_are_found():
    for bad in (md("#| hide"), code("#| exprots\n1"), code("x = 1\n#| hide\n"), code("#| fig-alt: \"a\"\nx\n#| label: b")):
        assert len(book.directive_faults(bad)) == 1
    assert not book.directive_faults(code("#| echo: false\n#| fig-alt: \"a\"\nx = 1"))
    assert not book.directive_faults(md("```\n#| hide\n```"))


def test_div_faults_are_found():
    for bad in (md("::: {.note}\ntext"), md("text\n:::"), md("text ::: more"), code("1", shown("::: {.cell}\n"))):
        assert book.div_faults(bad)
    assert not book.div_faults(md("::: {.note}", "text", ":::"))


def test_tag_faults_are_found():
    for bad in ("<details><summary>Hint</summary>\n\nText", "Text</details>", "<details><summary>Hint</details>",
                "<details><summary>Hint</summary>\nUse `x`.\n</details>"):
        assert book.tag_faults(md(bad)), bad
    assert not book.tag_faults(md("<details><summary>Hint</summary>\n\nUse `x`, where $a < b$.\n\n</details>"))


def test_formula_faults_are_found(katex):
    for bad in (r"$\frac{1}{2$", r"$$\sqroot{2}$$", r"cost 5$ and $x$", r"$x_1_2$"):
        assert book.tex_faults(md(bad), katex), bad
    good = md(r"$\bar\alpha_t$, `$PATH` and \$5", "$$x_t = \\sqrt{\\bar\\alpha_t}\\,x_0 \\tag{1}$$", "$$\n\\begin{aligned}a&=b\\\\c&=d\\end{aligned}\n$$")
    assert not book.tex_faults(good, katex)


def test_formulas_of_captions_are_read(katex):
    bad = code('#| fig-cap: "Falls with $\\\\baralpha_t{$."\nx')
    assert book.tex_faults(bad, katex) and not book.tex_faults(code('#| fig-cap: "$\\\\bar\\\\alpha_t$ falls."\nx'), katex)


def test_numbers_are_found(): assert book.numbers(md("By (6.7) and (3.1), not `(1.2)` or (2)")) == ["6.7", "3.1"]


def test_spelling_faults_are_found():
    bad = md("We recieve teh `sprits`.", "A diffrent $schdule$.")
    assert [f.split("'")[1] for f in book.spelling_faults(bad)] == ["recieve", "teh", "diffrent"]
    assert len(book.spelling_faults(code('#| fig-alt: "A sprite with a swrod."\nx'))) == 1
    assert not book.spelling_faults(md("Colours, centred; denoised neighbours. `xyzzy` by [ContextUnet](qqq.ipynb) at https://zzzq.org"))


# --- The sidebar, the map, README.md

def test_sidebar(): assert not book.sidebar_faults(book.listed(), NAMES)


def test_sidebar_faults_are_found():
    assert len(book.sidebar_faults(["a.ipynb", "a.ipynb", "c.ipynb"], ["a.ipynb", "b.ipynb"])) == 3


def test_parts():
    "Besides the first page, every page stands in a part"
    assert book.listed() == ["index.ipynb", *(page for pages in parts().values() for page in pages)] and all(parts().values())


def test_map():
    "The first page has every chapter of the sidebar once, with its reading time"
    text = chapter_map({f"nbs/{n}": (NBS/n).read_bytes() for n in NAMES})
    assert re.findall(r"\]\(([\w.]+)\), \d+ min\.", text) == book.listed()[1:]
    cell = next(c for c in nbformat.read(NBS/"index.ipynb", as_version=4).cells if MAP[0] in c.source)
    assert text in cell.source, "repair: python tools/in_step.py"


def test_reading_time():
    nb = md("word " * 2000)
    assert minutes(nb) == 10
    nb.cells += [new_code_cell("x\n\n" * 100), new_code_cell("#| hide\n" + "x\n" * 900)]
    assert minutes(nb) == 15


def test_readme(): assert not book.readme_faults((ROOT/"README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("bad", ("![a](data:image/png;base64,AA)", '<div id="sd-3">', "VBox(children=(", "::: {.note}", "![a](a.png){.wide}",
                                 "<IPython.core.display.HTML object>", "[a](nbs/gone.ipynb)", "#| hide"))
def test_readme_faults_are_found(bad): assert book.readme_faults(f"# Title\n\n{bad}\n")


# --- Colours and pictures

@pytest.mark.parametrize("theme", ("light.scss", "dark.scss"))
def test_contrast(theme): assert not book.contrast_faults(book.colours(theme))


def test_contrast_faults_are_found():
    assert round(book.contrast("#000000", "#ffffff"), 6) == 21 and round(book.contrast("#777777", "#ffffff"), 2) == 4.48
    assert book.contrast_faults({**book.colours("light.scss"), "link-color": "#8a9aaa"})


def blocks(image, side):
    "Whether an image is made of squares of one colour each, `side` pixels wide"
    small = image.resize([n // side for n in image.size], Image.Resampling.NEAREST)
    return small.resize(image.size, Image.Resampling.NEAREST).tobytes() == image.tobytes()


def test_icon_and_card():
    "As tools/art.py makes them: a sprite with sharp edges, and the size that social networks ask for"
    icon = Image.open(NBS/"favicon.png").convert("RGBA")
    assert icon.size == (64, 64) and blocks(icon, 4) and len(icon.getcolors()) > 8
    assert not blocks(icon.resize((64, 64), Image.Resampling.BICUBIC, (0, 0, 60, 60)), 4)
    assert Image.open(NBS/"card.png").size == (1200, 630)


# --- The site, where Quarto is installed

@pytest.fixture(scope="module")
def docs(tmp_path_factory):
    "The folder of the rendered site: that of SPRITEDIFF_DOCS, or made anew by nbdev_docs"
    if made := os.environ.get("SPRITEDIFF_DOCS"): return Path(made).resolve()
    if not shutil.which("quarto"): pytest.skip("quarto is not installed: the site is not rendered")
    copy = tmp_path_factory.mktemp("docs")/"book"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".*", "_docs", "_proc", "__pycache__"))
    env = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["nbdev_docs", "--n_workers", "1"], cwd=copy, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert not re.search(r"^.*WARN.*$", done.stderr + done.stdout, re.M), "a warning of Quarto"
    return copy/settings()["doc_path"]


@pytest.fixture(scope="module")
def tour(docs, chromium, tmp_path_factory):
    "Open a page of the rendered site"
    modules = browser.packages(tmp_path_factory.mktemp("site_npm"), {**browser.PACKAGES, **browser.SITE})
    place = tmp_path_factory.mktemp("served")/settings()["doc_baseurl"].strip("/")  # the page for lost readers has full paths
    if place.name and not place.exists(): place.symlink_to(docs)
    with browser.served(place.parent) as root:
        base = f"{root}{place.name}/"
        yield lambda name, **kwargs: browser.visit(chromium, base, name, modules, **kwargs)


LEFT = r"^#\||^:::|\?@\w+-|<IPython|WARNING: THIS FILE"  # marks of nbdev and Quarto, and references that Quarto did not find
# Text whose colour is hard to tell from what it stands on, formulas and pictures left out
PALE = """() => {
  const rgb = s => (s.match(/[\\d.]+/g) || []).map(Number);
  const light = c => c.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > .5) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll("main *, nav *, footer *")) {
    const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join("");
    if (!text || !e.checkVisibility({opacityProperty: true, visibilityProperty: true}) || e.closest(".animation, mjx-container, svg, button")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) bad.push(`${e.tagName}.${e.className} ${((a + .05) / (b + .05)).toFixed(1)}: ${text.slice(0, 40)}`);
  }
  return [...new Set(bad)].slice(0, 8);
}"""


def html_pages(): return sorted({f"{re.sub(r'^[0-9]+[a-z]?_', '', Path(n).stem)}.html" for n in NAMES} | {"404.html"})


@pytest.mark.parametrize("name", html_pages())
def test_site(docs, tour, name):
    "A page of the site: no errors, nothing cut off on screen or phone, text that can be read by day and by night"
    page = tour(name)
    try:
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(200)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, page.evaluate(browser.STICK_OUT)
        assert not page.errors and not page.evaluate(browser.BROKEN)
        text = page.evaluate("[...document.querySelectorAll('main p, main li, main pre')].map(e => e.innerText).join('\\n')")
        assert not re.search(LEFT, text, re.M), re.search(LEFT, text, re.M)
        assert not page.evaluate(PALE), "light"
    finally: page.close()
    night = tour(name, dark=True)
    try: assert "quarto-dark" in night.evaluate("document.body.className") and not night.evaluate(PALE), "dark"
    finally: night.close()


@lru_cache(None)
def places(path): return set(re.findall(r'\b(?:id|name)="([^"]+)"', path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", html_pages())
def test_site_links(docs, name):
    "Links between rendered pages, their anchors included"
    text = (docs/name).read_text(encoding="utf-8")
    for to in set(re.findall(r'<a\b[^>]*\bhref="([^"]+)"', text)):
        if re.match(r"[a-z]+:", to): continue
        file, _, anchor = to.partition("#")
        base = settings()["doc_baseurl"] + "/"
        target = docs/(file.removeprefix(base).removeprefix("./") or "index.html" if file else name)
        assert target.exists(), f"{name}: {to}"
        if anchor: assert anchor in places(target), f"{name}: {to}"
