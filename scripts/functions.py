"""Check of functions: none is longer than 60 lines, its decorators left out. Part of ``make check``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = (
    "lookout",
    "stages",
    "event_sources",
    "workflows",
    "k8s",
    "devkit",
    "bench",
    "scripts",
    "tests",
    "docs",
)
MOST_LINES: Final = 60


def offenders(path: Path) -> Iterator[str]:
    """Yield each function of the file that is too long, as ``path:line: name: lines``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_LINES:
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}: {lines} lines"


def main() -> int:
    """Print the offenders; the exit code is 1 if there is one."""
    found = [line for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) for line in offenders(path)]
    last = f"{len(found)} functions are longer than {MOST_LINES} lines" if found else "functions: fine"
    print("\n".join([*found, last]))  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
