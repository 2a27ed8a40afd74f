"""The four charts as PNG: threats per device, objects per day, reasons of invalid pictures, devices last seen.

Each is a function from a summary to bytes, the same for the same summary; times are absolute and in UTC. All stay
readable from no device to hundreds: what does not fit is added up and said so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final

from stages.plot.canvas import INK, MUTED, PAPER, RULE, Canvas
from stages.plot.summary import Summary, slots_of_colour, top, window

PALETTE: Final = ("#d55e00", "#0072b2", "#56b4e9", "#e69f00", "#009e73", "#cc79a7")
"""By Okabe and Ito, told apart with any colour vision; without their yellow, which is too pale for bars on white."""
OTHERS: Final = "#8a93a0"
_WHITE_TEXT_ON: Final = (PALETTE[0], PALETTE[1])

_WIDTH_PX: Final = 900.0
_MARGIN_PX: Final = 28.0
_TOP_PX: Final = 84.0
_ROW_PX: Final = 30.0
_MAX_ROWS: Final = 16
_MAX_PANELS: Final = 6
_PANELS_PX: Final = 700.0
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
_STEPS_S: Final = (
    *(_HOUR_S * n for n in (1, 3, 6, 12)),
    *(_DAY_S * n for n in (1, 2, 7, 14, 30, 60, 120, 365, 730, 1825)),
)


def threats(summary: Summary) -> bytes:
    """Bars: pictures with a threat, per device; the rest of many devices as one number."""
    ranked = sorted(((device.name, device.threats) for device in summary.devices), key=lambda row: (-row[1], row[0]))
    subtitle = f"{_count(summary.threats, 'picture')} with a threat, {_count(len(summary.devices), 'device')}"
    nothing = "No device has sent a picture yet."
    return _bars("Threats per device", subtitle, ranked, "{} other devices", PALETTE[0], nothing)


def invalid(summary: Summary) -> bytes:
    """Bars: invalid pictures per reason code."""
    share = f" ({summary.invalid / summary.pictures:.1%})" if summary.pictures else ""
    subtitle = f"{summary.invalid:,} of {_count(summary.pictures, 'picture')}{share}"
    nothing = "No invalid pictures."
    return _bars("Invalid pictures by reason", subtitle, summary.reasons, "{} other reasons", PALETTE[1], nothing)


def days(summary: Summary) -> bytes:
    """One panel a device, one column a day, stacked by class: how many threatening objects were seen, in numbers."""
    shown = window(summary)
    per_device: dict[str, dict[str, Counter[str]]] = {}
    for part in summary.partitions:
        if shown and shown[0] <= part.day:
            per_device.setdefault(part.device, {}).setdefault(part.day, Counter()).update(part.objects)
    if not shown:
        return _empty("Threatening objects per device and day", "No threats in the last days.")
    panels = _panels(per_device)
    colours = {label: PALETTE[slot] for label, slot in slots_of_colour(summary.classes).items()}
    panel_px = min(_PANELS_PX / len(panels), 200.0)
    canvas = Canvas(_WIDTH_PX, _TOP_PX + 26 + panel_px * len(panels) + 34)
    span = _day(shown[0]) if len(shown) == 1 else f"{_day(shown[0])} to {_day(shown[-1])}"
    _title(canvas, "Threatening objects per device and day", f"{span} (UTC), stacked by class")
    seen: Counter[str] = Counter()
    for _, by_day in panels:
        for counts in by_day.values():
            seen.update(counts)
    _legend(canvas, seen, colours)
    highest = max(_highest(by_day) for _, by_day in panels[: _MAX_PANELS - 1])
    for index, (name, by_day) in enumerate(panels):
        y_px = _TOP_PX + 26 + panel_px * index
        columns = [by_day.get(day, Counter()) for day in shown]
        scale = highest if name in per_device else _highest(by_day)
        _panel(canvas, y_px, panel_px, name, columns, max(scale, _highest(by_day)), colours)
    for index, day in enumerate(shown):
        x_px, width_px = _column(index, len(shown))
        label = f"{date.fromisoformat(day):%-d %b}"
        canvas.text(x_px + width_px / 2, canvas.height_px - 18, label, size_px=11, colour=MUTED, align="center")
    return canvas.png()


def last_seen(summary: Summary) -> bytes:
    """Draw a dot per device at the time of its newest picture, the longest silent first."""
    seen = sorted((d.last_at_s, d.name) for d in summary.devices if d.last_at_s is not None)
    if not seen:
        return _empty("Last picture per device", "No device has sent a picture yet.")
    rows = seen[: _MAX_ROWS + 4]
    which = (
        f"the {len(rows)} longest silent of {len(seen)} devices"
        if len(rows) < len(seen)
        else _count(len(seen), "device")
    )
    canvas = Canvas(_WIDTH_PX, _TOP_PX + _ROW_PX * len(rows) + 42)
    _title(canvas, "Last picture per device", f"{which}, times in UTC")
    left_px = _label_column(canvas, [name for _, name in rows])
    right_px = _WIDTH_PX - _MARGIN_PX - 150
    start_s, end_s, step_s = _axis(rows[0][0], rows[-1][0])
    bottom_px = _TOP_PX + _ROW_PX * len(rows)
    for tick_s in range(start_s, end_s + 1, step_s):
        x_px = left_px + (right_px - left_px) * (tick_s - start_s) / (end_s - start_s)
        canvas.rect(x_px, _TOP_PX - 6, 1, bottom_px - _TOP_PX + 6, RULE)
        tick = _stamp(tick_s, "%-d %b %H:%M" if step_s < _DAY_S else "%-d %b %Y")
        canvas.text(x_px, bottom_px + 20, tick, size_px=11, colour=MUTED, align="center")
    for index, (at_s, name) in enumerate(rows):
        y_px = _TOP_PX + _ROW_PX * index + _ROW_PX / 2
        x_px = left_px + (right_px - left_px) * (at_s - start_s) / (end_s - start_s)
        canvas.text(left_px - 14, y_px + 4.5, name, align="right", width_px=left_px - _MARGIN_PX - 14)
        canvas.rect(left_px, y_px - 1, x_px - left_px, 2, "#c3ccd8")
        canvas.dot(x_px, y_px, 5.5, PALETTE[1])
        canvas.text(_WIDTH_PX - _MARGIN_PX, y_px + 4.5, _stamp(at_s, "%-d %b %Y %H:%M"), colour=MUTED, align="right")
    return canvas.png()


def _bars(
    title: str, subtitle: str, ranked: Sequence[tuple[str, int]], others: str, colour: str, nothing: str
) -> bytes:
    """Bars for the first of the ranked rows; the others' sum, which would dwarf them, is a number without a bar."""
    if not ranked:
        return _empty(title, nothing)
    rows = top(ranked, _MAX_ROWS, others)
    canvas = Canvas(_WIDTH_PX, _TOP_PX + _ROW_PX * len(rows) + 22)
    _title(canvas, title, subtitle)
    left_px = _label_column(canvas, [name for name, _ in rows])
    widest = max(ranked[0][1], 1)
    room_px = _WIDTH_PX - _MARGIN_PX - left_px - canvas.measure(f"{widest:,}", 13, bold=True) - 10
    for index, (name, count) in enumerate(rows):
        y_px = _TOP_PX + _ROW_PX * index
        if index == len(rows) - 1 and len(ranked) > len(rows):
            canvas.text(left_px - 12, y_px + 19, name, align="right", colour=MUTED)
            canvas.text(left_px, y_px + 19, f"{count:,}", bold=True, colour=MUTED)
            continue
        bar_px = max(room_px * count / widest, 2.0 if count else 0.0)
        canvas.text(left_px - 12, y_px + 19, name, align="right", width_px=left_px - _MARGIN_PX - 12)
        canvas.rect(left_px, y_px + 4, room_px, _ROW_PX - 8, "#f3f5f8")
        canvas.rect(left_px, y_px + 4, bar_px, _ROW_PX - 8, colour)
        canvas.text(left_px + bar_px + 8, y_px + 19, f"{count:,}", bold=True, colour=INK if count else MUTED)
    return canvas.png()


def _panels(per_device: dict[str, dict[str, Counter[str]]]) -> list[tuple[str, dict[str, Counter[str]]]]:
    """Return the devices with most objects first; more than fit are one panel."""
    ranked = sorted(per_device, key=lambda name: (-sum(sum(c.values()) for c in per_device[name].values()), name))
    if len(ranked) <= _MAX_PANELS:
        return [(name, per_device[name]) for name in ranked]
    rest: dict[str, Counter[str]] = {}
    others = ranked[_MAX_PANELS - 1 :]
    for name in others:
        for day, counts in per_device[name].items():
            rest.setdefault(day, Counter()).update(counts)
    return [*((name, per_device[name]) for name in ranked[: _MAX_PANELS - 1]), (f"{len(others)} other devices", rest)]


def _highest(by_day: Mapping[str, Counter[str]]) -> int:
    return max(counts.total() for counts in by_day.values())


def _panel(
    canvas: Canvas,
    y_px: float,
    height_px: float,
    name: str,
    columns: Sequence[Counter[str]],
    highest: int,
    colours: Mapping[str, str],
) -> None:
    total = sum(counts.total() for counts in columns)
    canvas.text(_MARGIN_PX, y_px + 14, name, bold=True, width_px=560)
    canvas.text(_WIDTH_PX - _MARGIN_PX, y_px + 14, f"{total:,} in all", colour=MUTED, align="right")
    floor_px = y_px + height_px - 10
    canvas.rect(_MARGIN_PX, floor_px, _WIDTH_PX - 2 * _MARGIN_PX, 1, RULE)
    for index, counts in enumerate(columns):
        _stack(canvas, _column(index, len(columns)), floor_px, (height_px - 48) / highest, _merged(counts, colours))


def _stack(
    canvas: Canvas, column_px: tuple[float, float], floor_px: float, unit_px: float, counts: Mapping[str, int]
) -> None:
    """One column: ``counts`` maps colours, from the bottom up, to numbers, written where the segment has room."""
    x_px, width_px = column_px
    middle_px, top_px = x_px + width_px / 2, floor_px
    for colour, count in counts.items():
        height_px = max(unit_px * count, 2.0)
        top_px -= height_px
        canvas.rect(x_px, top_px, width_px, height_px - 1, colour)
        if len(counts) > 1 and height_px >= 10 and canvas.measure(f"{count:,}", 9) < width_px - 2:
            ink = PAPER if colour in _WHITE_TEXT_ON else INK
            canvas.text(middle_px, top_px + height_px / 2 + 2.8, f"{count:,}", size_px=9, colour=ink, align="center")
    if counts:
        canvas.text(middle_px, top_px - 4, f"{sum(counts.values()):,}", size_px=11, bold=True, align="center")


def _merged(counts: Mapping[str, int], colours: Mapping[str, str]) -> dict[str, int]:
    """Numbers by colour, in the order of the palette; labels without a colour of their own together at the end."""
    merged: Counter[str] = Counter()
    for label, count in counts.items():
        merged[colours.get(label, OTHERS)] += count
    return {colour: merged[colour] for colour in (*PALETTE, OTHERS) if merged[colour]}


def _column(index: int, columns: int) -> tuple[float, float]:
    """Left edge and width of a day's column; few days keep slim columns at the left."""
    pitch_px = min((_WIDTH_PX - 2 * _MARGIN_PX) / columns, 96.0)
    return _MARGIN_PX + pitch_px * index + pitch_px * 0.14, pitch_px * 0.72


def _legend(canvas: Canvas, seen: Mapping[str, int], colours: Mapping[str, str]) -> None:
    entries = [
        (label, colours[label], seen[label])
        for label in sorted(colours, key=lambda label: PALETTE.index(colours[label]))
        if seen.get(label)
    ]
    if rest := sum(count for label, count in seen.items() if label not in colours):
        entries.append(("others", OTHERS, rest))
    x_px = _MARGIN_PX
    for label, colour, count in entries:
        shown = f"{canvas.fit(label, 12, width_px=90)}  {count:,}"
        canvas.rect(x_px, _TOP_PX - 10, 11, 11, colour)
        canvas.text(x_px + 17, _TOP_PX, shown, size_px=12, colour=MUTED)
        x_px += 17 + canvas.measure(shown, 12) + 20


def _axis(first_s: float, last_s: float) -> tuple[int, int, int]:
    """Start, end and step of a time axis around both times, with at most six steps on round times."""
    for step_s in _STEPS_S:
        start_s = int(first_s // step_s) * step_s
        end_s = (int(last_s // step_s) + 1) * step_s
        if (end_s - start_s) // step_s <= 6:
            break
    return start_s, end_s, step_s


def _label_column(canvas: Canvas, labels: Sequence[str]) -> float:
    """Return the left edge of the plot, in pixels: the labels get the width that they need, up to a third."""
    widest_px = max(canvas.measure(canvas.fit(label, 13), 13) for label in labels)
    return _MARGIN_PX + min(widest_px, _WIDTH_PX / 3) + 16


def _title(canvas: Canvas, title: str, subtitle: str) -> None:
    canvas.text(_MARGIN_PX, 38, title, size_px=18, bold=True)
    canvas.text(_MARGIN_PX, 59, subtitle, size_px=13, colour=MUTED)


def _empty(title: str, nothing: str) -> bytes:
    canvas = Canvas(_WIDTH_PX, 150)
    _title(canvas, title, nothing)
    canvas.rect(_MARGIN_PX, 96, _WIDTH_PX - 2 * _MARGIN_PX, 1, RULE)
    return canvas.png()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _day(day: str) -> str:
    return f"{date.fromisoformat(day):%-d %B %Y}"


def _stamp(at_s: float, form: str) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):{form}}"
