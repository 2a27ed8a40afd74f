"""The loop that Lookout is compared with: what anybody would write to detect in a folder of pictures, and no more.

Reads, hashes, decodes, detects, draws, encodes and writes JSON and picture, with the same model and functions as the
stage object-detect and as many processes. It skips nothing, checks nothing, remembers nothing and mails nobody. Run as
``python -m bench.bare SOURCE OUT --workers N``.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lookout.domain.records import Input, LoadedReference, ObjectRef, Reference, Result, Work

MODELS: Final = Path(__file__).parents[1] / "models"

_detect: Callable[[Work], Result] | None = None
_out: Path = Path()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder of pictures")
    parser.add_argument("out", type=Path, help="a new folder for what is made of them")
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    given = parser.parse_args()
    paths = sorted(given.source.iterdir())
    given.out.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    with context.Pool(given.workers, initializer=_start, initargs=(given.out,)) as pool:
        done = sum(1 for _ in pool.imap_unordered(_take, paths, chunksize=8))
        pool.close()
        pool.join()
    print(done)


def _start(out: Path) -> None:
    """Open the model, once in each worker."""
    global _detect, _out
    from stages.object_detect.core import prepare
    from stages.object_detect.manifest import MANIFEST, WEIGHTS

    (manifest,) = MODELS.glob("*.json")
    data = {MANIFEST: manifest.read_bytes(), WEIGHTS: manifest.with_suffix(".onnx").read_bytes()}
    model = LoadedReference(reference=Reference(bucket="model", name=manifest.stem, files={}), data=data)
    _detect, _out = prepare({"threshold": 0.5}, [model]), out


def _take(path: Path) -> None:
    if _detect is None:
        raise RuntimeError("a worker process was given a picture before it was started")
    data = path.read_bytes()
    ref = ObjectRef(bucket="images", key=path.name, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    result = _detect(Work(key=path.name, inputs={"picture": Input(role="picture", ref=ref, data=data)}))
    for output in result.outputs:
        target = _out / output.key
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(output.data)


if __name__ == "__main__":
    main()
