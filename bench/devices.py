"""Cost of a look at the health of 1,000 devices known for 31 days, with ten pictures each today, on SQLite.

The pictures are made up. ``python -m bench.devices`` prints seconds: the first look of a process, the next with nothing
new, and the first when all devices are silent.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from devkit.contracts.ledger_kit import record, seen
from lookout.domain.device_health.records import DAY_S, HOUR_S
from lookout.domain.records import Outcome, State
from lookout.ledger.batches import BatchLedger
from lookout.ledger.sqlite import SqliteLedger
from lookout.reports.device_health import HealthReader
from stages.pipeline import PIPELINE

DEVICES: Final = 1000
DAYS: Final = 31
TODAY: Final = 10
_START_S: Final = 1_763_769_600.0
_PIECE: Final = 500


def _fill(ledger: BatchLedger) -> None:
    with ledger.session() as owner:
        for day in range(DAYS):
            taken = {
                f"device{device}_{day}_{number}.jpg": (f"device{device}", _START_S + day * DAY_S + number * HOUR_S)
                for device in range(DEVICES)
                for number in range(TODAY if day == DAYS - 1 else 1)
            }
            keys = list(taken)
            for start in range(0, len(keys), _PIECE):
                _finish(ledger, owner, {key: taken[key] for key in keys[start : start + _PIECE]})


def _finish(ledger: BatchLedger, owner: str, taken: dict[str, tuple[str, float]]) -> None:
    ledger.observe([seen(key, key, at_s=at_s + 1) for key, (_, at_s) in taken.items()], ["validate"])
    done: list[tuple[str, Outcome]] = []
    for key, (device, at_s) in taken.items():
        group = f"{device}/{datetime.fromtimestamp(at_s, UTC).date().isoformat()}"
        made = record(key, f"hash of {key}", stage="validate", group=group, counts={"pictures": 1, "valid": 1})
        done.append((key, Outcome(state=State.SUCCESS, record=replace(made, at_s=at_s))))
    claims = {claim.key: claim for claim in ledger.claim("validate", owner, len(taken), 60.0, list(taken))}
    ledger.commit([(claims[key], outcome) for key, outcome in done])


def _look_s(reader: HealthReader, ledger: BatchLedger, now_s: float) -> float:
    began_s = time.perf_counter()
    reader.look(ledger, now_s)
    return time.perf_counter() - began_s


def main() -> None:
    """Fill a ledger in a temporary folder, look, and print."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqliteLedger(Path(folder) / "ledger.sqlite")
        _fill(ledger)
        now_s = _START_S + (DAYS - 1) * DAY_S + (TODAY + 1) * HOUR_S
        reader = HealthReader(PIPELINE, every_s=0.0)
        first_s, next_s = _look_s(reader, ledger, now_s), _look_s(reader, ledger, now_s)
        silent_s = _look_s(HealthReader(PIPELINE), ledger, now_s + 5 * DAY_S)
        print(f"first {first_s:.2f} s, next {next_s:.2f} s, all silent {silent_s:.2f} s")
        ledger.close()


if __name__ == "__main__":
    main()
