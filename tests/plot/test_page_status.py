"""Status of Lookout itself on the page: a banner when something is wrong, and when it last reported."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.plot.conftest import Open, address
from tests.plot.site_maker import FEW, FIRST_S, PICTURE, site, tell

pytestmark = pytest.mark.browser

HOUR_S = 3600
EVERYTHING = {
    "broken": True,
    "unsent": 12,
    "dead": 2,
    "unsent_since_s": FIRST_S - 30 * HOUR_S,
    "unsent_reason": "api.sendgrid.com: HTTP 503",
    "failed": 1,
    "failed_drawings": 1,
    "held_back": 30,
    "held_back_since_s": FIRST_S - 2 * HOUR_S,
    "held_back_why": "30 of 60 pictures are gone",
    "watch": {"unwatched": 5},
    "rule_notes": 3,
    "rule_notes_said": ["home.json: rule 'people': the model has no class person: this rule can match nothing"],
    "rules_without_effect": 1,
}


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    return site(tmp_path, FEW, PICTURE)


def at(page: Page, at_s: float) -> None:
    """Have the page be looked at then."""
    page.clock.set_fixed_time(datetime.fromtimestamp(at_s, UTC))
    page.evaluate("drawStatus()")


@pytest.mark.parametrize("kind", ["file", "http"])
def test_all_is_well_and_no_banner_is_shown(visit: Open, page_file: Path, kind: str) -> None:
    with address(page_file, kind) as where:
        page = visit(where)
        expect(page.locator("#trouble")).to_be_hidden()
        expect(page.locator("#reported")).to_contain_text("Last run ended 22 Nov 2025 08:00:00 UTC")
        tell(page_file, watching=True)
        page = visit(where)
        at(page, FIRST_S + 60)
        expect(page.locator("#reported")).to_have_text("Watching; last report 22 Nov 2025 08:00:00 UTC (1 min ago).")
        expect(page.locator("#trouble")).to_be_hidden()


@pytest.mark.parametrize("kind", ["file", "http"])
def test_each_trouble_is_named_with_the_command_that_shows_more(visit: Open, page_file: Path, kind: str) -> None:
    tell(page_file, **EVERYTHING)
    with address(page_file, kind) as where:
        page = visit(where)
        at(page, FIRST_S)
        banner = page.get_by_role("region", name="Lookout needs attention")
        expect(banner).to_be_visible()
        assert banner.locator("b").all_text_contents() == [
            "Lookout ended with an error",
            "12 alerts not sent",
            "1 picture failed",
            "This page is not up to date",
            "The results of 30 pictures are kept though the pictures are gone",
            "1 rule can match nothing",
            "Trouble with the watch",
        ]
        expect(banner).to_contain_text(
            "2 refused for good. The oldest waits since 21 Nov 2025 02:00:00 UTC (1 day ago)"
        )
        expect(banner).to_contain_text("The last error: api.sendgrid.com: HTTP 503")
        expect(banner).to_contain_text("30 of 60 pictures are gone, since 22 Nov 2025 06:00:00 UTC (2 h ago)")
        expect(banner).to_contain_text("5 \u00d7 folder without events")
        assert banner.locator("code").all_text_contents() == [
            "lookout status",
            "lookout alerts list --in pending --in unknown --in dead",
            "lookout datums list --in failed",
            "lookout datums list --stage plot --in failed",
            "lookout status",
            "lookout status",
            "lookout status",
        ]
        expect(banner).to_contain_text("the model has no class person: this rule can match nothing; and 2 more.")


def test_a_watch_that_is_silent_is_told_of_and_a_run_that_ended_is_not(visit: Open, page_file: Path) -> None:
    tell(page_file, watching=True)
    page = visit(page_file)
    at(page, FIRST_S + 290)
    expect(page.locator("#trouble")).to_be_hidden()
    at(page, FIRST_S + HOUR_S)
    expect(page.locator("#trouble b")).to_have_text("Lookout has not reported since 22 Nov 2025 08:00:00 UTC (1 h ago)")
    tell(page_file)
    page = visit(page_file)
    at(page, FIRST_S + HOUR_S)
    expect(page.locator("#trouble")).to_be_hidden()


def test_an_open_page_learns_of_trouble_and_of_its_end(chromium: Browser, page_file: Path) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.clock.install(time=datetime.fromtimestamp(FIRST_S, UTC))
    page.goto(page_file.as_uri())
    expect(page.locator("#reported")).to_contain_text("Last run ended")
    expect(page.locator("#trouble")).to_be_hidden()
    tell(page_file, failed=3)
    page.clock.fast_forward(60_000)
    expect(page.locator("#trouble b")).to_have_text("3 pictures failed")
    tell(page_file)
    page.clock.fast_forward(60_000)
    expect(page.locator("#trouble")).to_be_hidden()
    assert page.locator("script[src*='status.js']").count() == 0, "scripts that were loaded do not pile up"
    context.close()


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=hacked()>", "</script><script>hacked()</script>", "\u2028\"'`${x}"]
)
def test_errors_are_shown_as_text(visit: Open, page_file: Path, text: str) -> None:
    tell(page_file, rule_notes=1, rule_notes_said=[text], rules_without_effect=0)
    page = visit(page_file)
    expect(page.locator("#trouble b")).to_have_text("Rules do not fit the model or the devices")
    expect(page.locator("#trouble li span").first).to_contain_text(text)
    tell(page_file, unsent=1, unsent_reason=text, held_back=1, held_back_since_s=FIRST_S, held_back_why=text)
    page = visit(page_file)
    expect(page.locator("#trouble li span").first).to_contain_text(text)
    expect(page.locator("#trouble li span").last).to_contain_text(text)
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("width_px", [320, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_banner_fits_a_phone(visit: Open, page_file: Path, width_px: int, scheme: str) -> None:
    tell(page_file, **{**EVERYTHING, "unsent_reason": "x" * 300})
    page = visit(page_file, viewport={"width": width_px, "height": 800}, color_scheme=scheme)
    expect(page.locator("#trouble")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width_px


def test_a_page_without_a_report_says_nothing_of_lookout(visit: Open, page_file: Path) -> None:
    (page_file.parent / "status.js").unlink()
    page = visit(page_file, missing="status.js")
    expect(page.locator("#trouble")).to_be_hidden()
    expect(page.locator("#reported")).to_be_hidden()
