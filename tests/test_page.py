"""The page in headless Chromium."""

import numpy as np
import pytest
from browser import Browser, needs_chromium
from registered import FLAT_LABELS, coarse_and_fine, guesses, register, three_flat

from mlproject.report import build

pytestmark = needs_chromium
HOSTILE = "<img src=x onerror=document.title='hacked'></script><script>document.title='hacked'</script>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return build([*coarse_and_fine(root), *three_flat(root)], tmp_path_factory.mktemp("report"))


@pytest.mark.parametrize(("width", "fitting"), [(1100, ".picture > *"), (390, ".picture")])
def test_the_page_loads_completely_and_does_not_overflow(browser, page, width, fitting):
    browser.open(page, width)
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.images.length") > 5 and browser.value("document.querySelectorAll('svg').length") > 10
    figures = f"[...document.querySelectorAll('{fitting}')]"
    assert browser.value(f"{figures}.filter(one => one.getBoundingClientRect().right > {width}).length") == 0
    assert browser.value("[...document.images].filter(image => !image.naturalWidth).length") == 0
    assert browser.complaints == []


def test_on_a_phone_wide_figures_stay_readable_and_are_moved_sideways(browser, page):
    browser.open(page, 390)
    browser.value("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    width_and_points = "one => [one.getBoundingClientRect().width, one.viewBox.baseVal.width]"
    drawings = browser.value(f"[...document.querySelectorAll('.picture > svg')].map({width_and_points})")
    assert all(width > (0.9 if points > 800 else 0.6) * points for width, points in drawings)
    assert max(drawings)[0] > 800 and min(drawings)[0] < 390
    widths = browser.value("[...document.images].map(one => [one.getBoundingClientRect().width, one.naturalWidth])")
    assert all(width == pytest.approx(min(natural, 864), abs=1) for width, natural in widths)
    frame = "document.querySelector('[aria-label=\"Figure fine.confusion\"]')"
    assert browser.value(f"{frame}.scrollWidth > {frame}.clientWidth")
    assert browser.value("document.documentElement.scrollWidth") <= 390


def test_a_click_sorts_a_table_and_a_second_one_reverses_it(browser, page):
    browser.open(page)
    browser.value("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    find = "document.querySelector('[aria-label^=Fine][role=region] table')"
    column = f"[...{find}.tBodies[0].rows].map(row => row.cells[2].textContent)"
    heading = f"{find}.tHead.rows[0].cells[2]"
    assert browser.value(f"{heading}.textContent").startswith("F1 difference")
    before = browser.value(column)

    def numbers():
        return [float(text.replace("−", "-")) for text in browser.value(column)]

    browser.value(f"{heading}.querySelector('button').click()")
    assert numbers() == sorted(numbers()) and browser.value(f"{heading}.getAttribute('aria-sort')") == "ascending"
    browser.value(f"{heading}.querySelector('button').click()")
    assert numbers() == sorted(numbers(), reverse=True) and sorted(browser.value(column)) == sorted(before)
    assert browser.value(f"{heading}.getAttribute('aria-sort')") == "descending"
    names = f"{find}.tHead.rows[0].cells[0]"
    browser.value(f"{names}.querySelector('button').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
    assert browser.value(f"{names}.getAttribute('aria-sort')") == "ascending"
    assert browser.value(f"{heading}.getAttribute('aria-sort')") is None
    assert browser.complaints == []


def test_numbers_are_sorted_as_numbers_and_missing_ones_stay_last(browser, page):
    browser.open(page)
    sorted_texts = """(() => {
      const table = document.querySelector("table").cloneNode(true);
      const texts = ["1,234", "–", "−0.24", "< 0.0001", "93.13%", "0.05"];
      table.tBodies[0].replaceChildren(...texts.map((text) => {
        const row = document.createElement("tr");
        row.append(document.createElement("td"));
        row.cells[0].textContent = text;
        return row;
      }));
      table.tHead.rows[0].cells[0].className = "number";
      sort(table, 0, false);
      return [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
    })()"""
    assert browser.value(sorted_texts) == ["−0.24", "< 0.0001", "0.05", "93.13%", "1,234", "–"]


def test_everything_is_unfolded_for_printing(browser, page):
    browser.open(page)
    assert browser.value("document.querySelectorAll('details:not([open])').length") > 0
    browser.value("dispatchEvent(new Event('beforeprint'))")
    assert browser.value("document.querySelectorAll('details:not([open])').length") == 0
    browser.value("dispatchEvent(new Event('afterprint'))")
    assert browser.value("document.querySelectorAll('details[open]').length") == 0


def test_a_click_enlarges_a_drawing_and_a_second_one_makes_it_fit_again(browser, page):
    browser.open(page)
    drawing = "document.querySelector('.picture > svg')"
    widths = []
    for _ in range(3):
        widths.append(browser.value(f"{drawing}.getBoundingClientRect().width"))
        browser.value(f"{drawing}.parentElement.click()")
    assert widths[1] > 1.2 * widths[0] and widths[2] == widths[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrasts_with_its_background(browser, page, scheme):
    browser.open(page)
    browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    colours = browser.value("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
    ink, paper = (np.mean([int(part) for part in colour[4:-1].split(",")]) for colour in colours)
    assert (ink < 80 and paper > 240) if scheme == "light" else (ink > 200 and paper < 40)


def test_hostile_names_do_not_run(browser, tmp_path):
    tags = {"comparison": HOSTILE, "labels": "flat", "test.digest": "t", "question": HOSTILE, "experiment": HOSTILE}
    names = ("coat", HOSTILE, "shirt")
    hostile = register(tmp_path, HOSTILE, tags, FLAT_LABELS, guesses(FLAT_LABELS, 3, 1.0), names)
    browser.open(build([hostile], tmp_path / "out"))
    assert browser.value("document.title") == HOSTILE
    assert browser.value("document.scripts.length") == 1
    assert HOSTILE in browser.value("document.querySelector('h1').textContent")
    assert browser.complaints == []
