"""The end marker of a picture that has none, put into a working copy.

Panoramas of some phones, and frames of some streams, end with their coded data, or a trailer follows at once. A cut
upload looks alike, so the end must be known from something else than the decoder, which would take any bytes that
follow as data: from the end of the file, a marker that no picture goes on with, or the trailer's own structure. Decodes
nothing: the copy is then decoded strictly, which shows whether all of the picture stands before that end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from stages.validate import jpeg
from stages.validate.reasons import Refused
from stages.validate.scans import has_all_scans

END: Final = b"\xff\xd9"
_SAMSUNG_END: Final = b"SEFT"
_SAMSUNG_BLOCK: Final = re.compile(rb"\x00\x00..([\x04-\x40])\x00\x00\x00(?=([A-Za-z][A-Za-z0-9_]{3,63}))", re.DOTALL)
"""A block of Samsung's trailer: a type, the length of a name, and the name."""
_MOST_BLOCKS: Final = 16
_ZEROS: Final = b"\x00\x00"


def put_end(data: bytes) -> bytes | None:
    """Return the bytes up to the end of the coded data, with an end marker; None when that end is not known, or when
    scans are missing.

    Zeros before the end may stand for data that never arrived, so they give None too.
    """
    for end in _ends(data):
        ended = data[:end] + END
        try:
            structure = jpeg.read_structure(ended)
        except Refused:
            continue  # what looked like a trailer is in the header
        several = len(structure.scans) > 1  # decoders read on to the end marker before they show anything
        if data[:end].endswith(_ZEROS) or (several and data[end:].strip(b"\xff")):
            return None
        return ended if has_all_scans(ended, structure) else None
    return None


def _ends(data: bytes) -> Iterator[int]:
    """Give the offsets at which the coded data may end, the likely ones first."""
    if data.endswith(_SAMSUNG_END):
        blocks = (found for found in _SAMSUNG_BLOCK.finditer(data) if len(found[2]) >= found[1][0])
        yield from (found.start() for found in islice(blocks, _MOST_BLOCKS))
    end = jpeg.find_coded_end(data)
    if end is not None:
        yield end
