"""Lookout in the cluster as its users reach it: store, ledger, command line, letters, workflows.

A test run has a tag, with which the names of its devices, rules and models begin, so that it needs no empty cluster and
is in nobody's way.
"""

from __future__ import annotations

import base64
import io
import json
import secrets
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from minio import Minio
from minio.error import S3Error

from lookout.app.deployment import open_ledger, open_minio
from lookout.config.settings import Settings
from lookout.ledger.port import Ledger
from lookout.object_store.minio.notifications import CONFIG_ID, Target, notify
from tests.workflows.reading import Tree

from .argo_kit import until
from .cluster import Cluster
from .embedded import DEVICES, FOLDERS, MANIFEST, MODEL, Embedded, Letter, ask, rules_for

EVENT_SOURCE = "LOOKOUT"
INTAKE = "INTAKE"
ACCEPTED = 202
SETTLED_S = 420.0
"""Ten pipelines of which two run at once, on a machine with other work."""


@dataclass(kw_only=True)
class Deployment:
    """The deployment in the cluster. Devices are named without the tag."""

    cluster: Cluster
    tag: str = field(default_factory=lambda: f"e2e{secrets.token_hex(4)}")

    def secret(self, name: str) -> dict[str, str]:
        data = self.cluster.get("secret", name)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    @cached_property
    def addresses(self) -> dict[str, str]:
        """Of the services, by name."""
        return {one["metadata"]["name"]: one["spec"]["clusterIP"] for one in self.cluster.get("services")["items"]}

    @cached_property
    def environment(self) -> dict[str, str]:
        return {
            "LOOKOUT_STORE": f"s3+http://{self.addresses['minio']}:9000",
            "LOOKOUT_LEDGER": f"etcd://{self.addresses['etcd']}:2379",
            **self.secret("lookout-ledger"),
        }

    @cached_property
    def store(self) -> Minio:
        """The store, for who may do everything."""
        root = self.secret("lookout-store-root")
        return Minio(
            f"{self.addresses['minio']}:9000",
            access_key=root["MINIO_ROOT_USER"],
            secret_key=root["MINIO_ROOT_PASSWORD"],
            secure=False,
        )

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        where = {name: value for name, value in self.environment.items() if name.startswith("LOOKOUT_LEDGER")}
        opened = open_ledger(Settings.from_environment(where), Path())
        try:
            yield opened
        finally:
            opened.close()

    def lookout(self, *words: str, user: str = "operator") -> Any:
        """Return the command's JSON."""
        return ask(*words, "--json", env=self.variables(user))

    def variables(self, user: str) -> dict[str, str]:
        """The environment of a user's command."""
        return self.environment | self.secret(f"lookout-store-{user}")

    # --- the way of what lands --------------------------------------------------------------------------------------

    @contextmanager
    def by(self, target: str) -> Iterator[None]:
        """Until the end, what lands is told to this target of MinIO's: EVENT_SOURCE, which makes a workflow for each
        object, or INTAKE, which runs only then."""
        before = self.target()
        self._tell(target)
        try:
            yield
        finally:
            self._tell(before)

    def target(self) -> str:
        queues = self.store.get_bucket_notification("images").queue_config_list
        (queue,) = (one for one in queues if one.config_id == CONFIG_ID)
        return str(queue.queue).split(":")[-2]

    def _tell(self, target: str) -> None:
        if target == INTAKE:
            self.scale_intake(1)
        root = self.secret("lookout-store-root")
        access = {"ACCESS_KEY": root["MINIO_ROOT_USER"], "SECRET_KEY": root["MINIO_ROOT_PASSWORD"]}
        settings = Settings.from_environment(
            {"LOOKOUT_STORE": self.environment["LOOKOUT_STORE"]}
            | {f"LOOKOUT_STORE_{name}": value for name, value in access.items()}
        )
        assert settings.store is not None
        told = Target(arn=f"arn:minio:sqs::{target}:webhook")
        wanted = {bucket: [told] for bucket in ("images", "devices", "model", "rules")}
        if target == INTAKE:
            wanted["images"].append(Target(arn="arn:minio:sqs::HINTS:nats", hints=True))
        notify(open_minio(settings.store), wanted)
        if target != INTAKE:
            self.scale_intake(0)

    def scale_intake(self, replicas: int) -> None:
        """To so many pods; waits until there are these and no others."""
        self.cluster.kubectl("scale", "deployment/intake", f"--replicas={replicas}")
        self.cluster.kubectl("rollout", "status", "deployment/intake", "--timeout=110s")
        if not replicas:
            pods = ("pod", "--selector=app.kubernetes.io/name=intake")
            self.cluster.kubectl("wait", *pods, "--for=delete", "--timeout=110s")

    def begin(self, *devices: str) -> None:
        """The shipped model in force, and the rules of this tag for the devices of the examples and these."""
        # The test of a new model, if it was killed, has left one.
        shipped = (MODEL / MANIFEST).read_bytes()
        model = json.loads(shipped)["name"]
        if self.lookout("status")["in_force"]["model"] not in ([], [model]):
            self.put("model", MANIFEST, shipped)
            self.taken("model", model)
        self.put("rules", self.rules, rules_for(self.tag, *devices))
        self.taken("rules", self.rules)

    @property
    def rules(self) -> str:
        return f"{self.tag}.json"

    # --- pictures and what is made of them --------------------------------------------------------------------------

    def put(self, bucket: str, key: str, body: bytes) -> None:
        self.store.put_object(bucket, key, io.BytesIO(body), len(body))

    def versions(self, *devices: str) -> dict[str, str]:
        """Return the visible results, and the version of each."""
        return {
            f"{bucket}/{one.object_name}": str(one.version_id)
            for bucket, folders in FOLDERS.items()
            for start in (f"{folder}{self.tag}-{device}" for folder in folders for device in devices)
            for one in self.store.list_objects(bucket, prefix=start, recursive=True, include_version=True)
            if one.is_latest == "true" and not one.is_delete_marker
        }

    def results(self, *devices: str) -> dict[str, bytes]:
        """Return the visible results, by bucket and key."""
        found = {}
        for path in self.versions(*devices):
            bucket, _, key = path.partition("/")
            try:
                answer = self.store.get_object(bucket, key)
            except S3Error as error:  # work goes on meanwhile: ``until`` looks again
                raise AssertionError(f"{path}, seen a moment ago: {error.code}") from error
            found[path] = answer.read()
            answer.close()
            answer.release_conn()
        return found

    def mails(self) -> list[Any]:
        """Return the mails that the mail API took."""
        with urllib.request.urlopen(f"http://{self.addresses['sendgrid']}:8080/messages") as answer:
            return [one["message"] for one in json.load(answer) if one["status"] == ACCEPTED]

    def letters(self, *devices: str) -> list[Letter]:
        """Return the mails of these devices that the mail API took, in order."""
        return sorted(
            (to["email"], one["subject"])
            for one in self.mails()
            if any(f"{self.tag}-{device}" in one["subject"] for device in devices)
            for person in one["personalizations"]
            for to in person["to"]
        )

    # --- workflows --------------------------------------------------------------------------------------------------

    def workflows(self, word: str, *abouts: str) -> list[Tree]:
        """The workflows whose name begins with the word and whose parameters name one of these."""
        every = self.cluster.get("workflows")["items"]
        found = [(one, json.dumps(one["spec"].get("arguments", {}))) for one in every]
        return [
            one
            for one, given in found
            if one["metadata"]["name"].startswith(word) and any(about in given for about in abouts)
        ]

    def runs_of(self, *keys: str) -> set[str]:
        """The workflows that have validated these pictures, once all are through."""
        with self.ledger() as ledger:

            def look() -> set[str]:
                records = [slot.record for slot in ledger.find_slots("validate", keys).values()]
                through = len(records) == len(keys) and all(records)
                return {record.run for record in records if record} if through else set()

            return set(until(look, SETTLED_S))

    def submit(self, template: str, **parameters: str) -> str:
        """The name of a workflow of this template, submitted as an operator does."""
        given = [word for name, value in parameters.items() for word in ("--parameter", f"{name}={value}")]
        done = self.cluster.argo("submit", f"--from=workflowtemplate/{template}", "--output=name", *given)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def finished(self, *names: str) -> list[Tree]:
        """The workflows, once all are completed."""
        words = ("wait", "--for=condition=Completed", f"--timeout={SETTLED_S:.0f}s", "workflow", *names)
        self.cluster.kubectl(*words, deadline_s=SETTLED_S + 30)
        return [self.cluster.get("workflow", name) for name in names]

    def ended(self, word: str, *abouts: str, number: int = 1) -> None:
        """Wait until there are so many of these workflows, and all have ended; they must have succeeded."""
        found = until(lambda: some if len(some := self.workflows(word, *abouts)) >= number else [], SETTLED_S)
        names = [one["metadata"]["name"] for one in found]
        assert len(names) == number, names
        told = {one["metadata"]["name"]: one["status"]["phase"] for one in self.finished(*names)}
        assert set(told.values()) == {"Succeeded"}, told

    def taken(self, bucket: str, name: str) -> None:
        """Wait until this model, or this file of rules, is in force, and who saw it first, the workflow of its event or
        one of the clock, has done what it changes."""
        with self.ledger() as ledger:
            until(lambda: name in [one.name for one in ledger.references(bucket)], SETTLED_S)
        looking = self.workflows("landed-", "") + self.workflows("reconcile-", "")
        if at_work := [one["metadata"]["name"] for one in looking if not one.get("status", {}).get("finishedAt")]:
            self.finished(*at_work)


@contextmanager
def by_intake(cluster: Cluster, *devices: str) -> Iterator[Deployment]:
    """The deployment with a tag of its own, and rules for these devices, while what lands is told to the intake. The
    rules are brought in as any are: by landing in their bucket."""
    made = Deployment(cluster=cluster)
    with made.by(INTAKE):
        made.begin(*devices)
        try:
            yield made
        finally:
            made.store.remove_object("rules", made.rules)


def assert_equal(deployment: Deployment, embedded: Embedded, *devices: str) -> None:
    """Byte for byte, in the end; and nobody got a letter less, or one twice. Of the devices of the examples, if none
    are named."""
    devices = devices or tuple(DEVICES)
    wanted, letters = embedded.results(*devices), embedded.letters(*devices)
    with suppress(AssertionError):  # what differs is said below
        until(
            lambda: deployment.results(*devices) == wanted and len(deployment.letters(*devices)) >= len(letters),
            SETTLED_S,
        )
    there = deployment.results(*devices)
    assert sorted(there) == sorted(wanted)
    assert [path for path in there if there[path] != wanted[path]] == []
    assert letters
    assert deployment.letters(*devices) == letters
