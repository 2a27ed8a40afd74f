"""Quality and cost of detection: recall by the height of objects, other boxes a picture, and milliseconds.

``python -m bench detect`` measures the shipped model on composed scenes; ``--model``, ``--passes`` and ``--coco`` with
``--photos`` measure any other on any pictures. One thread; all passes and the whole pass alone are timed in turn.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from bench.bare import MODELS
from bench.measure import Row, Setup, cells_table, machine, table
from bench.scenes import HEIGHTS_PX, Known, Scene, compose, read_coco
from lookout.domain.errors import InputRejected, LookoutError
from lookout.domain.pipeline import Accepted, Refused
from stages.imaging.reduced import Picture
from stages.object_detect.boxes import iou_xyxy
from stages.object_detect.detector import Detection, detect
from stages.object_detect.manifest import MANIFEST, WEIGHTS, accept
from stages.object_detect.manifest_passes import MODEL, PassSpec, choose_passes
from stages.object_detect.manifest_schema import parse_manifest
from stages.object_detect.onnx_model import Network, open_network

SAME_IOU: Final = 0.4
PLACES: Final = 6
THRESHOLD: Final = 0.5
RECALL_LARGE: Final = 95.0
RECALL_260: Final = 65.0
OTHER_BOXES: Final = 0.15
TIMES_WHOLE: Final = 6.0
VGA_RATIO: Final = 1.1
"""Noise of a ratio of equal work."""


@dataclass(kw_only=True)
class Tally:
    """Counts of one way of looking at scenes: found and known objects by height, other boxes, seconds."""

    found: dict[int, int] = field(default_factory=lambda: dict.fromkeys(HEIGHTS_PX, 0))
    known: dict[int, int] = field(default_factory=lambda: dict.fromkeys(HEIGHTS_PX, 0))
    other: int = 0
    times_s: list[float] = field(default_factory=list)
    """One a picture."""

    def add(self, known: Sequence[Known], detections: Sequence[Detection], labels: frozenset[str]) -> None:
        """Count one picture; objects that the model has no label for do not count."""
        wanted = [one for one in known if one.label.casefold() in labels]
        hits = match(wanted, detections)
        for one, hit in zip(wanted, hits, strict=True):
            self.known[bin_of(one.height_px)] += 1
            self.found[bin_of(one.height_px)] += hit is not None
        self.other += len(detections) - sum(hit is not None for hit in hits)

    def recall(self, *heights_px: int) -> float:
        """Return percent found of what is known at these heights; 100 where nothing is."""
        known = sum(self.known[height_px] for height_px in heights_px)
        return 100.0 * sum(self.found[height_px] for height_px in heights_px) / known if known else 100.0

    def cells(self, name: str) -> tuple[str, ...]:
        """Return the cells of a row."""
        recalls = [f"{self.recall(height_px):.0f}" if self.known[height_px] else "-" for height_px in HEIGHTS_PX]
        return name, *recalls, f"{self.other / len(self.times_s):.2f}", f"{1000 * median(self.times_s):.1f}"


def bin_of(height_px: float) -> int:
    """Return the greatest of the heights that is not above this one; the least for what is lower."""
    return max((one for one in HEIGHTS_PX if one <= height_px), default=HEIGHTS_PX[0])


def match(known: Sequence[Known], detections: Sequence[Detection]) -> list[int | None]:
    """Return for each known object the position of the detection of its label that lies in its place, each at most
    once, the best score first."""
    hits: list[int | None] = [None] * len(known)
    if not known:
        return hits
    places = np.array([one.box_xyxy_px for one in known], np.float64)
    for number, found in enumerate(detections):
        overlaps = iou_xyxy(np.array([found.box_xyxy_px], np.float64), places)[0]
        free = [
            place
            for place, one in enumerate(known)
            if hits[place] is None and one.label.casefold() == found.label.casefold() and overlaps[place] > SAME_IOU
        ]
        if free:
            hits[max(free, key=lambda place: float(overlaps[place]))] = number
    return hits


def look(network: Network, further: Sequence[PassSpec], scenes: Iterable[Scene]) -> tuple[Tally, Tally]:
    """Return the tallies of the whole pass alone and of all passes, on each scene in turn."""
    labels = frozenset(label.casefold() for label in network.manifest.labels)
    tallies = (Tally(), Tally())
    for scene in scenes:
        picture = Picture.of(scene.pixels_bgr)
        for tally, passes in zip(tallies, ((), further), strict=True):
            began_s = time.perf_counter()
            found = detect(network, picture, THRESHOLD, passes)
            tally.times_s.append(time.perf_counter() - began_s)
            tally.add(scene.objects, found, labels)
    if not tallies[0].times_s:
        raise InputRejected("expected at least one picture", "bench detect")
    return tallies


def open_model(folder: Path, passes: str) -> tuple[Network, tuple[PassSpec, ...]]:
    """Open the model in a folder with these passes. Raises InputRejected."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    answers = accept(files)
    unit = next((one for one in answers if isinstance(one, Accepted)), None)
    if unit is None:
        reasons = "; ".join(one.reason for one in answers if isinstance(one, Refused))
        raise InputRejected(reasons or "no model in it", str(folder))
    manifest = parse_manifest(unit.name, unit.files[MANIFEST])
    further = choose_passes(passes, manifest.passes)
    return open_network(unit.name, manifest, unit.files[WEIGHTS], further=further), further


def measure(setup: Setup) -> list[Row]:
    """Measure the shipped model on composed scenes of 1920 x 1080, and the cost of one of 640 x 480."""
    network, further = open_model(MODELS, MODEL)
    whole, all_passes = look(network, further, compose(setup.pick(PLACES, 1)))
    setup.say(f"\n{_shown(whole, all_passes)}")
    vga = [
        Scene(name=f"vga-{number}", pixels_bgr=np.full((480, 640, 3), 10 * number, np.uint8), objects=())
        for number in range(setup.pick(24, 12))
    ]
    small_whole, small = look(network, further, vga)
    return [
        _recall("from 360 pixels on", all_passes.recall(360, 540, 800), RECALL_LARGE),
        _recall("at 260 pixels", all_passes.recall(260), RECALL_260),
        Row(
            what="detect: other boxes a picture",
            values=[all_passes.other / len(all_passes.times_s)],
            unit="",
            bar=OTHER_BOXES,
        ),
        Row(
            what="detect: 1920 x 1080, all passes to the whole alone",
            values=[one / other for one, other in zip(all_passes.times_s, whole.times_s, strict=True)],
            unit="times",
            bar=TIMES_WHOLE,
        ),
        Row(what="detect: all passes, 1920 x 1080", values=[1000 * one for one in all_passes.times_s], unit="ms"),
        Row(
            what="detect: 640 x 480, all passes to the whole alone, best times",
            values=[min(small.times_s) / min(small_whole.times_s)],
            unit="times",
            bar=VGA_RATIO,
        ),
    ]


def _recall(where: str, percent: float, bar: float) -> Row:
    return Row(what=f"detect: recall in 1920 x 1080, {where}", values=[percent], unit="%", bar=bar, at_least=True)


def _shown(whole: Tally, all_passes: Tally) -> str:
    header = ("percent found by height", *(f"{height_px} px" for height_px in HEIGHTS_PX), "other boxes", "ms")
    return cells_table([header, whole.cells("whole picture alone"), all_passes.cells("all passes")])


def main(arguments: Sequence[str]) -> None:
    """Print quality and cost of any model on composed scenes or on pictures with COCO's JSON; exit with 1 if that
    cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench detect", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=MODELS, help="the folder of a model [the shipped one]")
    parser.add_argument("--passes", default=MODEL, help="as lookout run has it [model]")
    parser.add_argument("--coco", type=Path, help="boxes that are known, in COCO's JSON")
    parser.add_argument("--photos", type=Path, help="the folder of their pictures [that of the JSON]")
    parser.add_argument("--quick", action="store_true", help="one place an object and height")
    given = parser.parse_args(arguments)
    print(machine())
    try:
        if given.coco is None and given.model == MODELS and given.passes == MODEL:
            setup = Setup(folder=Path(), quick=given.quick, say=print)
            print(f"\n{table(measure(setup))}")
        else:
            network, further = open_model(given.model, given.passes)
            scenes = (
                compose(1 if given.quick else PLACES)
                if given.coco is None
                else read_coco(given.coco, given.photos or given.coco.parent)
            )
            print(f"\n{_shown(*look(network, further, scenes))}")
    except (LookoutError, OSError) as exc:
        print(f"detect could not be measured: {exc}", file=sys.stderr)
        sys.exit(1)
