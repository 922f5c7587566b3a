"""Chapters as web pages in Chromium, without a kernel; what pages fetch from CDNs comes from npm packages instead.

    python tests/browser.py 02_viz picture.png [WIDTH [HEIGHT]]    a screenshot of a chapter's page
"""
import functools, http.server, json, os, re, shutil, subprocess, sys, tempfile, threading
from contextlib import contextmanager
from pathlib import Path

from nbconvert import HTMLExporter
import nbformat

from in_step import LIB, NBS, ROOT

PROCESS = "from nbdev.serve import proc_nbs; proc_nbs(n_workers=0, force=True)"
BROWSERS = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"
FLAGS = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
         "--disable-component-update --disable-sync").split()
PACKAGES = {"@jupyter-widgets/html-manager": "1.0.14", "requirejs": "2.3.7", "katex": "0.16.22"}
SITE = {"jquery": "3.7.1", "mathjax": "3.2.2"}  # what Quarto's pages load besides
# What a page asks for, and the file of a package that answers
SCRIPTS = {r"/require(\.min)?\.js$": "requirejs/require.js",
           r"@jupyter-widgets/(?:html-manager(?:@[^/]*)?/dist/)?([\w.-]+)$": r"@jupyter-widgets/html-manager/dist/\1",
           r"/jquery(\.min)?\.js$": "jquery/dist/jquery.min.js", r"mathjax@3[^/]*/(es5/.*)$": r"mathjax/\1"}
# Elements that stick out of the page to the right, without a box of their own in which they scroll
STICK_OUT = """() => {
  const inside = e => { for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
    if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(p).overflowX)) return true; };
  return [...document.body.querySelectorAll("*")].filter(e => e.checkVisibility() && !inside(e)
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1
    && getComputedStyle(e).position !== "fixed").map(e => e.outerHTML.slice(0, 120)).slice(0, 5);
}"""
BROKEN = """() => [...document.images].filter(i => i.complete && !i.naturalWidth && i.checkVisibility())
    .map(i => i.outerHTML.slice(0, 120))"""


def find_browser():
    "The path of a Chromium, or None"
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def missing():
    "Why pages cannot be opened here, or '' if they can"
    try: import playwright.sync_api
    except ImportError: return "playwright is not installed"
    if not find_browser(): return f"none of {', '.join(BROWSERS)} is installed"
    if not shutil.which("npm"): return "npm is not installed: the pages' scripts come from it"
    return ""


def packages(folder, wanted=PACKAGES):
    "Install the scripts that pages load into `folder`, unless they are there; return where they are"
    if not all((folder/"node_modules"/name).is_dir() for name in wanted):
        folder.mkdir(parents=True, exist_ok=True)
        (folder/"package.json").write_text(json.dumps({"private": True, "dependencies": wanted}))
        subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
                       cwd=folder, check=True, capture_output=True, timeout=600)
    return folder/"node_modules"


def process(folder):
    "All notebooks as nbdev hands them to Quarto: the folder that they are in, and what nbdev said"
    for source in (NBS, LIB):
        shutil.copytree(source, folder/source.name, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    shutil.copy2(ROOT/"settings.ini", folder)
    if (ROOT/"results").exists(): (folder/"results").symlink_to(ROOT/"results")
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", PROCESS], cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode: raise RuntimeError(done.stderr)
    return folder/"_proc", done.stderr


def html(path):
    "The notebook at `path` as a page"
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells: cell.pop("attachments", None)
    return HTMLExporter().from_notebook_node(nb)[0]


def answer(route, modules):
    "Answer what a page asks for: with itself, with a file of an npm package, or with nothing"
    url = route.request.url
    for pattern, to in SCRIPTS.items():
        if m := re.search(pattern, url.partition("?")[0]):
            return route.fulfill(path=modules/m.expand(to), headers={"Access-Control-Allow-Origin": "*"})
    if url.startswith(("file:", "data:")): return route.continue_()
    route.fulfill(body="", content_type="text/css" if url.endswith("css") else "text/javascript")


@contextmanager
def chromium():
    "A browser"
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=find_browser(), args=FLAGS)
        try: yield browser
        finally: browser.close()


def open_page(browser, text, folder, modules, scripts=True, width=1000, height=900, dark=False):
    "A browser tab with the page `text`, its widgets drawn; its `.errors` are what it complained about"
    file = Path(folder)/f"page_{abs(hash((text, scripts)))}.html"
    file.write_text(text, encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": height}, java_script_enabled=scripts,
                            color_scheme="dark" if dark else "light")
    page.errors = []
    page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.errors.append(str(e)))
    page.route("**/*", lambda route: answer(route, modules))
    page.goto(file.as_uri())
    if scripts and "widget-view+json" in text: page.wait_for_selector(".jupyter-widgets", timeout=60_000)
    page.wait_for_timeout(500)
    return page


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@contextmanager
def served(folder):
    "The address under which the files in `folder` can be read"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f"http://127.0.0.1:{server.server_port}/"
    finally: server.shutdown()


def visit(browser, base, name, modules, width=1280, dark=False):
    "A browser tab with the page `name` of a site; its `.errors` are what it complained about"
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    page.errors = []
    page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.errors.append(str(e)))
    page.on("response", lambda r: page.errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    def reply(route):
        url, kind = route.request.url, route.request.resource_type
        if "@jupyter-widgets" in url or not url.startswith(base): return answer(route, modules)
        if kind != "document": return route.continue_()
        page_ = route.fetch()  # the files from npm are others than those from the CDN: their checksums too
        route.fulfill(response=page_, body=re.sub(r' integrity="[^"]*"', "", page_.text()))
    page.route("**/*", reply)
    page.goto(base + name)
    page.wait_for_timeout(1000)
    return page


def main():
    name, picture, *size = sys.argv[1:]
    width, height = (int(s) for s in (size + ["1000", "0"][len(size):]))
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        modules = packages(Path(tempfile.gettempdir())/"spritediff_npm")
        page = open_page(browser, html(NBS/f"{name}.ipynb"), folder, modules, width=width, height=height or 900)
        page.screenshot(path=picture, full_page=not height)
        for error in page.errors: print(error)


if __name__ == "__main__": main()
