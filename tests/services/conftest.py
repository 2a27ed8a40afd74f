"""Real servers for the tests of this folder: shared ones, each test with names of its own, or a test's own servers.

A program that is missing fails the tests: run ``make test-services``, which builds it.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from devkit.servers.for_tests import (
    Certificates,
    EtcdCluster,
    EtcdServer,
    MinioServer,
    Proxy,
    make_certificates,
)

from .world import Place, ServerWorld

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need servers."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.services)


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """One folder for all shared servers, gone at the end; short, since pytest's own keep the data of three sessions."""
    folder = Path(tempfile.mkdtemp(prefix="lookout-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def etcd(servers_folder: Path) -> Iterator[EtcdServer]:
    """An etcd without passwords for all tests; never stop, freeze or compact it, take ``new_etcd`` for that."""
    with EtcdServer(servers_folder / "etcd", fsync=False) as server:
        yield server


@pytest.fixture(scope="session")
def minio(servers_folder: Path) -> Iterator[MinioServer]:
    """A MinIO for all tests; never stop or freeze it, take ``new_minio`` for that."""
    with MinioServer(servers_folder / "minio") as server:
        yield server


@pytest.fixture(scope="session")
def certificates(servers_folder: Path) -> Certificates:
    """Certificates for servers with TLS."""
    return make_certificates(servers_folder / "certificates")


@pytest.fixture
def prefix() -> str:
    """A name that no other test has: small letters and digits, fit for a bucket, ended by a dash."""
    return f"t{secrets.token_hex(5)}-"


@pytest.fixture
def ledger_settings(etcd: EtcdServer, prefix: str) -> dict[str, str]:
    """LOOKOUT_LEDGER* for a ledger of this test alone, in the shared etcd."""
    return etcd.settings() | {"LOOKOUT_LEDGER": f"{etcd.url}/{prefix}"}


@pytest.fixture
def store_settings(minio: MinioServer, prefix: str) -> dict[str, str]:
    """LOOKOUT_STORE* for a store of this test alone, in the shared MinIO."""
    return minio.settings() | {"LOOKOUT_STORE": f"{minio.url}/{prefix}"}


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Exit stack of the test: what is entered is left when the test ends, the last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def new_etcd(tmp_path: Path, closing: ExitStack) -> Callable[..., EtcdServer]:
    """Starts an etcd of this test; arguments as those of EtcdServer, without the folder."""

    def start(name: str = "etcd", **more: Any) -> EtcdServer:
        return closing.enter_context(EtcdServer(tmp_path / name, **{"fsync": False, **more}))

    return start


@pytest.fixture
def new_cluster(tmp_path: Path, closing: ExitStack) -> Callable[..., EtcdCluster]:
    """Starts a cluster of this test; arguments as those of EtcdCluster, without the folder."""

    def start(members: int = 3, **more: Any) -> EtcdCluster:
        return closing.enter_context(EtcdCluster(tmp_path / "cluster", members, **{"fsync": False, **more}))

    return start


@pytest.fixture
def new_minio(tmp_path: Path, closing: ExitStack) -> Callable[..., MinioServer]:
    """Starts a MinIO of this test; arguments as those of MinioServer, without the folder."""

    def start(name: str = "minio", **more: Any) -> MinioServer:
        return closing.enter_context(MinioServer(tmp_path / name, **more))

    return start


@pytest.fixture
def new_proxy(closing: ExitStack) -> Callable[..., Proxy]:
    """Starts a bad network before an endpoint."""

    def start(target: str, **more: Any) -> Proxy:
        return closing.enter_context(Proxy(target, **more))

    return start


@pytest.fixture
def place(etcd: EtcdServer, minio: MinioServer, prefix: str) -> Place:
    """Return a place for a world of this test alone, on the shared servers."""
    return Place(
        etcd=etcd.endpoint,
        minio=minio.endpoint,
        access_key=minio.access_key,
        secret_key=minio.secret_key,
        prefix=prefix,
    )


@pytest.fixture
def world(tmp_path: Path, place: Place) -> ServerWorld:
    return ServerWorld(root=tmp_path, place=place)
