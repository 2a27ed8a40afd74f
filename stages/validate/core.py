"""The stage `validate`: one uploaded file in, the same bytes out under ``valid/`` or ``invalid/``, with the reason.

Questions are asked in the order of their cost, and the first refusal ends them: name, size, first bytes, header,
structure, and last a whole decode. Pure, and total: any bytes under any key give a Result. Must not know where
pictures come from or what later stages make of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lookout.domain.pipeline import Run
from lookout.domain.records import Input, JsonObject, LoadedReference, Output, Result, Work
from stages.camera_names.names import Ignored
from stages.validate import jpeg
from stages.validate import output_keys as keys
from stages.validate.decoder import DecoderComplaint, size_px
from stages.validate.decoder_warnings import decode
from stages.validate.devices_file import read_settings
from stages.validate.file_type import is_jpeg, looks_like
from stages.validate.foreign_files import is_foreign
from stages.validate.jpeg import Frame, Structure
from stages.validate.limits import Limits
from stages.validate.missing_end import END, put_end
from stages.validate.name_reader import Named, NameReader
from stages.validate.reasons import EDITION, Flag, Reason, Refused
from stages.validate.sampling import as_known_sampling, is_unknown
from stages.validate.zeroed_blocks import find_zeroed

ROLE: Final = "picture"
GREY_TOLERANCE: Final = 4
"""Channels that differ by no more look equal: what JPEG's rounding and an uneven sensor make of shades of gray."""


def prepare(params: JsonObject, references: Sequence[LoadedReference], /) -> Run:
    """Return the stage with its parameters checked; see ``Limits`` for their names, units and defaults.

    ``references`` are parts of a devices file. Raises InputRejected naming what cannot be used.
    """
    limits = Limits.from_params(params)
    return _Validate(NameReader(limits, read_settings(references, limits)))


@dataclass(frozen=True, slots=True)
class _Validate:
    names: NameReader

    def __call__(self, work: Work, /) -> Result:
        """Inputs: role ``picture``. Raises Unavailable when memory runs out, and nothing for whatever the input is."""
        picture = work.inputs[ROLE]
        if is_foreign(work.key, picture.data):
            return _ignored("no photograph")
        named: Named | None = None
        try:
            found = self.names.read(work.key, picture)
            if isinstance(found, Ignored):
                return _ignored(found.entry)
            named = found
            known = _known_facts(work.known, named)
            facts = _check_bytes(picture, named.limits) if known is None else known
        except Refused as refused:
            return _invalid(work.key, picture, refused, named)
        return _valid(work.key, picture, named, facts)


def _valid(key: str, picture: Input, named: Named, facts: JsonObject) -> Result:
    outputs = [Output(key=f"valid/{key}", data=picture.data, content_type="image/jpeg")]
    if named.document is not None:
        outputs.append(Output(key=f"names/{key}.json", data=named.document, content_type="application/json"))
    return Result(
        outputs=tuple(outputs),
        facts={**facts, **named.facts},
        counts={"pictures": 1, "valid": 1},
        at_s=named.name.captured_at_s,
        group=named.name.group,
    )


def _known_facts(known: JsonObject | None, named: Named) -> JsonObject | None:
    """Return what was found of the same bytes under the same limits; None if nothing was, or they were refused."""
    if known is None or "flags" not in known or known.get("limits") != named.facts.get("limits"):
        return None
    return {name: known[name] for name in ("flags", "width", "height")}


def _ignored(why: str) -> Result:
    """Return the result of a file that is left alone: it is counted nowhere, and its label says that it is there."""
    return Result(facts={"ignored": why, "edition": EDITION}, label="ignored")


def _invalid(key: str, picture: Input, refused: Refused, named: Named | None) -> Result:
    """Return the reason as JSON, and the picture itself, with its digest, unless it was too large to be read."""
    safe = f"invalid/{keys.safe_key(key)}"
    whole = len(picture.data) == picture.ref.size
    report: dict[str, str | int | None] = {
        "key": key,
        "reason": refused.reason.value,
        "sentence": refused.sentence,
        "sha256": picture.ref.sha256 if whole else None,
        "size": picture.ref.size,
        "picture": safe if whole else None,
    }
    text = json.dumps(report, indent=2, sort_keys=True) + "\n"
    outputs = [Output(key=keys.reason_key(safe), data=text.encode("ascii"), content_type="application/json")]
    if whole:
        kind = "image/jpeg" if is_jpeg(picture.data) else "application/octet-stream"
        outputs.insert(0, Output(key=safe, data=picture.data, content_type=kind))
    said = {name: refused.facts[name] for name in ("captured_at_s",) if name in refused.facts}
    return Result(
        outputs=tuple(outputs),
        facts={"reason": refused.reason.value, "sentence": refused.sentence, "edition": EDITION, **said},
        counts={"pictures": 1, "invalid": 1, f"invalid:{refused.reason}": 1},
        label=f"invalid: {refused.reason}",
        at_s=None if named is None else named.name.captured_at_s,
        group=None if named is None else named.name.group,
    )


# --- the bytes -------------------------------------------------------------------------------------------------------


def _check_bytes(picture: Input, limits: Limits) -> JsonObject:
    """Return flags and size of a whole, usable picture. Raises Refused with any other reason."""
    data, size = picture.data, picture.ref.size
    if size == 0:
        raise Refused(Reason.EMPTY)
    if size > limits.max_bytes or len(data) < size:
        raise Refused(Reason.TOO_LARGE, size=size, limit=min(limits.max_bytes, len(data) or limits.max_bytes))
    if not is_jpeg(data):
        raise Refused(Reason.NOT_JPEG, looks_like=looks_like(data))
    frame = jpeg.read_frame(data)
    _check_frame(frame, limits)
    try:
        flags = _check_picture(data, limits)
    except Refused as refused:
        ended = put_end(data) if refused.reason in (Reason.TRUNCATED, Reason.DAMAGED) else None
        if ended is None:
            raise
        flags = _check_ended(data, ended, limits, refused)
    return {"flags": [flag.value for flag in flags], "width": frame.width, "height": frame.height}


def _check_ended(data: bytes, ended: bytes, limits: Limits, refused: Refused) -> list[Flag]:
    """Return the flags of a picture without an end marker, checked in a copy that has one. Raises the refusal given
    when it is not whole."""
    try:
        flags = _check_picture(ended, limits)
    except Refused:
        raise refused from None
    trailing = [Flag.TRAILING_DATA] if len(ended) - len(END) < len(data.rstrip(b"\xff")) else []
    return [Flag.END_MISSING, *flags, *trailing]


def _check_picture(data: bytes, limits: Limits) -> list[Flag]:
    """Return the flags of bytes from which a decoder gets a whole picture. Raises Refused."""
    structure = jpeg.read_structure(data)
    known, known_structure = as_known_sampling(data, structure)
    _check_same_size(known, known_structure.frame)
    zeroed_at = find_zeroed(known, known_structure)
    if zeroed_at is not None:
        raise Refused(Reason.DAMAGED, detail=f"zeros stand in the place of picture data from byte {zeroed_at} on")
    small, flags = decode(known, known_structure, limits.max_stray_bytes)
    return [*flags, *_find_oddities(data, structure, small)]


def _check_frame(frame: Frame, limits: Limits) -> None:
    """All that the frame header alone can refuse, before anything is decoded."""
    width, height, components = frame.width, frame.height, len(frame.components)
    jpeg.check_coding(frame)
    if width * height > limits.max_pixels:
        pixels = width * height
        raise Refused(Reason.TOO_MANY_PIXELS, width=width, height=height, pixels=pixels, limit=limits.max_pixels)
    if width < limits.min_width_px or height < limits.min_height_px:
        least = {"min_width": limits.min_width_px, "min_height": limits.min_height_px}
        raise Refused(Reason.TOO_SMALL, width=width, height=height, **least)
    if components == 1 and not limits.accept_gray:
        raise Refused(Reason.GRAY)
    if components not in (1, 3):
        raise Refused(Reason.COLOUR_SPACE, components=components)


def _check_same_size(data: bytes, frame: Frame) -> None:
    """The decoder must see the size that was checked: a file that two readers understand differently is no picture."""
    try:
        size = size_px(data)
    except DecoderComplaint as complaint:
        if "subsampling" in complaint.text:
            detail = f"its channels are sampled {frame.sampling}; expected one of 4:4:4, 4:2:2, 4:2:0, 4:4:0 and 4:1:1"
            raise Refused(Reason.UNSUPPORTED_CODING, detail=detail) from complaint
        raise Refused(Reason.HEADER_UNREADABLE, detail=complaint.text) from complaint
    if size is not None and size != (frame.width, frame.height):
        detail = f"it can be read as {frame.width} x {frame.height} and as {size[0]} x {size[1]} pixels"
        raise Refused(Reason.HEADER_UNREADABLE, detail=detail)


def _find_oddities(data: bytes, structure: Structure, small: NDArray[np.uint8]) -> list[Flag]:
    found = []
    if structure.frame.progressive:
        found.append(Flag.PROGRESSIVE)
    if not structure.has(jpeg.DHT):
        found.append(Flag.TABLES_MISSING)
    if structure.end < len(data):
        found.append(Flag.TRAILING_DATA)
    if is_unknown(structure.frame):
        found.append(Flag.SAMPLING)
    if _looks_grey(small):
        found.append(Flag.GREY_LOOKING)
    return found


def _looks_grey(picture: NDArray[np.uint8]) -> bool:
    """Tell whether the channels of (H, W, 3) uint8 are equal everywhere, within the tolerance."""
    red, green, blue = (picture[:, :, channel].astype(np.int16) for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return int(spread.max()) <= GREY_TOLERANCE
