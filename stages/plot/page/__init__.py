"""Page: one HTML file with its style, its program and the sums inside, and partitions beside it.

Everything is in one file so that it works from a folder as from a bucket and is never half new. The policy in its head
allows exactly this style and this program, by their hashes, and scripts that the program itself asks for. Data never
becomes code: it is JSON in which nothing can end a script, and the program inserts it as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Final

from lookout.domain.records import JsonObject

_ESCAPES: Final = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})

_PROGRAM: Final = ("base.js", "charts.js", "events.js", "gallery.js", "detail.js", "status.js", "app.js")
"""In the order in which they build on each other."""


def index(data: JsonObject) -> bytes:
    """Return the page with these sums inside."""
    before, after = _shell()
    return (before + _json(data) + after).encode()


def partition(name: str, data: JsonObject) -> bytes:
    """Return a script that hands the page the threats of one part, ``<device>/<day>`` or the others of it."""
    return f"lookoutPartition({_json(name)}, {_json(data)});\n".encode()


def _json(value: JsonObject | str) -> str:
    """JSON that is safe between script tags and in a script: no ``<``, no line separators of JavaScript."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").translate(_ESCAPES)


@cache
def _shell() -> tuple[str, str]:
    """Return the page up to its data, and from there on."""
    here = files(__package__)
    html, style = (here.joinpath(name).read_text("utf-8") for name in ("index.html", "style.css"))
    program = "\n".join(here.joinpath(name).read_text("utf-8") for name in _PROGRAM)
    policy = html.replace("{{style hash}}", _hash(style)).replace("{{program hash}}", _hash(program))
    before, _, after = policy.replace("{{style}}", style).replace("{{program}}", program).partition("{{data}}")
    return before, after


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
