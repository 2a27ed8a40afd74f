"""The charts as PNG: sane sizes from nothing to a lot, the same bytes for the same sums, other bytes for others."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date, timedelta

import pytest

from lookout.domain.records import Tally
from stages.plot import charts
from stages.plot.canvas import Canvas
from stages.plot.summary import Summary, summarise

DRAW = [charts.threats, charts.days, charts.invalid, charts.last_seen]
Draw = Callable[[Summary], bytes]


def sums(devices: int, days: int, label: str = "person") -> Summary:
    """A summary of devices with one picture of each kind a day."""
    end = date(2025, 11, 22)
    return summarise(
        Tally(
            group=f"device-{d:03d}/{end - timedelta(days=n)}",
            counts={"pictures": 3, "invalid": 1, f"invalid:reason-{d % 3}": 1, "threats": 1, f"threat:{label}": 1 + d},
            last_at_s=1763798400.0 - 86_400 * n - 977 * d,
        )
        for d in range(devices)
        for n in range(days)
    )


def size_px(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.parametrize("draw", DRAW)
@pytest.mark.parametrize(("devices", "days"), [(0, 0), (1, 1), (5, 14), (50, 40)])
def test_a_chart_has_the_page_width_and_a_bounded_height(draw: Draw, devices: int, days: int) -> None:
    png = draw(sums(devices, days))
    width_px, height_px = size_px(png)
    assert width_px == 1350
    assert 200 <= height_px <= 1400
    assert len(png) < 250_000


@pytest.mark.parametrize("draw", DRAW)
def test_the_same_sums_give_the_same_bytes_and_others_others(draw: Draw) -> None:
    assert draw(sums(3, 3)) == draw(sums(3, 3))
    drawn = {draw(sums(devices, days)) for devices, days in ((0, 0), (1, 1), (2, 1), (3, 3))}
    assert len(drawn) == 4
    assert b"atplotlib" not in draw(sums(3, 3)), "a new matplotlib alone must not change a chart's metadata"


def test_a_number_is_in_the_picture() -> None:
    one = [Tally(group="gate/2025-11-22", counts={"pictures": 9, "threats": n, "threat:car": n}) for n in (7, 8)]
    assert charts.threats(summarise(one[:1])) != charts.threats(summarise(one[1:]))
    assert charts.days(summarise(one[:1])) != charts.days(summarise(one[1:]))


@pytest.mark.parametrize("label", ["$\\frac{1}{2}$", "猫", "a\nb\x00", "%s {0} ' \" <b>", "w" * 500, ""])
def test_any_label_can_be_drawn(label: str) -> None:
    assert size_px(charts.days(sums(1, 2, label)))[0] == 1350


def test_a_long_text_keeps_its_ends() -> None:
    canvas = Canvas(100, 100)
    cut = canvas.fit("barn-north-east.camera-0001", 13, width_px=120)
    assert cut.startswith("barn")
    assert cut.endswith("01")
    assert "…" in cut
    assert canvas.measure(cut, 13) <= 120
    assert canvas.fit("gate", 13, width_px=120) == "gate"
    assert canvas.fit("gate", 13, width_px=3) == "…"
