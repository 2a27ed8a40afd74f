"""A deployment that has a model, rules and no picture yet, and the mail API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lookout.testing.sendgrid_api import SendGridApi
from tests.cli.shell import MODELS, RULES
from tests.services.cli_kit import Site

from .kit import give


@pytest.fixture
def api() -> Iterator[SendGridApi]:
    with SendGridApi() as api:
        yield api


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]) -> Site:
    """Buckets and users, a model and rules in their buckets."""
    site = Site(root=tmp_path, environment=store_settings | ledger_settings)
    site.begin()
    for file in (*MODELS.glob("*.onnx"), *MODELS.glob("*.json")):
        give(site, "model", file.name, file.read_bytes())
    for file in RULES.iterdir():
        give(site, "rules", file.name, file.read_bytes())
    return site
