"""Chapters with widgets, opened in Chromium as the pages that nbdev and nbconvert make of them, without a kernel."""
import io, re

import numpy as np, pytest
from PIL import Image

import browser
from in_step import STATE, VIEW, notebooks
import nbformat


def views(nb):
    "Ids of the widgets that a notebook shows"
    return [o.data[VIEW]["model_id"] for c in nb.cells if c.cell_type == "code"
            for o in c.outputs if VIEW in o.get("data", {})]


def with_widgets(): return [p.name for p in notebooks() if views(nbformat.read(p, as_version=4))]


@pytest.fixture
def opened(chromium, modules, site_pages, tmp_path):
    "Open the page of a chapter; closed after the test"
    tabs = []
    def open_(name, **kwargs):
        tabs.append(browser.open_page(chromium, browser.html(site_pages[0]/name), tmp_path, modules, **kwargs))
        return tabs[-1]
    yield open_
    for tab in tabs: tab.close()


def scrubbers(page):
    "The boxes that hold a play button"
    boxes = page.locator(".widget-vbox", has=page.locator(".widget-play"))
    assert boxes.count(), "no scrubber came up"
    return [boxes.nth(i) for i in range(boxes.count())]


def picture(box): return np.array(Image.open(io.BytesIO(box.screenshot())).convert("RGB"))
def differ(a, b): return a.shape != b.shape or (a != b).any()
def caption(box): return box.locator("figure:visible").first.evaluate("e => e.parentElement.previousElementSibling.textContent")


@pytest.mark.parametrize("name", with_widgets())
def test_widgets_come_up_without_errors(opened, name):
    page = opened(name)
    shown = page.locator(".jp-OutputArea-output > .widget-vbox, .jp-OutputArea-output .widget-subarea > .widget-vbox")
    assert page.locator("[id^=sd-]").count() == len(views(nbformat.read(browser.NBS/name, as_version=4))) <= shown.count()
    for frame in page.locator("[id^=sd-]").all(): assert not frame.is_visible(), "a widget and its fallback both show"
    assert not page.errors


@pytest.mark.parametrize("name", [n for n in with_widgets() if "mixer" not in n])
def test_scrubbers_move(opened, name):
    page = opened(name)
    for box in scrubbers(page):
        box.scroll_into_view_if_needed()
        handle = box.locator(".noUi-handle")
        handle.focus()
        page.keyboard.press("Home")
        first, said = picture(box), caption(box)
        assert re.search(r"\b1 of \d+", said)
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(100)
        second = picture(box)
        assert re.search(r"\b2 of \d+", caption(box)) and differ(first, second), f"{name}: the arrow key does nothing"
        rail = box.locator(".noUi-base").bounding_box()
        page.mouse.click(rail["x"] + rail["width"] - 2, rail["y"] + rail["height"] / 2)
        page.wait_for_timeout(100)
        count = re.search(r"of (\d+)", said)[1]
        assert f"{count} of {count}" in caption(box) and differ(second, picture(box)), f"{name}: the slider does nothing"
        page.keyboard.press("Home")
        box.locator(".widget-play button").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_function("""([box, said]) => [...box.querySelectorAll('figure')].some(f => f.offsetParent
            && f.parentElement.previousElementSibling.textContent != said)""", arg=[box.element_handle(), said], timeout=5000)
        box.locator(".widget-play button").first.click()
    assert not page.errors


@pytest.mark.parametrize("name", with_widgets())
@pytest.mark.parametrize("width", (1000, 420))
def test_widgets_fit(opened, name, width):
    page = opened(name, width=width)
    for box in page.locator(".jp-OutputArea-output .widget-vbox:visible").all():
        for child in box.locator("img:visible, .noUi-base, button:visible").all():
            area = child.bounding_box()
            assert area["x"] >= 0 and area["x"] + area["width"] <= width, f"{name}: cut off at a width of {width}"


@pytest.mark.parametrize("name", with_widgets())
def test_a_picture_without_scripts(opened, name):
    page = opened(name, scripts=False)
    frames = page.locator("[id^=sd-]")
    assert frames.count() == len(views(nbformat.read(browser.NBS/name, as_version=4)))
    for i in range(frames.count()):
        image = frames.nth(i).locator("img").first
        assert image.is_visible() and min(image.bounding_box()[side] for side in ("width", "height")) > 30
        assert len(set(map(tuple, picture(image).reshape(-1, 3)))) > 2, "the picture is empty"


@pytest.mark.parametrize("name", [p.name for p in notebooks()])
def test_pages_fit(opened, name):
    "Nothing sticks out of a page, on a screen and on a phone; its pictures are there"
    page = opened(name, width=1280)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(100)
        assert not page.evaluate(browser.STICK_OUT), f"{name} at a width of {width}"
    assert not page.evaluate(browser.BROKEN), name
    assert not page.errors, name


BAD_PAGE = """<body style="margin:0"><div style="width:700px">wide</div><img src="data:image/png;base64,AAAA" width=9 height=9>
<script>console.error("broken")</script>"""


def test_pages_that_do_not_fit_are_found(chromium, modules, tmp_path):
    page = browser.open_page(chromium, BAD_PAGE, tmp_path, modules, width=390)
    assert len(page.evaluate(browser.STICK_OUT)) == 1 and "wide" in page.evaluate(browser.STICK_OUT)[0]
    assert len(page.evaluate(browser.BROKEN)) == 1 and page.errors == ["broken"]
    page.close()


def test_mixer_says_that_it_needs_a_kernel(opened):
    page = opened(next(n for n in with_widgets() if "mixer" in n))
    assert page.locator(".sd-needs-kernel").first.is_visible()
    assert page.locator(".noUi-handle").count() >= 7 and page.locator("button:has-text('Generate')").is_visible()
    assert page.locator(".widget-vbox figure img:visible").count() >= 1


@pytest.mark.parametrize("name", with_widgets())
def test_size_of_widgets(name):
    "At most 600 KB of state for each box, found by what hangs together with it"
    from in_step import linked
    import json
    nb = nbformat.read(browser.NBS/name, as_version=4)
    state = nb.metadata["widgets"][STATE]["state"]
    for view in views(nb):
        size = sum(len(json.dumps(state[i])) for i in linked(state, [view]))
        assert size <= 620_000, f"{name}: a widget of {size:,} bytes"


@pytest.mark.parametrize("name", [p.name for p in notebooks()])
def test_pictures_are_described(name):
    for cell in nbformat.read(browser.NBS/name, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind in data.keys() & {"image/png", "image/jpeg"}:
                assert len(output.metadata.get(kind, {}).get("alt", "")) > 10, f"{name}, cell {cell.id}: no fig-alt"
            for tag in re.findall(r"<img\b[^>]*>", "".join(data.get("text/html", ""))):
                assert re.search(r'\balt="[^"]{4,}"', tag), f"{name}, cell {cell.id}: an image without a description"


def test_all_notebooks_fit_into_25_mb(): assert sum(p.stat().st_size for p in notebooks()) < 25e6
