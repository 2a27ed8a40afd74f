"""Measurement of the damage that the stage `validate` finds, the look of damage that it misses, and its cost.

Damages the valid sample photographs in ways that happen to files (a cut upload, a lost or doubled disk block, a flipped
bit) and runs the stage. The tries are seeded, so the same decoder gives the same shares; times depend on the machine.
Run from the repository's root: `python -m bench.damage [--tries N] [--seed N]`. Prints two tables in Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray

from lookout.domain.pipeline import Run
from lookout.domain.records import Input, ObjectRef, Work
from stages.validate import jpeg
from stages.validate.core import prepare

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
END = b"\xff\xd9"
VISIBLE_LEVELS = 16
"""A pixel is wrong when one of its channels, of 256 levels, differs by more."""
FEW_WRONG = 0.01
"""Up to this share of wrong pixels a picture has a spot; above, a good part of it is spoiled."""

Damage = Callable[[bytes, int, int, random.Random], bytes]
"""Spoils a file whose coded data is between the two positions."""


def cut(data: bytes, start: int, end: int, rng: random.Random) -> bytes:
    return data[: rng.randrange(start, end)]


def cut_with_end(data: bytes, start: int, end: int, rng: random.Random) -> bytes:
    return cut(data, start, end, rng) + END


def zeroed(data: bytes, start: int, end: int, rng: random.Random) -> bytes:
    size = 2 ** rng.randint(4, 12)
    at = rng.randrange(start, end - size)
    return data[:at] + bytes(size) + data[at + size :]


def flipped(data: bytes, start: int, end: int, rng: random.Random) -> bytes:
    at = rng.randrange(start, end)
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def replaced(data: bytes, start: int, end: int, rng: random.Random) -> bytes:
    at = rng.randrange(start, end - 16)
    return data[:at] + rng.randbytes(16) + data[at + 16 :]


def missing(data: bytes, start: int, end: int, rng: random.Random) -> bytes:
    size = 2 ** rng.randint(4, 12)
    at = rng.randrange(start, end - size)
    return data[:at] + data[at + size :]


def doubled(data: bytes, start: int, end: int, rng: random.Random) -> bytes:
    size = 2 ** rng.randint(4, 12)
    at = rng.randrange(start, end - size)
    return data[: at + size] + data[at:]


KINDS: dict[str, Damage] = {
    "cut": cut,
    "cut, end marker appended": cut_with_end,
    "16 to 4,096 bytes zeroed": zeroed,
    "16 to 4,096 bytes missing": missing,
    "16 to 4,096 bytes doubled": doubled,
    "16 bytes replaced by random ones": replaced,
    "1 bit flipped": flipped,
}


@dataclass(kw_only=True)
class Found:
    """Outcomes of the tries of one kind. A flag that the photograph has undamaged does not count. The lists compare
    what was accepted unflagged with the original: share of wrong pixels, mean absolute difference in levels, peak
    signal-to-noise ratio in dB."""

    tried: int = 0
    refused: int = 0
    flagged: int = 0
    wrong: list[float] = field(default_factory=list)
    difference: list[float] = field(default_factory=list)
    psnr_db: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=150, help="of each kind on each photograph (default: 150)")
    parser.add_argument("--seed", type=int, default=1, help="of the random damages (default: 1)")
    options = parser.parse_args()
    run = prepare({}, ())
    photos = dict(_valid_photos(run))
    print(f"{len(photos)} photographs, {options.tries} tries of each kind on each, seed {options.seed}\n")
    _print_damage(run, photos, options.tries, options.seed)
    print()
    _print_cost(run, photos)


def _valid_photos(run: Run) -> Iterator[tuple[str, bytes]]:
    for path in sorted(PHOTOS.glob("*.jpg")):
        data = path.read_bytes()
        if run(_work(path.name, data)).label is None:
            yield path.name, data


def _work(key: str, data: bytes) -> Work:
    ref = ObjectRef(bucket="images", key=key, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    return Work(key=key, inputs={"picture": Input(role="picture", ref=ref, data=data)})


def _print_damage(run: Run, photos: dict[str, bytes], tries: int, seed: int) -> None:
    print("| damage | tried | refused | flagged | missed | no pixel wrong | a spot | a part | difference | PSNR, dB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for kind, damage in KINDS.items():
        found = Found()
        for name, data in photos.items():
            _try(run, name, data, damage, random.Random(f"{seed}/{kind}/{name}"), tries, found)
        print(_row(kind, found))


def _try(run: Run, name: str, data: bytes, damage: Damage, rng: random.Random, tries: int, found: Found) -> None:
    scan = jpeg.read_structure(data).scans[0]
    original, usual = _pixels(data), run(_work(name, data)).facts["flags"]
    for _ in range(tries):
        spoiled = damage(data, scan.end, scan.scan_end or scan.end, rng)
        if spoiled == data:
            continue
        result = run(_work(name, spoiled))
        found.tried += 1
        if result.label is not None:
            found.refused += 1
        elif result.facts["flags"] != usual:
            found.flagged += 1
        else:
            difference = np.abs(_pixels(spoiled) - original)
            error = float((difference**2).mean())
            found.wrong.append(float((difference.max(axis=2) > VISIBLE_LEVELS).mean()))
            found.difference.append(float(difference.mean()))
            found.psnr_db.append(10 * float(np.log10(255**2 / error)) if error else float("inf"))


def _pixels(data: bytes) -> NDArray[np.float32]:
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=False)
    return pixels.astype(np.float32)


def _row(kind: str, found: Found) -> str:
    missed = len(found.wrong)
    none, part = sum(share == 0 for share in found.wrong), sum(share > FEW_WRONG for share in found.wrong)
    shares = [f"{100 * n / found.tried:.1f} %" for n in (found.refused, found.flagged, missed)]
    looks = [f"{100 * n / missed:.0f} %" if missed else "-" for n in (none, missed - none - part, part)]
    middles = [f"{median(found.difference):.2f}", f"{median(found.psnr_db):.0f}"] if missed else ["-", "-"]
    return f"| {kind} | {found.tried:,} | {' | '.join((*shares, *looks, *middles))} |"


def _print_cost(run: Run, photos: dict[str, bytes]) -> None:
    print("| photograph | pixels | bytes | validate, ms | plain decode, ms | ratio |")
    print("|---|---:|---:|---:|---:|---:|")
    ratios = []
    for name, data in photos.items():
        work = _work(name, data)
        stage_ms, decode_ms = _best_ms(partial(run, work), partial(simplejpeg.decode_jpeg, data, colorspace="BGR"))
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        ratios.append(stage_ms / decode_ms)
        size = f"{width} x {height} | {len(data):,}"
        print(f"| {name} | {size} | {stage_ms:.2f} | {decode_ms:.2f} | {ratios[-1]:.2f} |")
    print(f"| median | | | | | {median(ratios):.2f} |")


def _best_ms(*calls: Callable[[], object], repeats: int = 60) -> list[float]:
    """Return the shortest time of each call, taken in turns, so that other work on the machine meets all of them
    alike."""
    best = [float("inf")] * len(calls)
    for _ in range(repeats):
        for index, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[index] = min(best[index], (time.perf_counter() - start) * 1000)
    return best


if __name__ == "__main__":
    main()
