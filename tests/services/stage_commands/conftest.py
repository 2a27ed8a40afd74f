"""A deployment that has a model, rules and no picture yet, and the mail API. Each stage has a user of its own in the
store and in the ledger, with the rights that ``lookout init`` gives it and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit.fakes.sendgrid_api import SendGridApi
from devkit.servers.for_tests import EtcdServer
from tests.cli.shell import MODELS, RULES
from tests.services.cli_kit import Site
from tests.services.ruled import RuledSite, credentials

from .kit import give


@pytest.fixture
def api() -> Iterator[SendGridApi]:
    with SendGridApi() as api:
        yield api


@pytest.fixture(scope="session")
def closed_etcd(servers_folder: Path) -> Iterator[EtcdServer]:
    """An etcd that lets nobody in without a password once a site has begun; never stop or freeze it."""
    with EtcdServer(servers_folder / "closed", fsync=False, arguments=["--bcrypt-cost=4"]) as server:
        yield server


@pytest.fixture
def ledger_settings(closed_etcd: EtcdServer, prefix: str) -> dict[str, str]:
    return {"LOOKOUT_LEDGER": f"{closed_etcd.url}/{prefix}"} | credentials(prefix)


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]) -> Site:
    """Buckets and users, a model and rules in their buckets."""
    site = RuledSite(root=tmp_path, environment=store_settings | ledger_settings)
    site.begin()
    for file in (*MODELS.glob("*.onnx"), *MODELS.glob("*.json")):
        give(site, "model", file.name, file.read_bytes())
    for file in RULES.iterdir():
        give(site, "rules", file.name, file.read_bytes())
    return site
