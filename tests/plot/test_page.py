"""The page in a real Chromium, from file: and over HTTP: what it shows, how it filters and links."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.plot.conftest import Open
from tests.plot.site_maker import DAY_S, FEW, FIRST_S, RULE, settled, site, stems

pytestmark = pytest.mark.browser


# --- what it shows ---------------------------------------------------------------------------------------------------


def test_it_shows_sums_charts_and_threats_from_anywhere(visit: Open, anywhere: Path | str) -> None:
    page = visit(anywhere)
    headline = dict(zip(*(page.locator(f"#headline {tag}").all_text_contents() for tag in ("dt", "dd")), strict=True))
    assert (headline["Pictures"], headline["Valid"], headline["Threats"], headline["Devices"]) == ("9", "6", "5", "3")
    assert headline["Invalid"].startswith("3")
    assert "22 Nov 2025 08:01:00 UTC" in headline["Last picture"]
    assert page.locator("#chart-threats li").all_text_contents() == ["gate2", "porch2", "yard1"]
    assert page.locator("#chart-invalid li").all_text_contents() == ["truncated2", "name1"]
    assert page.locator("#chart-seen tbody tr td:first-child").all_text_contents() == ["yard", "gate", "porch"]
    labels = page.locator("#chart-days [aria-label]").evaluate_all("all => all.map((e) => e.ariaLabel)")
    assert labels[-1] == "22 Nov 2025: 4 objects, person 2, car 2"
    assert stems(page) == [
        f"porch/{FIRST_S + 60}",
        f"gate/{FIRST_S + 30}",
        f"porch/{FIRST_S}",
        f"gate/{FIRST_S - DAY_S}",
        f"a b/yard/{FIRST_S - 2 * DAY_S}",
    ]
    assert page.locator("#gallery h3").all_text_contents()[0] == "Saturday, 22 November 2025"
    expect(page.locator("#gallery img").first).to_have_js_property("naturalWidth", 64)
    for name in ("threats", "days", "invalid", "last_seen"):
        assert page.locator(f'a.png[href="{name}.png"]').count() == 1


def test_ages_are_told_from_the_browsers_clock(visit: Open, few: Path, chromium: Browser) -> None:
    page = visit(few)
    page.clock.set_fixed_time(datetime.fromtimestamp(FIRST_S + 60 + 3 * 3600, UTC))
    page.evaluate("drawHeadline(), drawSeen()")
    assert page.locator("#headline dd").last.text_content().startswith("3 h ago")
    assert page.locator("#chart-seen tbody td:last-child").all_text_contents() == ["2 days", "3 h", "3 h"]
    page.clock.set_fixed_time(datetime.fromtimestamp(FIRST_S - DAY_S, UTC))
    page.evaluate("drawSeen()")
    assert page.locator("#chart-seen tbody td:last-child").last.text_content() == "clock is ahead"


def test_nothing_yet_is_said_kindly(visit: Open, tmp_path: Path) -> None:
    page = visit(site(tmp_path / "none", []))
    expect(page.locator("#gallery")).to_contain_text("Nothing here yet")
    expect(page.locator("#headline")).to_contain_text("none yet")
    page = visit(site(tmp_path / "calm", [], **{"porch__2025-11-22": {"pictures": 3, "valid": 3}}))
    expect(page.locator("#gallery")).to_contain_text("No threats so far")
    expect(page.locator("#chart-invalid")).to_contain_text("No invalid pictures")


# --- filters and links -----------------------------------------------------------------------------------------------


def test_filters_combine_count_and_are_kept_in_the_address(visit: Open, anywhere: Path | str) -> None:
    page = visit(anywhere)
    assert page.locator("#by-device option").all_text_contents() == ["All devices", "gate (2)", "porch (2)", "yard (1)"]
    assert page.locator("#by-class option").all_text_contents()[1:3] == ["car (2)", "person (2)"]
    page.get_by_role("combobox", name="Device").select_option("gate")
    settled(page, "2 threats")
    assert page.url.endswith("#device=gate")
    assert page.locator("#by-class option").all_text_contents() == ["All classes", "car (1)", "truck (1)"]
    page.get_by_role("combobox", name="Class").select_option("car")
    settled(page, "1 threat")
    assert page.url.endswith("#device=gate&class=car")
    assert stems(page) == [f"gate/{FIRST_S + 30}"]
    page.go_back()
    settled(page, "2 threats")
    page.get_by_role("button", name="Clear").click()
    settled(page, "5 threats")
    expect(page.get_by_role("combobox", name="Device")).to_be_focused()


def test_a_filtered_link_can_be_shared(visit: Open, few: Path) -> None:
    page = visit(few, "#class=car&day=2025-11-22")
    settled(page, "2 threats")
    assert stems(page) == [f"porch/{FIRST_S + 60}", f"gate/{FIRST_S + 30}"]
    expect(page.get_by_role("combobox", name="Class")).to_have_value("car")
    expect(page.get_by_role("combobox", name="Day")).to_have_value("2025-11-22")
    page = visit(few, "#device=nobody&colour=red")
    settled(page, "0 threats")
    page.get_by_role("link", name="Show all").click()
    settled(page, "5 threats")


def test_a_bar_and_a_column_filter(visit: Open, few: Path) -> None:
    page = visit(few)
    page.get_by_role("link", name="yard", exact=True).click()
    settled(page, "1 threat")
    expect(page.locator("#threats")).to_be_focused()
    expect(page.locator("#days-scope")).to_contain_text("yard")
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("link", name="21 Nov 2025: 1 object, truck 1").click()
    settled(page, "1 threat")
    page.get_by_role("button", name="Months").click()
    assert page.locator("#chart-days .tick").all_text_contents() == ["Nov2025"]
    page.get_by_role("button", name="Weeks").click()
    assert page.locator("#chart-days .stack b").all_text_contents() == ["6"]


def test_it_works_with_the_keyboard_alone(visit: Open, few: Path) -> None:
    page = visit(few)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the threats")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#threats")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("combobox", name="Device")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.locator("[data-threat]").first).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("person, car at porch")
    page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("car at gate")
    page.keyboard.press("ArrowLeft")
    expect(dialog).to_contain_text("person, car at porch")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert "threat=" not in page.url


# --- one threat ------------------------------------------------------------------------------------------------------


def test_a_threat_in_full_with_its_proof(visit: Open, anywhere: Path | str) -> None:
    page = visit(anywhere)
    page.locator("[data-threat]").first.click()
    dialog = page.get_by_role("dialog", name="person, car at porch")
    expect(dialog).to_be_visible()
    assert page.url.endswith(f"#threat=porch%2F{FIRST_S + 60}")
    expect(dialog.locator("img")).to_have_js_property("naturalWidth", 64)
    assert dialog.locator(".objects b").all_text_contents() == ["0.92", "0.85"]
    expect(dialog).to_contain_text("people at the door for ada")
    member = FEW[1]
    picture = member.facts["picture"]
    assert isinstance(picture, dict)
    assert dialog.locator("code").all_text_contents() == [
        picture["sha256"],
        member.facts["model"]["sha256"],
        RULE["sha256"],
        member.hash,
        f"lookout trace threat-detect/porch/{FIRST_S + 60}.jpg",
    ]
    dialog.get_by_role("button", name="Without boxes").click()
    source = dialog.locator("img").get_attribute("src")
    assert source == f"../validate/valid/porch_{FIRST_S + 60}.jpg"
    expect(dialog.locator("img")).to_have_js_property("naturalWidth", 64)
    page.go_back()
    expect(dialog).to_be_hidden()


def test_a_copy_button_copies(visit: Open, few: Path) -> None:
    page = visit(few, f"#threat=a b/yard/{FIRST_S - 2 * DAY_S}", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy trace it").click()
    expect(page.get_by_role("button", name="Copy trace it")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"lookout trace 'threat-detect/a b/yard/{FIRST_S - 2 * DAY_S}.jpg'"


def test_a_link_opens_a_threat_that_the_filters_hide_or_says_that_it_is_gone(visit: Open, few: Path) -> None:
    page = visit(few, f"#device=gate&threat=porch/{FIRST_S}")
    expect(page.get_by_role("dialog")).to_contain_text("person at porch")
    page.get_by_role("button", name="Close").click()
    settled(page, "2 threats")
    for gone in (f"porch/{FIRST_S + 1}", "nowhere/1", "x", "porch/99999999999999999999"):
        page = visit(few, f"#threat={gone}")
        expect(page.get_by_role("dialog")).to_contain_text("Not found")
