"""Check of docstrings: none begins with a relative or interrogative word. Part of ``make check``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = ("lookout", "stages", "event_sources", "workflows", "k8s", "devkit", "bench", "scripts", "tests")
REFUSED: Final = frozenset({"How", "What", "When", "Where", "Whether", "Which", "Who", "Whom", "Whose", "Why"})


def offenders(path: Path) -> Iterator[str]:
    """Yield each docstring of the file that begins with a refused word, as ``path:line: first line``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node) or ""
            if text.partition(" ")[0].rstrip(",.:") in REFUSED:
                line = node.body[0].lineno
                yield f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"


def main() -> int:
    """Print the offenders; the exit code is 1 if there is one."""
    found = [line for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) for line in offenders(path)]
    print("\n".join([*found, f"{len(found)} docstrings begin with a relative word" if found else "docstrings: fine"]))  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
