"""``scripts/audit.py``: what is known of the locked packages, and what is not. The index is a stand-in here."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
from packaging.version import Version
from pip_audit._service.pypi import PyPIService
from requests.adapters import BaseAdapter

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "audit.py"
ADVISORY = {"id": "PYSEC-1", "aliases": ["CVE-1"], "summary": "Reads too far.", "fixed_in": ["1.1"], "details": ""}
ADVISORY |= {"published": "2026-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Index(BaseAdapter):
    """The package index: pages by project, or by project and version; any other is not found."""

    def __init__(self, pages: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        self._pages = pages

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        assert request.url is not None
        page = self._pages.get(request.url.partition("/pypi/")[2].removesuffix("/json"))
        answer = requests.Response()
        answer.status_code = 404 if page is None else 200
        answer.raw = io.BytesIO(json.dumps(page).encode())
        return answer

    def close(self) -> None:
        pass


def look_up(audit: ModuleType, pages: dict[str, dict[str, Any]], version: str) -> tuple[list[str], list[str]]:
    session = requests.Session()
    session.mount("https://", Index(pages))
    service = PyPIService()
    service.session = audit.NewestPages(session)
    return audit.audit(service, [("thing", Version(version))])


@pytest.mark.parametrize(
    ("pages", "found", "unknown"),
    [
        ({"thing/1.0": {"vulnerabilities": []}}, 0, 0),
        ({"thing/1.0": {"vulnerabilities": [ADVISORY]}}, 1, 0),
        ({"thing": {"info": {"version": "1.0.0"}, "vulnerabilities": []}}, 0, 0),
        ({"thing": {"info": {"version": "1.0"}, "vulnerabilities": [ADVISORY]}}, 1, 0),
        ({"thing": {"info": {"version": "2.0"}, "vulnerabilities": []}}, 0, 1),
        ({}, 0, 1),
    ],
)
def test_a_package_is_looked_up_by_its_version_or_as_the_newest_of_its_project(
    audit: ModuleType, pages: dict[str, dict[str, Any]], found: int, unknown: int
) -> None:
    lines, not_looked_up = look_up(audit, pages, "1.0")
    assert (len(lines), len(not_looked_up)) == (found, unknown)
    if found:
        assert "thing 1.0: PYSEC-1, fixed in 1.1: Reads too far." in lines[0]


def test_an_index_that_cannot_be_reached_is_a_failure_that_says_so() -> None:
    nowhere = os.environ | {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "NO_PROXY": ""}
    done = subprocess.run([sys.executable, SCRIPT], env=nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    last, summary = done.stdout.splitlines()[-2:]
    number = last.split()[0]
    assert last == f"{number} of {number} locked packages could not be looked up: nothing is known of those."
    assert int(number) > 50
    assert summary == "0 known vulnerabilities in the other 0 packages."


@pytest.mark.parametrize(
    ("locked", "newest", "reasons", "fine", "said"),
    [
        ("a==1", "a==1", {}, True, "a 1: newest"),
        ("a==1", "a==1.1", {}, False, "a 1: behind 1.1: no reason"),
        ("a==1", "a==1.1", {"a": "b wants it"}, True, "a 1: behind 1.1: b wants it"),
        ("a==1", "a==1", {"a": "b wants it"}, False, "a: not behind"),
        ("a==1 ; x\na==2 ; y", "a==1 ; x\na==2 ; y", {}, True, "a 1: newest"),
    ],
)
def test_a_version_behind_the_newest_needs_a_reason_and_no_other_has_one(
    audit: ModuleType, locked: str, newest: str, reasons: dict[str, str], fine: bool, said: str
) -> None:
    lines = list(audit.compare(audit.locked([locked]), audit.locked([newest]), reasons))
    assert all(is_fine for _, is_fine in lines) == fine
    assert any(line.startswith(said) for line, _ in lines)


def test_reasons_are_given_for_packages_that_are_locked(audit: ModuleType) -> None:
    names = {name for name, _ in audit.locked([path.read_text() for path in audit.LOCKS])}
    reasons = tomllib.loads(audit.REASONS.read_text(encoding="utf-8"))
    assert set(reasons) <= names
    assert all(reasons.values())
