"""The end marker of a picture that has none, put into a working copy.

Panoramas of some phones, and frames of some streams, end with their coded data, or a trailer follows at once. A cut
upload looks alike, so the end must be known from something else than the decoder, which would take any bytes that
follow as data: from the end of the file, a marker that no picture goes on with, or the trailer's own structure. Decodes
nothing: the copy is then decoded strictly, which shows whether all of the picture stands before that end.
"""

from __future__ import annotations

import re
from typing import Final

from stages.validate import jpeg
from stages.validate.reasons import Refused
from stages.validate.scans import has_all_scans

END: Final = b"\xff\xd9"
_SAMSUNG_END: Final = b"SEFT"
_SAMSUNG_BLOCK: Final = re.compile(rb"\x00\x00..([\x04-\x40])\x00\x00\x00(?=([A-Za-z][A-Za-z0-9_]{3,63}))", re.DOTALL)
"""A block of Samsung's trailer: a type, the length of a name, and the name."""
_ZEROS: Final = b"\x00\x00"


def put_end(data: bytes) -> bytes | None:
    """Return the bytes up to the end of the coded data, with an end marker; None when that end is not known, or when
    scans or tables are missing.

    Zeros before the end may stand for data that never arrived, so they give None too.
    """
    end = _find_end(data)
    if end is None or data[:end].endswith(_ZEROS):
        return None
    ended = data[:end] + END
    try:
        structure = jpeg.read_structure(ended)
    except Refused:
        return None
    several = len(structure.scans) > 1  # decoders read on to the end marker before they show anything
    if (several and data[end:].strip(b"\xff")) or not has_all_scans(ended, structure):
        return None
    return ended


def _find_end(data: bytes) -> int | None:
    if data.endswith(_SAMSUNG_END):
        for found in _SAMSUNG_BLOCK.finditer(data):
            if len(found[2]) >= found[1][0]:
                return found.start()
    return jpeg.find_coded_end(data)
