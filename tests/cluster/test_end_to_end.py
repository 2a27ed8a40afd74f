"""From an upload to results, provenance and mail by events and workflows; equal to the embedded run."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from .argo_kit import Argo, until
from .conftest import Cluster

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "examples" / "photos"
RULES = ROOT / "examples" / "rules"
LOOKOUT = Path(sys.executable).with_name("lookout")
COMPARED = ("validate", "object-detect", "threat-detect")
DELETED = "porch"
SETTLED_S = 420.0
"""Ten pipelines of which four run at once, on a machine with other work."""


@dataclass(kw_only=True)
class Deployment:
    """The deployment in the cluster, as its users reach it; ``prefix`` is a folder of keys that nobody else has."""

    cluster: Cluster
    prefix: str = field(default_factory=lambda: f"e2e-{uuid.uuid4().hex[:8]}/")

    def secret(self, name: str) -> dict[str, str]:
        data = self.cluster.get("secret", name)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def address(self, service: str) -> str:
        return str(self.cluster.get("service", service)["spec"]["clusterIP"])

    @cached_property
    def environment(self) -> dict[str, str]:
        return {
            "LOOKOUT_STORE": f"s3+http://{self.address('minio')}:9000",
            "LOOKOUT_LEDGER": f"etcd://{self.address('etcd')}:2379",
            **self.secret("lookout-ledger"),
        }

    @cached_property
    def store(self) -> Minio:
        """The store, for who may do everything."""
        root = self.secret("lookout-store-root")
        return Minio(
            f"{self.address('minio')}:9000",
            access_key=root["MINIO_ROOT_USER"],
            secret_key=root["MINIO_ROOT_PASSWORD"],
            secure=False,
        )

    def lookout(self, *words: str, user: str = "operator") -> Any:
        """What the command says as JSON."""
        return ask(*words, "--json", env=self.environment | self.secret(f"lookout-store-{user}"))

    def results(self) -> dict[str, tuple[bytes, str]]:
        """Bytes and version of what is visible below the prefix."""
        found = {}
        for bucket in COMPARED:
            # Results may have a folder of their own before the key: valid/ and invalid/.
            for one in self.store.list_objects(bucket, recursive=True):
                if self.prefix in one.object_name:
                    answer = self.store.get_object(bucket, one.object_name)
                    found[f"{bucket}/{one.object_name}"] = (answer.read(), answer.headers["x-amz-version-id"])
                    answer.close()
        return found

    def mails(self) -> list[str]:
        """The subjects of what the mail API took about pictures below the prefix."""
        with urllib.request.urlopen(f"http://{self.address('sendgrid')}:8080/messages") as answer:
            posted = json.load(answer)
        return [one["message"]["subject"] for one in posted if self.prefix in json.dumps(one["message"]["content"])]

    def workflows(self, word: str, about: str) -> list[Mapping[str, Any]]:
        """The workflows whose name begins with the word and whose parameters name this."""
        every = self.cluster.get("workflows")["items"]
        return [
            one
            for one in every
            if one["metadata"]["name"].startswith(word) and about in json.dumps(one["spec"].get("arguments", {}))
        ]

    def looking(self) -> list[Mapping[str, Any]]:
        """The workflows that look for new models and rules."""
        return self.workflows("landed-", "") + self.workflows("reconcile-", "")

    def ended(self, word: str, about: str, number: int) -> list[Mapping[str, Any]]:
        """These workflows once there are so many, and all have ended; they must have succeeded."""

        def look() -> list[Mapping[str, Any]]:
            found = self.workflows(word, about)
            over = [one for one in found if one.get("status", {}).get("finishedAt")]
            return found if len(found) == len(over) == number else []

        found = until(look, SETTLED_S)
        assert {one["status"]["phase"] for one in found} == {"Succeeded"}, found
        return list(found)


def ask(*words: str, env: Mapping[str, str] | None = None) -> Any:
    """What ``lookout`` says as JSON."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LOOKOUT_")}
    done = subprocess.run([LOOKOUT, *words], env=plain | dict(env or {}), capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.returncode, done.stderr)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def deployment(cluster: Cluster) -> Deployment:
    """With the example's rules in force, brought in as any rules are: by landing in their bucket."""
    deployment = Deployment(cluster=cluster)
    given = {file.name: file.read_bytes() for file in RULES.glob("*.json")}
    before = {one["metadata"]["name"] for one in deployment.looking()}
    for name, body in given.items():
        deployment.store.put_object("rules", name, io.BytesIO(body), len(body))
    until(lambda: {one["metadata"]["name"] for one in deployment.looking() if succeeded(one)} - before, SETTLED_S)
    for name, body in given.items():  # by name: MinIO lists nothing below a key that is an object itself
        assert deployment.store.stat_object("rules", f"{name}/rules").size == len(body)
    return deployment


def succeeded(workflow: Mapping[str, Any]) -> bool:
    return bool(workflow.get("status", {}).get("phase") == "Succeeded")


@pytest.fixture(scope="module")
def uploaded(deployment: Deployment) -> Deployment:
    """The sample photographs, uploaded by a device's user, through the events and the workflows."""
    photos = [path for path in PHOTOS.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")]
    said = deployment.lookout("upload", str(PHOTOS), "--prefix", deployment.prefix, user="uploader")
    assert said["uploaded"] == len(photos)
    deployment.ended("pipeline-", deployment.prefix, len(photos))
    return deployment


@pytest.fixture(scope="module")
def embedded(uploaded: Deployment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one machine with nothing but Python makes of the same photographs under the same keys."""
    folder = tmp_path_factory.mktemp("embedded")
    shutil.copytree(PHOTOS, folder / "source" / uploaded.prefix)
    said = ask("run", str(folder / "source"), "--state", str(folder / "state"), "--rules", str(RULES), "--json")
    objects = folder / "state" / "objects"
    made = {
        path.relative_to(objects).as_posix(): path.read_bytes()
        for bucket in COMPARED
        for path in (objects / bucket).rglob("*")
        if path.is_file() and uploaded.prefix in path.as_posix()
    }
    return {"made": made, "said": said}


def test_the_results_are_those_of_the_embedded_run_byte_for_byte(
    uploaded: Deployment, embedded: dict[str, Any]
) -> None:
    there = {path: data for path, (data, _) in uploaded.results().items()}
    assert sorted(there) == sorted(embedded["made"])
    assert [path for path in there if there[path] != embedded["made"][path]] == []


def test_each_alert_was_mailed_once(uploaded: Deployment, embedded: dict[str, Any]) -> None:
    wanted = sum(embedded["said"]["alerts"].values())
    assert wanted > 0
    assert len(until(lambda: len(mails := uploaded.mails()) >= wanted and mails)) == wanted


def test_provenance_names_the_picture_and_the_workflow(uploaded: Deployment) -> None:
    threat = next(path for path in uploaded.results() if path.startswith("threat-detect/") and path.endswith(".json"))
    told = json.dumps(uploaded.lookout("trace", threat))
    assert f"images/{uploaded.prefix}" in told
    assert any(one["metadata"]["name"] in told for one in uploaded.workflows("pipeline-", uploaded.prefix))


def test_a_backfill_of_what_is_done_changes_nothing(uploaded: Deployment) -> None:
    before = uploaded.results()
    with Argo(cluster=uploaded.cluster) as argo:
        given = {"prefix": uploaded.prefix}
        parameters = [{"name": name, "value": value} for name, value in given.items()]
        ended = argo.finished(
            argo.create(
                {
                    "apiVersion": "argoproj.io/v1alpha1",
                    "kind": "Workflow",
                    "metadata": {"generateName": "backfill-"},
                    "spec": {
                        "workflowTemplateRef": {"name": "backfill"},
                        "arguments": {"parameters": parameters},
                    },
                }
            )
        )
    assert ended["status"]["phase"] == "Succeeded"
    assert uploaded.results() == before


def test_a_deleted_picture_takes_its_results_with_it_and_no_other(uploaded: Deployment) -> None:
    before = uploaded.results()
    picture = f"{uploaded.prefix}{DELETED}_1763798400.jpg"
    its = {
        path for path in before if path.partition(".")[0].endswith((f"{DELETED}/1763798400", f"{DELETED}_1763798400"))
    }
    assert {path.partition("/")[0] for path in its} == set(COMPARED)
    uploaded.store.remove_object("images", picture)
    uploaded.ended("pipeline-", picture, 2)
    assert uploaded.results() == {path: data for path, data in before.items() if path not in its}
