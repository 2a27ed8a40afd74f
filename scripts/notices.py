"""Writes the table of run-time libraries in THIRD_PARTY_NOTICES.md anew: ``python scripts/notices.py``.

Names and versions are those of the lock; licences are what the installed packages say of themselves. ``--check`` only
says whether the table is current, with exit code 1 if it is not. Knows nothing of Lookout.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageMetadata, metadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
NOTICES: Final = ROOT / "THIRD_PARTY_NOTICES.md"
LOCK: Final = ROOT / "requirements" / "run.txt"
BEGIN: Final = "<!-- libraries: written by scripts/notices.py -->\n\n"
END: Final = "\n<!-- end of libraries -->\n"
BUILD_ONLY: Final = frozenset({"setuptools"})

_LOCKED: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
_CLASSIFIER: Final = "License :: OSI Approved :: "
_SHORT: Final = 40
_IN_FULL: Final = {"LGPL": "LGPL-3.0", "Apache 2.0": "Apache-2.0", "MIT License": "MIT", "BSD License": "BSD-3-Clause"}
"""What packages write, by the licence's identifier; each was compared with the licence file that the package brings."""


def main() -> None:
    text = NOTICES.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    current = before + BEGIN + table(LOCK.read_text(encoding="utf-8")) + END + after
    if "--check" in sys.argv[1:]:
        sys.exit(0 if current == text else "THIRD_PARTY_NOTICES.md is not current: run python scripts/notices.py")
    NOTICES.write_text(current, encoding="utf-8")


def table(lock: str) -> str:
    """Return the libraries of a lock file as a Markdown table, in the order of their names."""
    versions: dict[str, list[str]] = {}
    for name, version in _LOCKED.findall(lock):
        versions.setdefault(name, []).append(version)
    rows = [
        f"| {name} | {' or '.join(found)} | {licence(metadata(name))} |"
        for name, found in sorted(versions.items())
        if name not in BUILD_ONLY
    ]
    return "\n".join(["| library | version | licence |", "|---|---|---|", *rows]) + "\n"


def licence(package: PackageMetadata) -> str:
    """Return a package's licence: its SPDX expression, else a short licence field, else its classifier."""
    fields = package.json
    expression = fields.get("license_expression")
    if expression:
        return str(expression)
    said = str(fields.get("license", ""))
    if said and len(said) <= _SHORT:
        return _IN_FULL.get(said, said)
    classifiers = [str(item) for item in fields.get("classifier", ()) if str(item).startswith(_CLASSIFIER)]
    names = [item.removeprefix(_CLASSIFIER) for item in classifiers]
    return ", ".join(_IN_FULL.get(name, name) for name in names) or "see the package"


if __name__ == "__main__":
    main()
