"""Time zones of the locked package ``tzdata``, never of the system, whose own data may be years old: the same picture
gives the same time on every machine."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo


@cache
def zone_data() -> str:
    """The zone data and their version, for whatever depends on them; without the package, that there are none."""
    try:
        import tzdata  # type: ignore[import-untyped]  # says its version itself: metadata take long to read
    except ModuleNotFoundError:
        return "no zone data"
    return f"tzdata {tzdata.__version__}"


@cache
def zone_names() -> frozenset[str]:
    """All IANA names that the package has; none where the package is missing."""
    try:
        return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())
    except (ModuleNotFoundError, OSError):
        return frozenset()


@cache
def find_zone(name: str) -> ZoneInfo | None:
    """The zone of this name as the package has it, None if it has none. Ignores the system's files and
    ``PYTHONTZPATH``."""
    if name not in zone_names():
        return None
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
