"""Page of a replay: a table by rule and day, and the pictures that differ, side by side. Whole in itself: no script,
and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

MAX_SHOWN: Final = 200
"""Pictures shown on each side; the others are counted."""
_TITLES: Final = {"only_before": "Told before and not now", "only_now": "Told now and not before"}
_COLUMNS: Final = ("rule", "day", "matches", "told", "was_told", "only_now", "only_before")
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1b1e23; }
table { border-collapse: collapse; } th, td { padding: .2rem .8rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
td { border-top: 1px solid #d5d9df; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 2rem; }
@media (max-width: 40rem) { .sides { display: block; } }
figure { margin: 0 0 1.2rem; } img { max-width: 100%; border-radius: 4px; } figcaption { font-size: 13px; }
code { background: #eef0f3; padding: 0 .25rem; border-radius: 3px; }
"""
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PictureOf = Callable[[str], str | None]
"""Gives a small picture as a data URI by its key, None if it is not kept."""


def page(days: Sequence[Mapping[str, Any]], differing: Sequence[Mapping[str, Any]], picture_of: PictureOf) -> str:
    """Return the page as HTML of what ``Replayer.replay`` gives: all days, and pictures that differ, of which the first
    ``MAX_SHOWN`` a side are shown."""
    sides = "".join(
        _side(
            title, sum(day[name] for day in days), [one for one in differing if one["difference"] == name], picture_of
        )
        for name, title in _TITLES.items()
    )
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Replay of rules</title>\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<style>{_STYLE}</style>\n'
        f'<h1>Replay of rules</h1>\n{_table(days)}\n<div class="sides">{sides}</div>\n</html>\n'
    )


def _table(days: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in _COLUMNS)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(str(one[name]))}</td>' for name in _COLUMNS)}</tr>\n" for one in days)
    return f"<table><tr>{head}</tr>\n{rows}</table>"


def _side(title: str, count: int, some: Sequence[Mapping[str, Any]], picture_of: PictureOf) -> str:
    shown = some[:MAX_SHOWN]
    figures = "\n".join(_figures(shown, picture_of))
    rest = f"<p>and {count - len(shown)} more</p>" if count > len(shown) else ""
    return f"<section><h2>{title}: {count}</h2>\n{figures}\n{rest}</section>\n"


def _figures(some: Sequence[Mapping[str, Any]], picture_of: PictureOf) -> Iterator[str]:
    for one in some:
        source = picture_of(one["key"])
        image = "<p>The picture is not kept any more.</p>" if source is None else f'<img src="{source}" alt="">'
        was = "no match" if one["was"] is None else one["was"]["code"]
        at = f"{datetime.fromtimestamp(one['t'], UTC):%Y-%m-%d %H:%M:%S} UTC"
        yield (
            f"<figure>{image}<figcaption><b>{escape(one['rule'])}</b> · {escape(one['device'])} · {at}"
            f"<br><code>{escape(was)}</code> → <code>{escape(one['code'])}</code> {escape(one['sentence'])}<br>"
            f"{escape(one['key'])}</figcaption></figure>"
        )
