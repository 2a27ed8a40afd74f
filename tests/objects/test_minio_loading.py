"""Loading of the package minio, in processes of their own: the client for administration comes when one is made."""

from __future__ import annotations

import subprocess
import sys

import pytest

ADMIN = {"Crypto", "argon2"}
"""Packages that only the client for administration loads."""


def loaded(program: str) -> set[str]:
    """Return the packages that a process has loaded after this program."""
    program += "\nprint('loaded:', *(name for name in sys.modules if '.' not in name))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys\n{program}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.partition("loaded:")[2].split())


@pytest.mark.parametrize("module", ["client", "admin", "health", "buckets", "errors"])
def test_the_store_is_loaded_without_the_client_for_administration(module: str) -> None:
    found = loaded(f"import lookout.object_store.minio.{module}")
    assert "minio" in found
    assert not ADMIN & found


def test_the_package_itself_is_loaded_with_the_first_connection() -> None:
    assert "minio" not in loaded("from lookout.object_store.minio import MinioStore")


def test_the_client_for_administration_is_the_real_one() -> None:
    program = """
import lookout.object_store.minio
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
first, second = (MinioAdmin(endpoint="a:1", credentials=StaticProvider("key", "secret")) for _ in range(2))
from minio.minioadmin import MinioAdmin as Real
assert type(first) is type(second) is Real
assert Real.__module__ == "minio.minioadmin"
"""
    assert loaded(program) >= ADMIN


def test_whoever_has_loaded_minio_before_keeps_what_it_has() -> None:
    program = """
from minio import MinioAdmin
import lookout.object_store.minio, minio.minioadmin
assert minio.minioadmin.MinioAdmin is MinioAdmin is minio.MinioAdmin
assert isinstance(MinioAdmin, type)
"""
    assert loaded(program) >= ADMIN
