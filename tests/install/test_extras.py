"""Extras of the installation: what is declared is what commands name, and other failed imports stay what they are."""

from __future__ import annotations

import re
import tomllib

import pytest

from lookout.app.extras import EXTRAS, explain
from lookout.domain.errors import InputRejected
from tests.install.conftest import ROOT

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
OF_THE_CORE = {"protobuf"}
"""A package that is there in any case: the extra only names its versions."""
IMPORTED_AS = {"python-multipart": "python_multipart", "grpcio": "grpc", "nats-py": "nats", "paho-mqtt": "paho"}


def test_each_package_of_an_extra_is_explained_by_that_extra() -> None:
    for extra, requirements in DECLARED.items():
        names = {re.split(r"[^a-z0-9-]", requirement)[0] for requirement in requirements} - {"lookout", *OF_THE_CORE}
        assert {EXTRAS[IMPORTED_AS.get(name, name)] for name in names} == {extra}
    assert set(EXTRAS.values()) == set(DECLARED)


@pytest.mark.parametrize("module", ["minio", "minio.error", "etcd3", "grpc"])
def test_a_failed_import_of_an_extra_is_told_by_what_to_install(module: str) -> None:
    explained = explain(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert isinstance(explained, InputRejected)
    assert "pip install 'lookout[servers]'" in str(explained)


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("no", name="numpy"), ModuleNotFoundError("no"), ImportError("no"), ValueError("no")]
)
def test_any_other_error_stays_as_it_is(error: Exception) -> None:
    assert explain(error) is error
