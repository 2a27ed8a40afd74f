"""The page with much, little room, hostile words and missing parts, and what its policy refuses."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.plot.conftest import Open
from tests.plot.site_maker import FEW, FIRST_S, PICTURE, RULE, settled, site, stems, threat

pytestmark = pytest.mark.browser

SCROLL = """async () => {
  for (let frame = 0; frame < 5000 && !document.getElementById("more").hidden; frame += 1) {
    scrollTo(0, document.body.scrollHeight);
    await new Promise(requestAnimationFrame);
  }
}"""


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    members = [
        threat(f"cam{n % 10}_{FIRST_S - 1800 * n}.jpg", *(["person", "car", "dog"][: 1 + n % 3])) for n in range(1000)
    ]
    return site(tmp_path_factory.mktemp("thousand"), members, PICTURE)


def test_a_thousand_threats_come_as_one_scrolls(visit: Open, thousand: Path) -> None:
    started_s = time.perf_counter()
    page = visit(thousand)
    first_s = time.perf_counter() - started_s
    settled(page, "1,000 threats")
    loaded = page.locator("script[src]").count()
    all_partitions = len(list(thousand.parent.glob("data/*/*.js")))
    assert loaded < all_partitions / 3
    assert len(stems(page)) <= 96
    assert page.evaluate("document.querySelectorAll('*').length") < 2000
    assert first_s < 5, "the first cards wait for their own partitions only"
    page.evaluate(SCROLL)
    expect(page.locator("#more")).to_be_hidden()
    shown = stems(page)
    assert len(shown) == len(set(shown)) == 1000
    times = [int(stem.split("/")[1]) for stem in shown]
    assert times == sorted(times, reverse=True)
    assert page.evaluate("document.querySelectorAll('*').length") < 25_000


def test_a_filter_loads_only_what_it_needs(visit: Open, thousand: Path) -> None:
    page = visit(thousand, "#device=cam3&day=2025-11-20")
    scripts = page.locator("script[src]").evaluate_all("all => all.map((script) => script.src)")
    assert [re.search(r"data/.*\.js", source)[0] for source in scripts] == ["data/cam3/2025-11-20.js"]
    assert all(stem.startswith("cam3/") for stem in stems(page))


@pytest.mark.parametrize("width_px", [360, 390, 768])
def test_nothing_sticks_out_on_a_small_screen(visit: Open, tmp_path: Path, width_px: int) -> None:
    long = {**RULE, "name": "r" * 300, "user": "u" * 300, "key": "k" * 300}
    device = "d" * 63
    members = [threat(f"{device}_{FIRST_S}.jpg", "person", "l" * 120, rules=[long]), *FEW]
    counts = {"pictures": 2, "invalid": 2, f"invalid:{'x' * 80}": 2}
    page = visit(site(tmp_path, members, PICTURE, **{"-__-": counts}), viewport={"width": width_px, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width_px
    page.locator(f'[data-threat="{device}/{FIRST_S}"]').click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert dialog.evaluate("(e) => e.scrollWidth - e.clientWidth") <= 0
    assert page.evaluate("document.documentElement.scrollWidth") == width_px


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=hacked()>",
        "</script><script>hacked()</script>",
        "\u2028\"'`${hacked()}",
        "javascript:hacked()",
    ],
)
def test_hostile_words_are_shown_as_words(visit: Open, tmp_path: Path, text: str) -> None:
    rule = {**RULE, "name": text, "user": text, "key": text}
    page = visit(site(tmp_path, [threat(f"porch_{FIRST_S}.jpg", text, rules=[rule])], PICTURE))
    page.locator("[data-threat]").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".rule").last).to_have_text(f"{text} for {text}")
    assert page.locator("#by-class option").nth(1).text_content() == f"{text} (1)"
    assert page.locator("img[src=x]").count() == 0
    page.get_by_role("button", name="Close").click()
    page.get_by_role("combobox", name="Class").select_option(text)
    settled(page, "1 threat")


@pytest.mark.parametrize(
    "folder", ["a b", "50% off", "what?", "#1", "quote\"'s", "ночь/猫", "<b>", "a&b=c+d", "%2e%2e"]
)
def test_pictures_are_found_whatever_their_folder_is_called(visit: Open, tmp_path: Path, folder: str) -> None:
    page = visit(site(tmp_path, [threat(f"{folder}/porch_{FIRST_S}.jpg", "person")], PICTURE))
    expect(page.locator("#gallery img")).to_have_js_property("naturalWidth", 64)
    page.locator("[data-threat]").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("person at porch")
    dialog.get_by_role("button", name="Without boxes").click()
    expect(dialog.locator("img")).to_have_js_property("naturalWidth", 64)
    page.reload()
    expect(dialog).to_contain_text("person at porch")


def test_what_is_missing_is_said_and_the_rest_is_shown(visit: Open, tmp_path: Path) -> None:
    path = site(tmp_path, FEW, PICTURE)
    (path.parent / "data" / "gate" / "2025-11-21.js").unlink()
    page = visit(path, missing="gate/2025-11-21.js")
    expect(page.locator("#gallery")).to_contain_text("1 part of the gallery could not be loaded")
    assert len(stems(page)) == 4
    page = visit(site(tmp_path / "bare", FEW[:1]), missing=".jpg")
    expect(page.locator("#gallery .frame")).to_have_text("Picture not found")


def test_the_policy_refuses_what_the_page_did_not_bring(visit: Open, few: Path, chromium: Browser) -> None:
    context = chromium.new_context()
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(few.as_uri())
    tries = [
        "document.body.innerHTML = '<b>x</b>'",
        "document.createElement('script').src = 'data/other.js'",
        "document.createElement('script').text = 'hacked()'",
        "policy.createScriptURL('data/other.js')",
    ]
    for attempt in tries:
        assert page.evaluate(f"(() => {{ try {{ {attempt}; return false; }} catch {{ return true; }} }})()"), attempt
    page.evaluate("document.body.append(Object.assign(document.createElement('img'), { src: 'http://127.0.0.1:9/x' }))")
    expect(page.locator("body")).to_be_visible()
    assert any("Content Security Policy" in text for text in refused)
    context.close()
