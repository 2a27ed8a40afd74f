"""Messages of etcd: generated from the .proto that is committed, by the locked compiler, and what etcd3 loads on."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
MESSAGES = ROOT / "lookout" / "ledger" / "etcd" / "messages"
GENERATED = ("etcd_pb2.py", "etcd_pb2.pyi", "etcd_pb2_grpc.py")


def test_generating_them_again_gives_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT}"]
    command += [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([*command, str((MESSAGES / "etcd.proto").relative_to(ROOT))], cwd=ROOT, check=True)
    made = tmp_path / MESSAGES.relative_to(ROOT)
    assert sorted(path.name for path in made.iterdir()) == sorted(GENERATED)
    for name in GENERATED:
        assert (made / name).read_text() == (MESSAGES / name).read_text(), "run make messages"


def test_the_extra_has_no_version_that_refuses_them() -> None:
    """They refuse a runtime that is older than their compiler, and one that is two major versions newer."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["servers"]
    specifiers = {(found := Requirement(each)).name: str(found.specifier) for each in declared}
    messages, services = ((MESSAGES / name).read_text() for name in ("etcd_pb2.py", "etcd_pb2_grpc.py"))
    (protobuf,) = re.findall(r"^# Protobuf Python Version: (.*)$", messages, re.MULTILINE)
    (grpc,) = re.findall(r"^GRPC_GENERATED_VERSION = '(.*)'$", services, re.MULTILINE)
    assert specifiers["grpcio"] == f">={grpc}"
    assert specifiers["protobuf"] == f"<{int(protobuf.partition('.')[0]) + 2},>={protobuf}"


def test_etcd3_loads_on_them_and_brings_none_of_its_own() -> None:
    """In a process of its own, where nothing else has imported either. Its own would be refused by this protobuf."""
    program = """
import sys
from lookout.ledger.etcd import Address, EtcdLedger, messages
import etcd3
assert etcd3.etcdrpc is messages is sys.modules["etcd3.etcdrpc"]
assert etcd3.client.__module__ == "etcd3.client"
print(sorted(name for name in sys.modules if name.startswith("etcd3.etcdrpc")))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["['etcd3.etcdrpc']"]


def test_messages_are_handled_in_c() -> None:
    """The runtime in Python would take ten times as long for each message."""
    program = "from google.protobuf.internal import api_implementation as a; print(a.Type())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "upb\n"
