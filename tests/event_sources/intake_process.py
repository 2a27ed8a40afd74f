"""A process that serves an intake of a world: ``python -m tests.event_sources.intake_process ROOT URL HOLD_S``.

Says its port, then serves until it is told to end. Each look takes HOLD_S, after the file ROOT/looked was made.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from event_sources.intake.dispatcher import Pace
from event_sources.intake.service import listen
from lookout.domain.records import Observation
from tests.event_sources.intake_kit import FolderPictures, RealWorld, make_intake


def main() -> None:
    root, url, hold_s = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    world = RealWorld(root)

    def look(_: Observation) -> None:
        (root / "looked").touch()
        time.sleep(hold_s)

    intake = make_intake(world, FolderPictures(world, looked=look), url, pace=Pace(age_s=0.05), nonce="p")
    listening = listen("127.0.0.1", 0)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    intake.serve(listening)


if __name__ == "__main__":
    main()
