"""The stage `validate`: one uploaded file in, the same bytes out under ``valid/`` or ``invalid/``, with the reason.

Questions are asked in the order of their cost, and the first refusal ends them: name, size, first bytes, header,
structure, and last a whole decode. Pure, and total: any bytes under any key give a Result. Must not know where
pictures come from or what later stages make of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import Run
from lookout.domain.records import Input, JsonObject, LoadedReference, Output, Result, Work
from stages.picture_names import PictureName, find_name
from stages.validate import jpeg
from stages.validate import output_keys as keys
from stages.validate.decoder import DecoderComplaint, size_px
from stages.validate.decoder_warnings import decode
from stages.validate.file_type import is_jpeg, looks_like
from stages.validate.jpeg import Frame, Structure
from stages.validate.limits import Limits
from stages.validate.reasons import Flag, Reason, Refused
from stages.validate.zeroed_blocks import find_zeroed

ROLE: Final = "picture"
GREY_TOLERANCE: Final = 4
"""Channels that differ by no more look equal: what JPEG's rounding and an uneven sensor make of shades of gray."""


def prepare(params: JsonObject, references: Sequence[LoadedReference], /) -> Run:
    """Return the stage with its parameters checked; see ``Limits`` for their names, units and defaults.

    Raises InputRejected naming the parameter that cannot be used, or when references are given: it has none.
    """
    if references:
        raise InputRejected(f"expected no references, got {len(references)}", "validate")
    return _Validate(Limits.from_params(params))


@dataclass(frozen=True, slots=True)
class _Validate:
    limits: Limits

    def __call__(self, work: Work, /) -> Result:
        """Inputs: role ``picture``. Raises Unavailable when memory runs out, and nothing for whatever the input is."""
        picture = work.inputs[ROLE]
        name = find_name(work.key)
        try:
            captured_at_s = _check_name(work.key, name, picture.observed_at_s, self.limits)
            frame, flags = _check_bytes(picture, self.limits)
        except Refused as refused:
            return _invalid(work.key, picture, refused, _credible_time(name, refused.reason))
        return Result(
            outputs=(Output(key=f"valid/{work.key}", data=picture.data, content_type="image/jpeg"),),
            facts={"flags": flags, "width": frame.width, "height": frame.height},
            counts={"pictures": 1, "valid": 1},
            at_s=captured_at_s,
        )


def _invalid(key: str, picture: Input, refused: Refused, at_s: float | None) -> Result:
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
    return Result(
        outputs=tuple(outputs),
        facts={"reason": refused.reason.value, "sentence": refused.sentence},
        counts={"pictures": 1, "invalid": 1, f"invalid:{refused.reason}": 1},
        label=f"invalid: {refused.reason}",
        at_s=at_s,
    )


# --- the name --------------------------------------------------------------------------------------------------------


def _check_name(key: str, name: PictureName | None, observed_at_s: float | None, limits: Limits) -> float:
    """Return the time at which the picture was taken, in Unix seconds. Raises Refused: NAME, TIME_TOO_EARLY,
    TIME_IN_FUTURE."""
    if name is None:
        last = keys.shown(key.rpartition("/")[2])
        raise Refused(Reason.NAME, detail=f"expected <device>_<unix seconds>.jpg, got {last}")
    fault = keys.find_fault(key)
    if fault:
        raise Refused(Reason.NAME, detail=f"its folder cannot be kept, as {fault}")
    at_s = name.captured_at_s
    if at_s < limits.earliest_s:
        raise Refused(Reason.TIME_TOO_EARLY, time=_utc(at_s), earliest=_utc(limits.earliest_s))
    if observed_at_s is not None and at_s > observed_at_s + limits.future_tolerance_s:
        raise Refused(Reason.TIME_IN_FUTURE, time=_utc(at_s), tolerance_s=limits.future_tolerance_s)
    return at_s


def _credible_time(name: PictureName | None, reason: Reason) -> float | None:
    """Return the time at which the picture was taken, None where that is the defect."""
    if name is None or reason in (Reason.TIME_TOO_EARLY, Reason.TIME_IN_FUTURE):
        return None
    return name.captured_at_s


def _utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


# --- the bytes -------------------------------------------------------------------------------------------------------


def _check_bytes(picture: Input, limits: Limits) -> tuple[Frame, list[str]]:
    """Return the frame and the flags of a whole, usable picture. Raises Refused with any other reason."""
    data, size = picture.data, picture.ref.size
    if size == 0:
        raise Refused(Reason.EMPTY)
    if size > limits.max_bytes or len(data) < size:
        raise Refused(Reason.TOO_LARGE, size=size, limit=min(limits.max_bytes, len(data) or limits.max_bytes))
    if not is_jpeg(data):
        raise Refused(Reason.NOT_JPEG, looks_like=looks_like(data))
    frame = jpeg.read_frame(data)
    _check_frame(frame, limits)
    structure = jpeg.read_structure(data)
    _check_same_size(data, frame)
    zeroed_at = find_zeroed(data, structure)
    if zeroed_at is not None:
        raise Refused(Reason.DAMAGED, detail=f"zeros stand in the place of picture data from byte {zeroed_at} on")
    small, flags = decode(data, structure, limits.max_stray_bytes)
    return frame, [flag.value for flag in (*flags, *_find_oddities(data, structure, small))]


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
    if components == 1:
        raise Refused(Reason.GRAY)
    if components != 3:
        raise Refused(Reason.COLOUR_SPACE, components=components)


def _check_same_size(data: bytes, frame: Frame) -> None:
    """The decoder must see the size that was checked: a file that two readers understand differently is no picture."""
    try:
        size = size_px(data)
    except DecoderComplaint as complaint:
        if "subsampling" in complaint.text:
            detail = f"its channels are sampled {frame.sampling}"
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
    if _looks_grey(small):
        found.append(Flag.GREY_LOOKING)
    return found


def _looks_grey(picture: NDArray[np.uint8]) -> bool:
    """Tell whether the channels of (H, W, 3) uint8 are equal everywhere, within the tolerance."""
    red, green, blue = (picture[:, :, channel].astype(np.int16) for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return int(spread.max()) <= GREY_TOLERANCE
