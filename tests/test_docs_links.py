"""Targets of links in the documents: files, headings, paths of this repository, targets of make."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = ("", "docs", "docs/decisions", "examples", "models")
PAGES = sorted(page for place in PLACES for page in (ROOT / place).glob("*.md"))
ROOMS = (
    "bench",
    "docs",
    "event_sources",
    "examples",
    "lookout",
    "models",
    "requirements",
    "scripts",
    "stages",
    "tests",
)

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(rf"(?:{'|'.join(ROOMS)})/[A-Za-z0-9_./-]*")
_MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def code(page: Path) -> Iterator[str]:
    """All that the page sets as code: words between backticks, and lines of blocks."""
    text = page.read_text(encoding="utf-8")
    yield from _CODE.findall(_FENCE.sub("", text))
    for block in _FENCE.findall(text):
        yield from block.splitlines()[1:-1]


def anchors(page: Path) -> set[str]:
    """The fragments by which a page's headings can be reached, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_there_are_pages() -> None:
    assert {"README.md", "docs/README.md", "docs/cli.md", "models/README.md"} <= {name(page) for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paths_of_the_repository_exist(page: Path) -> None:
    found = [text for text in code(page) if _PATH.fullmatch(text)]
    assert [path for path in found if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_targets_of_make_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    called = {target for text in code(page) for target in _MAKE.findall(text)}
    assert called <= targets


def test_every_page_is_listed() -> None:
    """No page is lost: the index of the documents names each, and so does that of the decisions."""
    for folder in (ROOT / "docs", ROOT / "docs" / "decisions"):
        listed = set(_LINK.findall(prose(folder / "README.md")))
        assert {page.name for page in folder.glob("*.md")} - {"README.md"} <= listed


def test_decisions_are_numbered_without_a_hole() -> None:
    pages = [page.name for page in PAGES if page.parent.name == "decisions" and page.name != "README.md"]
    assert [int(page[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = (ROOT / "docs" / "decisions" / page).read_text(encoding="utf-8")
        assert text.startswith(f"# {int(page[:4])}. ")
        assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_the_notices_name_every_library_of_the_lock_and_no_other() -> None:
    lock = (ROOT / "requirements" / "run.txt").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", lock, flags=re.MULTILINE))
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    table = notices.partition("| library | version | licence |")[2]
    rows = re.findall(r"^\| ([a-z0-9.-]+) \| ([^|]+) \| ([^|]+) \|$", table, flags=re.MULTILINE)
    named = {(library, version) for library, versions, _ in rows for version in versions.split(" or ")}
    assert named == {(library, version) for library, version in locked if library != "setuptools"}


def test_the_layers_are_those_that_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert "\n".join(layer.replace(" | ", ", ") for layer in layers) in page
