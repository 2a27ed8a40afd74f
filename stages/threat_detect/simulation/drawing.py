"""A photograph with the zones of rules and the boxes of objects, as people see what a rule sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lookout.domain.records import Json
from stages.imaging.annotate import Box, annotate, decode_bgr
from stages.imaging.opencv import cv2
from stages.imaging.text import Lettering, to_ascii
from stages.threat_detect.rules.select import watches
from stages.threat_detect.rules.version2.matching import Miss, Picture, misses
from stages.threat_detect.rules.version2.rule import Zone
from stages.threat_detect.simulation.rulebook import Entry

_COLORS_BGR: Final = {"include": (80, 200, 60), "exclude": (40, 140, 250)}
_UNKNOWN_CLASS: Final = 0


def draw(
    data: bytes,
    picture: Picture,
    entries: Sequence[Entry],
    codes: Sequence[tuple[str, Json]],
    *,
    reasons: bool = False,
) -> NDArray[np.uint8]:
    """Return the photograph with the zones that bind its device (green, and orange where excluded), the boxes of
    objects (red if they matter to a rule), and below it each rule with its code. With ``reasons``, the label of an
    object that matters to no rule has the code of the rule for which it came furthest."""
    scene = decode_bgr(data)
    height_px, width_px = scene.shape[:2]
    lettering = Lettering(capital_px=4 + math.sqrt(height_px * width_px) / 70)
    drawn: set[tuple[str, tuple[tuple[float, float], ...]]] = set()
    for entry in entries:
        for zone in entry.rule.zones:
            if watches(zone.devices, picture.device) and (zone.name, zone.polygon) not in drawn:
                drawn.add((zone.name, zone.polygon))
                _draw_zone(scene, zone, lettering)
    watching = [entry.rule for entry in entries if watches(entry.rule.devices, picture.device)]
    wanted = [misses(rule, picture) for rule in watching]
    matters = [any(one[place] is None for one in wanted) for place in range(len(picture.things))]
    boxes = [
        Box(
            box_xyxy_px=(
                thing.box[0] * width_px,
                thing.box[1] * height_px,
                thing.box[2] * width_px,
                thing.box[3] * height_px,
            ),
            label=f"{thing.label} {_reason(wanted, place)}" if reasons and not does else thing.label,
            score=thing.score,
            class_id=_UNKNOWN_CLASS if thing.class_id is None else thing.class_id,
            threat=does,
        )
        for place, (thing, does) in enumerate(zip(picture.things, matters, strict=True))
    ]
    footer = " | ".join(f"{rule}: {'match' if code is None else code}" for rule, code in codes)
    return annotate(scene, boxes, footer)


def _reason(wanted: Sequence[Sequence[Miss | None]], place: int) -> str:
    found = [miss for one in wanted if (miss := one[place]) is not None]
    return max(found, key=lambda miss: miss.step).code if found else "no rule"


def _draw_zone(scene: NDArray[np.uint8], zone: Zone, lettering: Lettering) -> None:
    height_px, width_px = scene.shape[:2]
    corners = np.array([[round(x * (width_px - 1)), round(y * (height_px - 1))] for x, y in zone.polygon], np.int32)
    color = _COLORS_BGR[zone.mode]
    cv2.polylines(scene, [corners], True, color, max(1, round(lettering.capital_px / 6)), cv2.LINE_AA)
    left, top = (int(edge) for edge in corners[0])
    text = to_ascii(zone.name)
    left = min(left, width_px - lettering.width_px(text) - 2 * lettering.padding_px)
    lettering.draw(scene, text, max(0, left), min(top, height_px - lettering.line_px), color)
