"""What can be wrong with a page of the book: checkers that take a notebook, or its text, and return a list of faults.

    python tests/book.py [NAME ...]    all faults of the notebooks, by chapter
"""
import ast, json, re, subprocess, sys
from collections import Counter
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat, yaml

sys.path.append(str(Path(__file__).resolve().parents[1]/"tools"))
from in_step import NBS, ROOT, directives, settings

WORDS = Path(__file__).with_name("words.txt")
# What may stand behind `#|`: words of nbdev, flags of ours, and options of Quarto
NBDEV = {"default_exp", "export", "exports", "exporti", "hide", "exec_doc", "hide_line", "filter_stream", "readme"}
QUARTO = {"eval", "echo", "output", "include", "warning", "error", "label", "tbl-cap", "code-fold", "code-summary", "code-overflow",
          "code-line-numbers", "column", "classes"}
QUARTO_FORMS = r"(fig|layout|lst|tbl)-[a-z-]+|layout"


# --- Text

def blank(text, pattern):
    "`text` with everything that matches `pattern` gone, but its lines kept"
    return re.sub(pattern, lambda m: " " + "\n" * m[0].count("\n"), text, flags=re.S | re.M)


def no_code(text): return blank(text, r"^( *)(```+|~~~+).*?^ *\2[`~]*[ \t]*$|(?<!`)(`+)(?!`).+?(?<!`)\3(?!`)|<!--.*?-->")
def no_math(text): return blank(text, r"\$\$.*?\$\$|(?<![\\$\w])\$(?=\S)[^$]*?(?<=\S)\$(?!\d)")
def prose(nb): return [(c, no_code(c.source)) for c in nb.cells if c.cell_type == "markdown"]
def where(cell, text): return f"cell {cell.get('id', '?')}: {text}"


def said(nb):
    "All Markdown of a page: its own, and that of `show_doc`"
    yield from prose(nb)
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/markdown")
            if text: yield cell, no_code("".join(text))


# --- Links, anchors and references

def slug(heading):
    "The anchor that pandoc gives a heading"
    text = re.sub(r"\{[^}]*\}\s*$", "", heading)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "").replace("*", "").replace("$", "")
    text = re.sub(r"[^\w\s.-]", "", text.strip()).lower()
    return re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", text)) or "section"


def anchors(nb):
    "Everything on the page of `nb` that a link or a reference can point to"
    found = []
    for cell in nb.cells:
        texts = [blank(cell.source, r"^```.*?^```")] if cell.cell_type == "markdown" else []
        texts += ["".join(o.data["text/markdown"]) for o in cell.get("outputs", []) if "text/markdown" in o.get("data", {})]
        for text in texts:
            for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)?$", blank(text, r"^```.*?^```"), re.M):
                if not re.search(r"\{[^}]*#", heading): found.append(slug(heading))
            found += re.findall(r"\{[^}]*#([\w:.-]+)[^}]*\}", blank(text, r"`[^`]*`"))
            found += re.findall(r"<[^>]*\b(?:id|name)=\"([^\"]+)\"", text)
        if cell.cell_type == "code" and (label := directives(cell).get("label")): found.append(label)
    return Counter(found)


def targets(text):
    "Where links and images of Markdown `text` lead, as (is it an image, address)"
    found = [(bang == "!", to) for bang, to in re.findall(r"(!?)\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)", text)]
    found += [(False, to) for to in re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, re.M)]
    found += [(False, to) for to in re.findall(r"<a\b[^>]*\bhref=\"([^\"]+)\"", text)]
    found += [(True, to) for to in re.findall(r"<img\b[^>]*\bsrc=\"([^\"]+)\"", text)]
    return found + [(False, to) for to in re.findall(r"<(https?://[^>\s]+)>", text)]


def address_of(nb):
    "The file that the site makes of a processed notebook"
    front = nb.cells[0].source if nb.cells[0].cell_type == "raw" else ""
    found = re.search(r"^output-file:\s*(\S+)", front, re.M)
    return found[1] if found else None


class Site:
    "All pages, for links between them: {name of the notebook: processed notebook}"
    def __init__(self, pages, other=()):
        self.anchors = {name: anchors(nb) for name, nb in pages.items()}
        self.by_address = {address_of(nb) or f"{Path(name).stem}.html": name for name, nb in pages.items()}
        self.other = set(other)
        config = settings()
        self.here = config["doc_host"] + config["doc_baseurl"] + "/"
        self.source = f"{config['git_url']}/blob/{config['branch']}/"

    def fault(self, to, page, image=False):
        "What is wrong with the address `to` on the notebook `page`, or ''"
        if to.startswith("data:"): return ""
        if to.startswith(self.source):
            path = to[len(self.source):].partition("#")[0]
            return "" if (ROOT/path).exists() else f"{to}: no such file in the repository"
        if to.startswith(self.here):
            file, _, anchor = to[len(self.here):].partition("#")
            name = self.by_address.get(file or "index.html")
            return self.anchor_fault(to, name, anchor) if name else f"{to}: no such page"
        if re.match(r"[a-z]+:", to):
            return "" if re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(:\d+)?(/[^\s<>\"]*)?|mailto:\S+@\S+", to) else f"{to}: malformed"
        file, _, anchor = unquote(to).partition("#")
        if file and not image and file.endswith(".html"): return f"{to}: link to the notebook, which works everywhere"
        if file and file not in self.anchors:
            known = file in self.other or (NBS/file).is_file() and (NBS/file).resolve().is_relative_to(NBS)
            return "" if known and not anchor else f"{to}: no such page or file on the site"
        return self.anchor_fault(to, file or page, anchor)

    def anchor_fault(self, to, name, anchor):
        return f"{to}: no such place on that page" if anchor and not self.anchors[name][anchor] else ""


def link_faults(nb, page, site):
    "Links and images of a page that lead nowhere"
    found = []
    for cell, text in said(nb):
        for image, to in targets(text):
            if why := site.fault(to, page, image): found.append(where(cell, why))
        for twice in re.findall(r"\[\[[^\]]*\]\([^)]*\)\]\(", no_math(text)):
            found.append(where(cell, f"{twice}: a link in a link, by nbdev from a name in backticks"))
        for left in re.findall(r"\]\(\s*\)|\]\[[\w-]+\](?!\()", no_math(text)):
            if f"\n[{left[2:-1]}]:" not in f"\n{text}": found.append(where(cell, f"a link without an address: {left}"))
    return found


def reference_faults(nb):
    "Cross-references of Quarto (@fig-x, @eq-x, ...) without a target on the page, and names given twice"
    names, found = anchors(nb), []
    for cell, text in prose(nb):
        for ref in re.findall(r"(?<![\w@])@((?:fig|tbl|eq|sec|lst|thm)-[\w-]+)", text):
            if not names[ref]: found.append(where(cell, f"@{ref} refers to nothing on this page"))
    return found + [f"two places are called {name}" for name, n in names.items()
                    if n > 1 and re.match(r"(fig|tbl|eq|sec|lst|thm)-", name)]


def caption_faults(nb, needed=True):
    "Pictures without a caption, captions without a label to refer to, captions that only repeat the description"
    found = []
    for cell in (c for c in nb.cells if c.cell_type == "code"):
        top = directives(cell)
        if "fig-cap" not in top:
            if needed and "fig-alt" in top: found.append(where(cell, "a picture without fig-cap"))
            continue
        if not re.fullmatch(r"fig-[a-z0-9-]+", top.get("label", "")): found.append(where(cell, "a caption without a label fig-..."))
        try: caption = json.loads(top["fig-cap"])
        except ValueError: caption = ""
        if not caption.endswith((".", "?")) or not caption.isprintable() or top["fig-cap"] == top.get("fig-alt"):
            found.append(where(cell, "the caption is no sentence in double quotes of its own"))
    return found


# --- What should not be seen

def output_faults(nb):
    "A page with code that shows none of its results, or an error"
    cells = [c for c in nb.cells if c.cell_type == "code"]
    outputs = [o for c in cells for o in c.outputs]
    found = [where(c, f"an error: {o.evalue}") for c in cells for o in c.outputs if o.output_type == "error"]
    return found + ["code, but no output"] * bool(cells and not outputs)


def directive_faults(nb):
    "Directives that a reader would see, and such as neither nbdev nor Quarto knows"
    known, found = NBDEV | QUARTO | set(settings()["tst_flags"].split()), []
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            if re.search(r"^\s*#\|", no_code(cell.source), re.M): found.append(where(cell, "a directive in the text"))
        elif cell.cell_type == "code":
            top = directives(cell)
            found += [where(cell, f"unknown directive {d!r}") for d in top
                      if d not in known and not re.fullmatch(QUARTO_FORMS, d)]
            below = re.sub(r"\A(\s*(#\s*\|.*)?\n)*", "", cell.source + "\n")
            if re.search(r"^\s*#\|", below, re.M): found.append(where(cell, "a directive below the code"))
    return found


def div_faults(nb):
    "Fenced divs (:::) that open or close alone, and such as stand in an output"
    depth, found = 0, []
    for cell, text in prose(nb):
        for line in text.splitlines():
            if not (m := re.match(r"\s*:::+\s*(.*)$", line)): continue
            if m[1].strip(": "): depth += 1
            elif depth: depth -= 1
            else: found.append(where(cell, "::: closes nothing"))
        if re.search(r"\S.*:::|^\s*:{2,}[^:\s]", re.sub(r"^\s*:::+.*$", "", text, flags=re.M), re.M):
            found.append(where(cell, "::: within a line"))
    if depth: found.append(f"{depth} ::: without an end")
    for cell in nb.cells:
        for o in cell.get("outputs", []):
            if re.search(r"^:::|^#\|", "".join(o.get("text", "")), re.M): found.append(where(cell, "::: or #| in the output"))
    return found


class Tags(HTMLParser):
    "Which tags open and close alone"
    VOID = "area base br col embed hr img input link meta source track wbr".split()
    def __init__(self):
        super().__init__()
        self.open, self.faults = [], []
    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID: self.open.append(tag)
    def handle_endtag(self, tag):
        if tag in self.VOID: return
        if self.open and self.open[-1] == tag: self.open.pop()
        else: self.faults.append(f"</{tag}> within <{self.open[-1]}>" if self.open else f"</{tag}> opens nowhere")


def tag_faults(nb):
    "HTML in the text that is not balanced, details above all; Markdown in details needs empty lines around it"
    found = []
    for cell, text in prose(nb):
        tags = Tags()
        tags.feed(re.sub(r"<(https?:[^>]*)>", r"\1", no_math(text)))
        found += [where(cell, f) for f in tags.faults + [f"<{t}> is not closed" for t in tags.open]]
        for m in re.finditer(r"</summary>(.*?)</details>", cell.source, re.S):
            if not m[1].startswith(("\n\n", "\n \n")) and re.search(r"[*`$\[]|\n\n", m[1]):
                found.append(where(cell, "no empty line after </summary>: Markdown in it stays raw"))
    return found


# --- Formulas

def formulas(nb):
    "All TeX of a page, captions included, as (cell, TeX, whether it is displayed)"
    captions = [(c, json.loads(cap)) for c in nb.cells if c.cell_type == "code" and (cap := directives(c).get("fig-cap", "")).startswith('"')]
    for cell, text in [*said(nb), *captions]:
        for m in re.finditer(r"\$\$(.*?)\$\$|(?<![\\$\w])\$(?=\S)([^$]*?)(?<=\S)\$(?!\d)", text, re.S):
            yield cell, m[1] if m[1] is not None else m[2], m[1] is not None
        yield from ((cell, m[0], True) for m in re.finditer(r"^\\begin\{(align|equation|gather)\*?\}.*?\\end\{\1\*?\}", text, re.S | re.M))


KATEX = """
const katex = require(process.argv[2]);
const all = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(all.map(([tex, display]) => {
  try { katex.renderToString(tex, {displayMode: display, strict: "ignore"}); return ""; }
  catch (e) { return String(e.message); }
})));
"""


def tex_faults(nb, katex):
    "Formulas that KaTeX cannot read, and dollars that stand alone; `katex` is the folder of its npm package"
    found = [where(cell, "a $ without its partner") for cell, text in prose(nb) if re.search(r"(?<!\\)\$", no_math(text))]
    all_ = list(formulas(nb))
    if not all_: return found
    asked = json.dumps([(re.sub(r"\\label\{[^}]*\}", "", tex), display) for _, tex, display in all_])
    done = subprocess.run(["node", "-e", KATEX, "-", str(katex)], input=asked, capture_output=True, text=True, timeout=120)
    if done.returncode: raise RuntimeError(done.stderr)
    return found + [where(cell, f"{tex.strip()[:60]}: {why}") for (cell, tex, _), why in zip(all_, json.loads(done.stdout)) if why]


def numbers(nb):
    "The formulas that the text names, such as (6.7)"
    return [no for _, text in prose(nb) for no in re.findall(r"\((\d+\.[1-9]\d*)\)", no_math(text))]


# --- Spelling

@lru_cache
def dictionary():
    "American words, from pyspellchecker, and those of tests/words.txt"
    from spellchecker import SpellChecker
    own = (s.partition("#")[0].strip() for s in WORDS.read_text(encoding="utf-8").splitlines())
    return SpellChecker(distance=1), set(filter(None, own))


def american(word):
    "Spellings of `word` that an American dictionary may have"
    yield word
    for british, us in (("our", "or"), ("is", "iz"), ("ys", "yz"), ("tre", "ter"), ("tred", "tered"), ("ll", "l"), ("ence", "ense"),
                        ("ogue", "og"), ("ae", "e"), ("grey", "gray")):
        if british in word: yield word.replace(british, us)


def known(word):
    "Whether a word is in the dictionary, British or American, or made by the usual ending or prefix"
    words, own = dictionary()
    if word in own or any(w in words for w in american(word)): return True
    stems = [word[:-len(e)] + put for e, put in (("'s", ""), ("s'", "s"), ("s", ""), ("es", ""), ("ly", ""), ("ness", ""), ("less", ""),
                                                 ("able", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e")) if word.endswith(e)]
    stems += [word[len(p):] for p in ("un", "re", "non", "de") if word.startswith(p)]
    return any(len(s) > 2 and (s in own or any(w in words for w in american(s))) for s in stems)


def words_of(text):
    "Words of running text: no code, no formulas, no addresses, no names such as ContextUnet or DDPM"
    text = no_math(text)
    text = re.sub(r"\]\([^)]*\)|<[^>]*>|https?://\S+|\{[^}]*\}|&\w+;|^\[[^\]]+\]:.*$", " ", text, flags=re.M)
    for word in re.findall(r"(?<![\w@\\./])[A-Za-z][A-Za-z'’]*(?![\w/]|\.\w)", text):
        word = word.replace("’", "'").strip("'")
        if len(word) > 1 and not re.search(r".[A-Z]", word): yield word


def spelling_faults(nb):
    "Words that are in no dictionary, in prose and in descriptions of pictures"
    texts = prose(nb) + [(c, no_code(directives(c).get(kind, ""))) for c in nb.cells if c.cell_type == "code" for kind in ("fig-alt", "fig-cap")]
    found = {}
    for cell, text in texts:
        for word in words_of(text):
            if not known(word.lower()) and not known(word): found.setdefault(word, where(cell, f"unknown word {word!r}"))
    return list(found.values())


# --- The sidebar, README.md, colours

def listed():
    "All files that the sidebar of _quarto.yml lists, in order"
    def walk(part):
        if isinstance(part, str): return [part] if re.search(r"\.(ipynb|qmd)$", part) else []
        return [f for o in (part if isinstance(part, list) else part.values()) for f in walk(o)]
    site = yaml.safe_load((ROOT/"_quarto.yml").read_text(encoding="utf-8"))
    return walk(site["website"]["sidebar"]["contents"])


def sidebar_faults(listed, there):
    "Pages that the sidebar lacks, lists twice, or lists in vain; parts whose chapters do not rise are for the eye"
    count = Counter(listed)
    return ([f"{f} is not listed" for f in sorted(set(there) - set(listed))] + [f"{f} does not exist" for f in count if f not in there]
            + [f"{f} is listed {n} times" for f, n in count.items() if n > 1])


def readme_faults(text):
    "What GitHub would show badly: pictures it refuses, remains of widgets, marks of Quarto"
    text, found = no_code(text), []
    for pattern, why in ((r"data:image", "a picture inside the address"), (r"VBox\(|HBox\(|id=\"sd-|IPY_MODEL|<script|<style", "remains of a widget"),
                         (r"^:::|^#\||\{\.[\w-]+", "a mark of Quarto"), (r"<IPython|<Figure|<PIL", "the name of an object")):
        if re.search(pattern, text, re.M): found.append(why)
    for _, to in targets(text):
        if not re.match(r"[a-z]+:|#", to) and not (ROOT/unquote(to.partition("#")[0])).exists(): found.append(f"no {to}")
    return found


def colours(name):
    "The colours that a theme sets, as {variable: '#rrggbb'}"
    return dict(re.findall(r"^\$([\w-]+):\s*(#[0-9a-f]{6});", (NBS/name).read_text(encoding="utf-8"), re.M))


def contrast(a, b):
    "The contrast of two colours '#rrggbb', from 1 to 21, as WCAG 2 defines it"
    def light(colour):
        parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        return sum(w * (p / 12.92 if p <= .04045 else ((p + .055) / 1.055) ** 2.4) for w, p in zip((.2126, .7152, .0722), parts))
    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + .05) / (low + .05)


PAIRS = [(text, "body-bg") for text in ("body-color", "body-secondary", "link-color", "sidebar-fg", "sidebar-hl", "toc-color")]
PAIRS += [("body-color", "code-block-bg"), ("code-color", "code-bg"), ("link-color", "code-bg"), ("navbar-fg", "navbar-bg"),
          ("navbar-hl", "navbar-bg"), ("footer-fg", "footer-bg")]


def contrast_faults(theme, least=4.5):
    "Pairs of colours that are hard to tell apart"
    return [f"{text} on {ground}: {value:.1f}" for text, ground in PAIRS
            if (value := contrast(theme[text], theme[ground])) < least]


def main():
    for path in sorted(NBS.glob("*.ipynb")):
        if sys.argv[1:] and not path.stem.startswith(tuple(sys.argv[1:])): continue
        nb = nbformat.read(path, as_version=4)
        for check in (reference_faults, output_faults, directive_faults, div_faults, tag_faults, spelling_faults):
            for fault in check(nb): print(f"{path.stem}: {fault}")


if __name__ == "__main__": main()
