"""Events on the page, in a real Chromium: one card an event, and what stands behind it or was held back on demand."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lookout.domain.records import Member
from tests.plot.conftest import Open, address
from tests.plot.site_maker import DAY_S, FIRST_S, PICTURE, RULE2, decided, settled, site, stems, threat, visit_of

pytestmark = pytest.mark.browser

COOLDOWN = {"told_by": f"porch_{FIRST_S}.jpg", "told_at_s": float(FIRST_S), "left_s": 60.0}
HELD = decided(
    threat(f"porch_{FIRST_S + 540}.jpg", "car", rules=[RULE2]),
    "cooldown",
    event=f"porch_{FIRST_S + 540}.jpg",
    **COOLDOWN,
)


def visits(members: list[Member]) -> list[Member]:
    return [*members, HELD]


@pytest.fixture(params=["file", "http"])
def page(request: pytest.FixtureRequest, visit: Open, tmp_path: Path) -> Iterator[Page]:
    path = site(tmp_path, visits(visit_of("porch", FIRST_S, 70)), PICTURE)
    with address(path, request.param) as where:
        yield visit(where)


def loaded(page: Page) -> list[str]:
    sources = page.locator("script[src]").evaluate_all("all => all.map((script) => script.src)")
    return sorted(found[0] for source in sources if (found := re.search(r"data/[^?]*", source)))


def test_an_event_is_one_card_that_says_how_many_pictures_it_has(page: Page) -> None:
    settled(page, "71 threats, 1 event")
    assert stems(page) == [f"porch/{FIRST_S}"]
    card = page.locator(".card")
    expect(card.locator(".stands")).to_have_text("70 pictures")
    expect(card.locator(".severity")).to_have_text("alarm")
    expect(card.locator(".zone")).to_have_text("drive")
    expect(card.locator("time")).to_have_text("08:00\u201308:05")
    assert loaded(page) == ["data/porch/2025-11-22.js"]


def test_the_pictures_behind_an_event_are_loaded_on_demand_with_their_reasons(page: Page) -> None:
    page.locator(".card").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".account")).to_have_text("70 pictures: 1 told at once, 69 of an event that was told")
    assert loaded(page) == ["data/porch/2025-11-22.js"]
    dialog.get_by_role("button", name="Show all 70 with their reasons").click()
    expect(dialog.locator(".others img")).to_have_count(60)
    assert loaded(page) == ["data/porch/2025-11-22.js", "data/porch/2025-11-22.others.js"]
    expect(dialog.locator(".others li").nth(1)).to_contain_text(
        "Of this event the person was told 5 s before this picture"
    )
    dialog.get_by_role("button", name="Show 10 more").click()
    expect(dialog.locator(".others img")).to_have_count(70)
    dialog.locator(".others a").nth(69).click()
    expect(dialog).to_contain_text("of an event that was told: Of this event the person was told")
    page.reload()
    expect(dialog).to_contain_text("of an event that was told: Of this event the person was told")


def test_what_was_held_back_is_shown_on_demand_with_its_reason(page: Page) -> None:
    page.get_by_role("button", name="Show 1 picture held back").click()
    settled(page, "71 threats, 2 events")
    assert stems(page) == [f"porch/{FIRST_S + 540}", f"porch/{FIRST_S}"]
    held = page.locator(".card.held")
    expect(held).to_contain_text("not told: within the cooldown")
    held.click()
    expect(page.get_by_role("dialog")).to_contain_text("the cooldown of 10 min ends 1 min after this picture")
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Hide what was held back").click()
    settled(page, "71 threats, 1 event")


def test_an_event_that_several_devices_saw_is_one_card(visit: Open, tmp_path: Path) -> None:
    first = visit_of("porch", FIRST_S, 3, place="home")
    seen = {"event": f"porch_{FIRST_S}.jpg", "told_by": f"porch_{FIRST_S}.jpg", "told_at_s": float(FIRST_S)}
    second = [
        decided(threat(f"gate_{FIRST_S + 25}.jpg", "car", rules=[RULE2]), "merged_event", place="home", **seen),
        decided(threat(f"gate_{FIRST_S + 50}.jpg", "car", rules=[RULE2]), "merged_event", place="home", **seen),
    ]
    page = visit(site(tmp_path, [*first, *second], PICTURE))
    settled(page, "5 threats, 1 event")
    expect(page.locator(".card .stands")).to_have_text("5 pictures")
    assert page.locator(".card .chip").all_text_contents() == ["person", "car", "drive"]
    page = visit(tmp_path / "plot" / "index.html", "#class=car")
    assert stems(page) == [f"gate/{FIRST_S + 25}"], "no device but this one saw a car"
    page = visit(tmp_path / "plot" / "index.html", "#device=gate")
    assert stems(page) == [f"gate/{FIRST_S + 25}"]


def test_two_events_that_were_one_in_the_end_are_one_card(visit: Open, tmp_path: Path) -> None:
    joined = [*visit_of("porch", FIRST_S, 2), *visit_of("porch", FIRST_S + 100, 2)]
    page = visit(site(tmp_path, joined, PICTURE))
    expect(page.locator(".card .stands")).to_have_text("4 pictures")
    assert stems(page) == [f"porch/{FIRST_S}"]


def test_all_held_back_is_said(visit: Open, tmp_path: Path) -> None:
    page = visit(site(tmp_path, [HELD], PICTURE))
    expect(page.locator("#gallery")).to_contain_text("All that matches these filters was held back")
    expect(page.get_by_role("button", name="Show 1 picture held back")).to_be_visible()


@pytest.mark.parametrize("width_px", [360, 390])
def test_events_fit_a_phone(visit: Open, tmp_path: Path, width_px: int) -> None:
    long = {**RULE2, "name": "r" * 200, "user": "u" * 200, "zones": ["z" * 120]}
    path = site(tmp_path, visits(visit_of("porch", FIRST_S, 5, long)), PICTURE)
    page = visit(path, "#held=1", viewport={"width": width_px, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width_px
    page.locator(".card").last.click()
    page.get_by_role("button", name="Show all 5 with their reasons").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".others img")).to_have_count(5)
    assert dialog.evaluate("(e) => e.scrollWidth - e.clientWidth") <= 0


def test_a_hundred_thousand_pictures_cost_what_is_shown(visit: Open, tmp_path: Path) -> None:
    """50 devices on 20 days, ten visits of ten pictures each a day and device."""
    members = [
        member
        for device in range(50)
        for day in range(20)
        for hour in range(10)
        for member in visit_of(f"cam{device}", FIRST_S - day * DAY_S + hour * 3600 + device, 10, place=f"cam{device}")
    ]
    path = site(tmp_path, members)
    started_s = time.perf_counter()
    page = visit(path, missing=".jpg")
    first_s = time.perf_counter() - started_s
    read = path.stat().st_size + sum((path.parent / name).stat().st_size for name in loaded(page))
    assert len(loaded(page)) == 50, "one part a device, of the newest day"
    assert read < 2_000_000
    assert first_s < 5
