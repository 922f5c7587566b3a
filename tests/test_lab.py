"""The live panel and a scrubber in JupyterLab, in the browser: buttons pressed, answers read, another cell run meanwhile."""
import os, re, subprocess, sys, time, urllib.request

import nbformat, pytest

import browser

CELLS = ["import spritediff as sd, torch; torch.set_num_threads(1); mixer = sd.context_mixer(n=2); mixer",
         "print('answer', 6 * 7)",
         "sd.scrubber(torch.linspace(-1, 1, 5)[:, None, None, None, None].expand(5, 2, 3, 8, 8))"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "JupyterLab with one notebook; the address of the notebook"
    if why := browser.missing(): pytest.skip(why)
    pytest.importorskip("jupyterlab")
    folder = tmp_path_factory.mktemp("lab")
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS],
                                  metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python")))
    nbformat.write(nb, folder/"panel.ipynb")
    log = folder/"log.txt"
    env = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(browser.ROOT), "SPRITEDIFF_DEVICE": "cpu"}
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
                               "--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}",
                               "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"],
                              cwd=folder, env=env, stdout=log.open("w"), stderr=subprocess.STDOUT)
    try:
        for _ in range(240):
            if m := re.search(r"http://127\.0\.0\.1:\d+/lab", log.read_text()): break
            assert server.poll() is None, log.read_text()
            time.sleep(.5)
        yield m[0] + "/tree/panel.ipynb"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def page(lab):
    with browser.chromium() as b:
        page = b.new_page(viewport=dict(width=1200, height=1100))
        page.goto(lab)
        page.locator(".jp-Notebook .jp-CodeCell").nth(2).wait_for(timeout=60_000)
        page.get_by_text("(ipykernel) | Idle").first.wait_for(timeout=60_000)  # a cell run before that is lost
        yield page


def run(page, i):
    "Run cell i"
    page.locator(".jp-CodeCell .jp-InputArea-editor").nth(i).click()
    page.keyboard.press("Control+Enter")


def output(page, i): return page.locator(".jp-CodeCell").nth(i).locator(".jp-Cell-outputArea")


def test_panel(page):
    run(page, 0)
    panel = output(page, 0)
    panel.locator("button:has-text('Generate')").wait_for(timeout=120_000)
    assert not panel.locator(".sd-needs-kernel").is_visible(), "a live panel needs no kernel"
    panel.locator("input[type=number]").first.fill("3")
    panel.locator("input[type=number]").first.press("Enter")
    panel.locator("button:has-text('Generate')").click()
    panel.get_by_text("Done: hero 1; ddim, 25 steps, guidance 1, seed 3").wait_for(timeout=120_000)
    assert panel.locator("figure img").first.is_visible()
    hero = panel.locator(".noUi-handle").first
    hero.focus()
    page.keyboard.press("ArrowLeft")
    panel.locator("button:has-text('Generate')").click()
    panel.get_by_text("Done: hero 0.9; ddim").wait_for(timeout=120_000)
    assert panel.get_by_text("Before").is_visible() and panel.locator("figure img").count() == 2


def test_kernel_answers_while_sampling(page):
    panel = output(page, 0)
    panel.locator("select").select_option("ddpm")
    panel.locator("button:has-text('Generate')").click()
    panel.get_by_text(re.compile(r"step \d+ of 500")).wait_for(timeout=60_000)
    run(page, 1)
    output(page, 1).get_by_text("answer 42").wait_for(timeout=30_000)
    assert panel.get_by_text(re.compile(r"step \d+ of 500")).count(), "the other cell waited for the sampler"
    panel.locator("button:has-text('Cancel')").click()
    panel.get_by_text("Cancelled.").wait_for(timeout=30_000)
    assert panel.locator("button:has-text('Generate')").is_enabled()


def test_live_scrubber(page):
    run(page, 2)
    box = output(page, 2)
    box.locator(".noUi-handle").wait_for(timeout=60_000)
    assert not box.locator("[id^=sd-]").is_visible(), "the frame for pages without scripts shows as well"
    box.locator(".noUi-handle").focus()
    page.keyboard.press("Home")
    assert box.get_by_text("step 1 of 5").is_visible()
    if folder := os.environ.get("SPRITEDIFF_SCREENSHOTS"): page.screenshot(path=f"{folder}/lab.png")
