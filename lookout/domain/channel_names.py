"""Names of channels beside mail, as rules give them and variables of the environment are found by them."""

from __future__ import annotations

import re
from typing import Final

NAME_RULE: Final = "a small letter, then small letters and digits, with single - between them; at most 40"
_NAME: Final = re.compile(r"(?=.{1,40}\Z)[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)


def is_channel_name(text: str) -> bool:
    """Tell whether a channel can have this name; see ``NAME_RULE``. Each has variables of its own."""
    return _NAME.fullmatch(text) is not None
