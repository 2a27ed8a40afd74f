"""Reader of the fit of rules in force: the one place that everybody asks who shows notes on it.

Reads the ledger only. References are few, and are read with each look; devices are read from the tallies, at most once
a minute and when other references come into force, and not at all where no rule names one. A picture that waits counts
as of the device that its key names; while one waits whose key names none, nothing is said of devices.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from lookout.domain.pipeline import UNNAMED, Pipeline, device_of
from lookout.domain.records import Reference, State
from lookout.domain.rule_fit.codec import EVERY_DEVICE, devices_from_meta, file_from_meta, model_from_meta
from lookout.domain.rule_fit.judge import find_notes
from lookout.domain.rule_fit.records import FileFacts, FitNote, Surroundings
from lookout.ledger.port import Ledger

MODEL: Final = "model"
RULES: Final = "rules"
DEVICES: Final = "devices"
"""Buckets of references that are compared."""
PICTURES: Final = "pictures"
"""Name of the count of pictures of a device and day, as the stage gives it that reads them."""
EVERY_S: Final = 60.0
MOST_WAITING: Final = 10_000
"""While so many pictures wait, nothing is said of devices."""
_BUCKETS: Final = (MODEL, RULES, DEVICES)
_WAITING: Final = (State.PENDING, State.RUNNING, State.KILLED)


class FitReader:
    """Reader that remembers what it has read. ``pipeline`` gives the pipeline in force, whose parameters may change
    while it lives."""

    def __init__(
        self,
        pipeline: Callable[[], Pipeline],
        *,
        every_s: float = EVERY_S,
        uptime: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline, self._every_s, self._uptime = pipeline, every_s, uptime
        self._in_force: Mapping[str, Sequence[Reference]] = {}
        self._devices: frozenset[str] = frozenset()
        self._read_at_s: float | None = None

    def look(
        self,
        ledger: Ledger,
        references: Mapping[str, Sequence[Reference]] | None = None,
        devices: Iterable[str] = (),
    ) -> tuple[FitNote, ...]:
        """Return the notes on the rules in force now; ``references``, by bucket, are supposed instead of those, and
        ``devices`` to have a picture too."""
        in_force = {bucket: tuple(ledger.references(bucket)) for bucket in _BUCKETS} | dict(references or {})
        files = [file_from_meta(one) for one in in_force[RULES]]
        listed = tuple(devices_from_meta(in_force[DEVICES]))
        model = next((model_from_meta(one) for one in in_force[MODEL]), None)
        if listed or any(map(_names_devices, files)):
            self._read_devices(ledger, anew=in_force != self._in_force)
        self._in_force = in_force
        return find_notes(
            files,
            Surroundings(
                model=model,
                threshold=_threshold(self._pipeline(), in_force[MODEL]),
                devices=self._devices | frozenset(devices),
                listed=listed,
            ),
        )

    def _read_devices(self, ledger: Ledger, *, anew: bool) -> None:
        uptime_s = self._uptime()
        if anew or self._read_at_s is None or uptime_s - self._read_at_s >= self._every_s:
            self._devices = _devices(self._pipeline(), ledger)
            self._read_at_s = uptime_s


def _devices(pipeline: Pipeline, ledger: Ledger) -> frozenset[str]:
    """Return the devices that have a picture; none while it cannot be known which have."""
    stages = pipeline.readers(pipeline.inputs)
    waiting = [slot.key for stage in stages for slot in islice(ledger.slots(stage.name, states=_WAITING), MOST_WAITING)]
    devices = {device_of(pipeline.group_of(key)) for key in waiting}
    if UNNAMED in devices or len(waiting) >= MOST_WAITING:
        return frozenset()
    return (frozenset(map(device_of, ledger.sums(PICTURES))) | devices) - {UNNAMED}


def _names_devices(file: FileFacts) -> bool:
    globs = [globs for rule in file.rules for globs in (rule.devices, *rule.zones.values())]
    return bool(file.sites or file.clocks) or any(one != EVERY_DEVICE for one in globs)


def _threshold(pipeline: Pipeline, models: Sequence[Reference]) -> float:
    """Return the threshold of the stage that uses the model: its parameter, or else what the model's manifest says; 0
    where neither is a number."""
    params = [stage.params for stage in pipeline.stages if stage.references and stage.references.bucket == MODEL]
    given = [one.get("threshold") for one in (*params, *(model.meta for model in models))]
    return next((float(one) for one in given if isinstance(one, int | float)), 0.0)
