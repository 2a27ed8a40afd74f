"""Syntax of e-mail addresses: plain ``local@domain`` in ASCII, nothing with another meaning in a header.

Stricter than RFC 5322 on purpose: no display names, comments, quotes or bare hosts. A domain with other letters is
written in its ``xn--`` form.
"""

from __future__ import annotations

import re
from typing import Final

MAX_ADDRESS: Final = 254
_MAX_LOCAL: Final = 64
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+[A-Za-z][A-Za-z0-9-]{{0,61}}[A-Za-z0-9]", re.ASCII)


def is_address(text: str) -> bool:
    """Tell whether the text is one such address, of at most 254 characters, and nothing else."""
    local, _, domain = text.rpartition("@")
    if len(text) > MAX_ADDRESS or len(local) > _MAX_LOCAL:
        return False
    return bool(_LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain))
