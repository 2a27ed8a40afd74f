"""Pictures as people see them: reading, writing, and boxes drawn so that one look tells what is there.

Shared by the stages that show detections. Knows nothing of models, rules or keys: the caller says what each box is and
what stands below the picture. Every picture is (H, W, 3) uint8, blue green red, upright.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lookout.domain.errors import InputRejected
from stages.imaging.exif import orientation_of
from stages.imaging.opencv import cv2
from stages.imaging.text import Lettering, cut, to_ascii, wrap

Color = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels, right and bottom exclusive."""

THREAT_BGR: Final[Color] = (38, 28, 214)
_DARK_BGR: Final[Color] = (0, 0, 0)
_LIGHT_BGR: Final[Color] = (245, 245, 245)
_BAR_BGR: Final[Color] = (30, 27, 26)

_MIN_CAPITAL_PX: Final = 6.0  # below this, letters run together
_MAX_FOOTER_LINES: Final = 6
_GOLDEN: Final = (math.sqrt(5) - 1) / 2


_END: Final = b"\xff\xd9"
_TRANSPOSED: Final = (5, 6, 7, 8)
_FLIPS: Final = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
"""By EXIF orientation, after transposing: OpenCV's code of the flip; 1 is left and right, 0 up and down, -1 both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """One object to draw: ``box_xyxy_px`` is left, top, right, bottom in pixels; it may reach beyond the picture."""

    box_xyxy_px: tuple[float, float, float, float]
    label: str
    score: float
    class_id: int
    threat: bool = False

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box_xyxy_px
        if not (math.isfinite(left + top + right + bottom) and left <= right and top <= bottom):
            raise ValueError(f"expected a box with left <= right and top <= bottom, got {self.box_xyxy_px}")
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"expected a score from 0 to 1, got {self.score}")


# --- reading and writing ---------------------------------------------------------------------------------------------


def decode_bgr(data: bytes, how: int = cv2.IMREAD_COLOR) -> NDArray[np.uint8]:
    """Return the picture in the bytes as (H, W, 3) uint8, blue green red, turned upright as its EXIF orientation says;
    one of one channel with three equal ones. ``how`` is OpenCV's flag, which may ask for a reduced scale.

    Raises InputRejected if it cannot be decoded or has more than ``MAX_PICTURE_PIXELS``.
    """
    whole = data if data.endswith(_END) else data + _END  # the decoder gives up at the end of the bytes, and else stops
    try:
        picture = cv2.imdecode(np.frombuffer(whole, np.uint8), how | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as exc:  # too large
        raise InputRejected("cannot be decoded as a picture") from exc
    if picture is None:
        raise InputRejected("cannot be decoded as a picture")
    return _upright(np.asarray(picture, np.uint8), orientation_of(data))


def _upright(picture_bgr: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return the picture turned as the EXIF orientation says; the array given may be modified."""
    turned: Any = picture_bgr
    if orientation in _TRANSPOSED:
        turned = cv2.transpose(turned)
    if orientation in _FLIPS:
        cv2.flip(turned, _FLIPS[orientation], turned)  # in place: large pictures take much memory
    return np.asarray(turned, np.uint8)


def encode_jpeg(picture_bgr: NDArray[np.uint8], quality: int = 85) -> bytes:
    """Return the picture as JPEG without metadata. ``quality`` is 1 to 100. Raises ValueError for anything else."""
    if not 1 <= quality <= 100:
        raise ValueError(f"expected a quality from 1 to 100, got {quality}")
    _check_picture(picture_bgr)
    written, data = cv2.imencode(".jpg", picture_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not written:
        raise ValueError(f"cannot write a picture of shape {picture_bgr.shape} as JPEG")
    return data.tobytes()


def fit(picture_bgr: NDArray[np.uint8], max_width_px: int) -> NDArray[np.uint8]:
    """Return the picture shrunk to the width, proportions kept; the same array if it is not wider."""
    _check_picture(picture_bgr)
    if max_width_px < 1:
        raise ValueError(f"expected a width of at least 1 pixel, got {max_width_px}")
    height_px, width_px = picture_bgr.shape[:2]
    if width_px <= max_width_px:
        return picture_bgr
    size = (max_width_px, max(1, round(height_px * max_width_px / width_px)))
    return np.asarray(cv2.resize(picture_bgr, size, interpolation=cv2.INTER_AREA), np.uint8)


# --- boxes -----------------------------------------------------------------------------------------------------------


def color_of(class_id: int) -> Color:
    """One steady colour (blue, green, red) per class: hues a golden section apart, so that neighbours differ, and
    never in the reds, which mean a threat."""
    turn = (class_id * _GOLDEN) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(0.09 + 0.81 * turn, 0.6, 0.97)
    return round(blue * 255), round(green * 255), round(red * 255)


def ink_on(color_bgr: Color) -> Color:
    """Dark or light, whichever is easier to read on the colour."""
    return max((_DARK_BGR, _LIGHT_BGR), key=lambda ink: contrast(ink, color_bgr))


def contrast(one_bgr: Color, other_bgr: Color) -> float:
    """Contrast ratio of two colours, 1 to 21, as the web accessibility guidelines (WCAG 2) define it."""
    lights = sorted((_luminance(one_bgr), _luminance(other_bgr)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def annotate(picture_bgr: NDArray[np.uint8], boxes: Sequence[Box], footer: str) -> NDArray[np.uint8]:
    """Return a new picture with the boxes, a filled label ``person 0.87`` at each, and the footer in a bar below.

    Sizes follow the picture. Threats are thick, red and on top. The bar is added under the picture and hides nothing
    of it, so box coordinates stay as they are; it has as many lines as the text needs, and no text gives no bar. A
    label keeps inside the picture and off other labels; where there is no room, one that is no threat is left out.
    The picture given is not modified.
    """
    _check_picture(picture_bgr)
    height_px, width_px = picture_bgr.shape[:2]
    lettering = Lettering(capital_px=max(_MIN_CAPITAL_PX, 4 + math.sqrt(height_px * width_px) / 70))
    drawn = _with_footer(picture_bgr, footer, lettering, any(box.threat for box in boxes))
    scene = drawn[:height_px]  # a view: what is drawn here stays off the bar
    ordered = sorted(boxes, key=lambda box: (box.threat, box.score))  # the most important last, on top
    for box in ordered:
        _draw_outline(scene, box, lettering)
    labels = [
        (box, text, place)
        for box, text, place in _place_labels(ordered[::-1], lettering, width_px, height_px)
        if place is not None
    ]
    for box, text, (left, top, right, bottom) in reversed(labels):
        color = _box_color(box)
        scene[top:bottom, left:right] = color
        lettering_of_label = _label_lettering(text, lettering, width_px)
        lettering_of_label.draw(scene, text, left, top, ink_on(color))
    return drawn


def _with_footer(picture_bgr: NDArray[np.uint8], footer: str, lettering: Lettering, alarm: bool) -> NDArray[np.uint8]:
    """Return a copy of the picture with the bar below it: in one line if shrinking a little allows it, else wrapped."""
    height_px, width_px = picture_bgr.shape[:2]
    sizes = [Lettering(capital_px=max(_MIN_CAPITAL_PX, lettering.capital_px * part)) for part in (1.0, 0.85, 0.7)]
    for size in sizes:
        lines = wrap(footer, size, width_px - 4 * size.padding_px, _MAX_FOOTER_LINES)
        if len(lines) <= 1:
            break
    if not lines:
        return picture_bgr.copy()
    rule_px = max(1, round(lettering.capital_px / 6)) if alarm else 0
    gap_px = size.line_px - size.padding_px  # lines share the padding between them
    bar_px = rule_px + gap_px * len(lines) + size.padding_px
    drawn = np.empty((height_px + bar_px, width_px, 3), np.uint8)
    drawn[:height_px] = picture_bgr
    drawn[height_px : height_px + rule_px] = THREAT_BGR
    drawn[height_px + rule_px :] = _BAR_BGR
    for number, line in enumerate(lines):
        size.draw(drawn, line, size.padding_px, height_px + rule_px + number * gap_px, _LIGHT_BGR)
    return drawn


def _draw_outline(scene: NDArray[np.uint8], box: Box, lettering: Lettering) -> None:
    left, top, right, bottom = _inside(box, scene.shape[1], scene.shape[0])
    line_px = _line_px(box, lettering)
    outside_px, inside_px = line_px // 2, line_px - line_px // 2
    _fill_frame(scene, (left, top, right, bottom), outside_px + 1, inside_px + 1, _DARK_BGR)  # seen on any background
    _fill_frame(scene, (left, top, right, bottom), outside_px, inside_px, _box_color(box))


def _fill_frame(scene: NDArray[np.uint8], where: Rectangle, outside_px: int, inside_px: int, color: Color) -> None:
    """A line along the rectangle's edge that is so wide outside and inside of it, cut at the picture's edge."""
    left, top, right, bottom = (
        where[0] - outside_px,
        where[1] - outside_px,
        where[2] + outside_px,
        where[3] + outside_px,
    )
    wide_px = outside_px + inside_px
    for x1, y1, x2, y2 in (
        (left, top, right, top + wide_px),
        (left, bottom - wide_px, right, bottom),
        (left, top, left + wide_px, bottom),
        (right - wide_px, top, right, bottom),
    ):
        scene[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = color


def _place_labels(
    boxes: Sequence[Box], lettering: Lettering, width_px: int, height_px: int
) -> list[tuple[Box, str, Rectangle | None]]:
    """Return the place of each label, for boxes in order of importance: the first free of five places around its
    box."""
    taken = np.empty((0, 4), np.int64)
    placed: list[tuple[Box, str, Rectangle | None]] = []
    for box in boxes:
        text = _label_text(box, width_px)
        size = _label_lettering(text, lettering, width_px)
        label_width_px = min(width_px, size.width_px(text) + 2 * size.padding_px)
        label_height_px = min(height_px, size.line_px)
        left, top, right, bottom = _inside(box, width_px, height_px)
        edge_px = _line_px(box, lettering) // 2
        left, top, right, bottom = left - edge_px, top - edge_px, right + edge_px, bottom + edge_px
        corners = np.array(
            [
                (left, top - label_height_px),
                (right - label_width_px, top - label_height_px),
                (left, top),
                (left, bottom),
                (left, bottom - label_height_px),
            ]
        )
        corners = np.clip(corners, 0, (width_px - label_width_px, height_px - label_height_px))
        places = np.hstack([corners, corners + np.array([label_width_px, label_height_px])])
        hidden_px = _overlaps_px(places, taken).sum(axis=1)
        best = int(hidden_px.argmin())  # the first of equals
        if hidden_px[best] and not box.threat:
            placed.append((box, text, None))
            continue
        taken = np.vstack([taken, places[best : best + 1]])
        x1, y1, x2, y2 = (int(value) for value in places[best])
        placed.append((box, text, (x1, y1, x2, y2)))
    return placed


def _overlaps_px(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Areas in pixels that rectangles (N, 4) share with rectangles (M, 4): (N, M)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2), np.int64)


def _label_text(box: Box, width_px: int) -> str:
    smallest = Lettering(capital_px=_MIN_CAPITAL_PX)
    score = f" {box.score:.2f}"
    room_px = width_px - 2 * smallest.padding_px
    name = cut(to_ascii(box.label), smallest, max(0, room_px - smallest.width_px(score)))
    return (name + score).strip()


def _label_lettering(text: str, lettering: Lettering, width_px: int) -> Lettering:
    """Return the usual size, or the one at which the text just fits the width."""
    wide_px = lettering.width_px(text) + 2 * lettering.padding_px
    if wide_px <= width_px:
        return lettering
    return Lettering(capital_px=max(_MIN_CAPITAL_PX, lettering.capital_px * width_px / wide_px * 0.95))


def _inside(box: Box, width_px: int, height_px: int) -> Rectangle:
    """Return the box in whole pixels, cut to the picture, at least one pixel in size."""
    x1, y1, x2, y2 = box.box_xyxy_px
    left, top = min(max(round(x1), 0), width_px - 1), min(max(round(y1), 0), height_px - 1)
    return left, top, max(left + 1, min(round(x2), width_px)), max(top + 1, min(round(y2), height_px))


def _line_px(box: Box, lettering: Lettering) -> int:
    return max(3, round(lettering.capital_px / 1.9)) if box.threat else max(2, round(lettering.capital_px / 4.5))


def _box_color(box: Box) -> Color:
    return THREAT_BGR if box.threat else color_of(box.class_id)


def _luminance(color_bgr: Color) -> float:
    parts = [value / 255 for value in reversed(color_bgr)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _check_picture(picture_bgr: NDArray[np.uint8]) -> None:
    if picture_bgr.ndim != 3 or picture_bgr.shape[2] != 3 or 0 in picture_bgr.shape or picture_bgr.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8, got {picture_bgr.shape} {picture_bgr.dtype}")
