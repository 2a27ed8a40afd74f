"""Means by which a result was made, as it says itself: the passes over a picture, and the program that computed.

Another version of that program may give the same result. Then only the field that names it differs, which is worth a
remark and no difference.
"""

from __future__ import annotations

import json
from typing import Any, Final

from lookout.domain.records import JsonObject

RUNTIME: Final = "runtime"
_MEANS: Final = ("passes", RUNTIME)


def find_means(data: bytes) -> JsonObject:
    """Return the fields about means of a result in JSON; none of any other."""
    try:
        tree = json.loads(data)
    except ValueError:
        return {}
    return {name: tree[name] for name in _MEANS if name in tree} if isinstance(tree, dict) else {}


def differs_in_runtime_only(kept: Any, made: Any) -> bool:
    """Tell whether two results, both with a runtime, are equal but for that."""
    if not (isinstance(kept, dict) and isinstance(made, dict) and RUNTIME in kept and RUNTIME in made):
        return False
    return {**kept, RUNTIME: None} == {**made, RUNTIME: None}
