"""Picklable factory: the object is built in the process that receives it, which can load what that takes before this
process has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lookout.domain.pipeline import load


@dataclass(frozen=True, kw_only=True)
class Later:
    """``module:function`` with the arguments by which it is called when this is unpickled; arguments may be secret."""

    function: str
    arguments: Mapping[str, object] = field(repr=False)

    def __reduce__(self) -> tuple[object, tuple[str, dict[str, object]]]:
        return _make, (self.function, dict(self.arguments))


def _make(function: str, arguments: dict[str, object]) -> object:
    return load(function)(**arguments)
