"""A deployment in a cluster, as the benchmarks use it: pictures in, workflows made and waited for, costs read.

What is measured lies under a prefix of keys that nobody else has. Whatever a benchmark changes in the deployment beside
that is put back. Knows no single benchmark.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from minio import Minio
from minio.error import MinioException
from minio.notificationconfig import NotificationConfig

from bench.measure import ROOT
from k8s.kubectl import Failed, Kubectl
from k8s.local.site import Site
from lookout.app.catch_up import take_references
from lookout.app.deployment import Deployment, Program
from lookout.app.input_source import input_source
from lookout.config.settings import Settings
from lookout.domain.records import State
from stages.installation import INSTALLATION

IMAGES: Final = "images"
LOGS: Final = "lookout-logs"
LIMITS: Final = "lookout-limits"
RECONCILE: Final = "reconcile"
INTAKE: Final = "intake"
_OF_INTAKE: Final = f"app.kubernetes.io/name={INTAKE}"
RULES: Final = ROOT / "examples" / "rules"
TOGETHER: Final = 8
"""Uploads at once."""
_DEADLINE_S: Final = 900.0
_PAUSE_S: Final = 0.5
_COUNTERS: Final = {
    "minio_cpu_s": "minio_process_cpu_seconds_total",
    "etcd_cpu_s": "process_cpu_seconds_total",
    "disk_s": "etcd_disk_wal_fsync_duration_seconds_sum",
}


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """Lookout in the cluster that kubectl speaks to; the local one, if the environment names no other."""

    kubectl: Kubectl
    prefix: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:8]}/")

    def get(self, *words: str) -> dict[str, Any]:
        tree = json.loads(self.kubectl("get", *words, "--output=json"))
        return dict(tree)

    def _secret(self, name: str) -> dict[str, str]:
        data = self.get("secret", name)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def _address(self, service: str, port: int) -> str:
        return f"{self.get('service', service)['spec']['clusterIP']}:{port}"

    @cached_property
    def _settings(self) -> Settings:
        return Settings.from_environment(
            {
                "LOOKOUT_STORE": f"s3+http://{self._address('minio', 9000)}",
                "LOOKOUT_LEDGER": f"etcd://{self._address('etcd', 2379)}",
                **self._secret("lookout-ledger"),
                **self._secret("lookout-store-operator"),
            }
        )

    @cached_property
    def _root(self) -> Minio:
        """The store for who may do everything: who else could take pictures out of it for good?"""
        root = self._secret("lookout-store-root")
        return Minio(
            self._address("minio", 9000),
            access_key=root["MINIO_ROOT_USER"],
            secret_key=root["MINIO_ROOT_PASSWORD"],
            secure=False,
        )

    @contextmanager
    def open(self) -> Iterator[Deployment]:
        """Ledger and store, by the operator's user."""
        with Program(settings=self._settings, installation=INSTALLATION).open() as opened:
            yield opened

    # --- pictures ---------------------------------------------------------------------------------------------------

    def upload(self, name: str, data: bytes) -> str:
        """Put a picture into the bucket; its key. It is there when this returns."""
        key = f"{self.prefix}{name}"
        self._root.put_object(IMAGES, key, io.BytesIO(data), len(data), "image/jpeg")
        return key

    def bring(self, folder: Path) -> list[str]:
        """Have all pictures of a folder in the bucket and waiting in the ledger; their keys. It has to be quiet, or
        events and the clock would take them."""
        paths = sorted(folder.iterdir())
        with ThreadPoolExecutor(TOGETHER) as pool:
            keys = list(pool.map(lambda path: self.upload(path.name, path.read_bytes()), paths))
        self._look(keys)
        return keys

    def ensure_rules(self) -> None:
        """Bring the example's rules into force where none are."""
        with self.open() as opened:
            if opened.ledger.references("rules"):
                return
            with self.quiet("rules"):
                for path in sorted(RULES.glob("*.json")):
                    data = path.read_bytes()
                    self._root.put_object("rules", path.name, io.BytesIO(data), len(data), "application/json")
            take_references(opened)

    def remove(self) -> None:
        """Take the pictures and what was made of them away. Raises RuntimeError when something stays."""
        with self.quiet():
            keys = [str(one.object_name) for one in self._root.list_objects(IMAGES, self.prefix, recursive=True)]
            for key in keys:
                self._root.remove_object(IMAGES, key)
            if keys:
                self._look(keys)
                self.backfill({})
        with self.open() as opened:
            left = next(opened.ledger.inputs(IMAGES, self.prefix), None)
        if left is not None:
            raise RuntimeError(f"{left.key} is still known")

    def _look(self, keys: Sequence[str]) -> None:
        with self.open() as opened:
            look = input_source(opened).observe_again
            for key in keys:
                look(key)

    @contextmanager
    def quiet(self, bucket: str = IMAGES) -> Iterator[None]:
        """No event of this bucket, no look at its listing by the clock, and no intake that cuts what waits."""
        told = self._root.get_bucket_notification(bucket)
        intakes = self.get("deployments", f"--selector={_OF_INTAKE}")["items"]
        self._suspend(True)
        if intakes:
            self._scale(0)
        try:
            self._root.set_bucket_notification(bucket, NotificationConfig())
            yield
        finally:
            self._root.set_bucket_notification(bucket, told)
            if intakes:
                self._scale(intakes[0]["spec"]["replicas"])
            self._suspend(False)

    def _scale(self, replicas: int) -> None:
        """The intake to so many pods; waits until there are these and no others."""
        self.kubectl("scale", f"deployment/{INTAKE}", f"--replicas={replicas}")
        self.kubectl("rollout", "status", f"deployment/{INTAKE}", f"--timeout={_DEADLINE_S:.0f}s")
        if not replicas:
            self.kubectl("wait", "pod", f"--selector={_OF_INTAKE}", "--for=delete", f"--timeout={_DEADLINE_S:.0f}s")

    def _suspend(self, suspended: bool) -> None:
        self.kubectl("patch", "cronworkflow", RECONCILE, "--type=merge", "-p", _json({"spec": {"suspend": suspended}}))

    # --- workflows --------------------------------------------------------------------------------------------------

    def backfill(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Run a backfill of what is under the prefix; return the Workflow at its end. Raises as ``finished``."""
        given = {"prefix": self.prefix, **parameters}
        made = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"generateName": "bench-backfill-"},
            "spec": {
                "workflowTemplateRef": {"name": "backfill"},
                "arguments": {"parameters": [{"name": name, "value": value} for name, value in given.items()]},
            },
        }
        said = json.loads(self.kubectl("create", "-f", "-", "-o", "json", given=_json(made)))
        return self.finished(said["metadata"]["name"])

    def runs_of(self, keys: Sequence[str], stages: Sequence[str]) -> set[str]:
        """Return the workflows that have worked on these pictures, once these stages have finished all. Raises
        RuntimeError when they are not in time."""
        ends_s = time.monotonic() + _DEADLINE_S
        with self.open() as opened:
            while time.monotonic() < ends_s:
                found = [opened.ledger.find_slots(stage, keys) for stage in stages]
                slots = [slot for each in found for slot in each.values()]
                if len(slots) == len(keys) * len(stages) and all(slot.state is State.SUCCESS for slot in slots):
                    return {slot.record.run for slot in slots if slot.record is not None}
                time.sleep(_PAUSE_S)
        raise RuntimeError(f"{', '.join(stages)}: not through with {len(keys)} pictures within {_DEADLINE_S:.0f} s")

    def finished(self, name: str) -> dict[str, Any]:
        """Return the Workflow, once it has ended. Raises RuntimeError if it did not succeed."""
        self.kubectl("wait", "--for=condition=Completed", f"--timeout={_DEADLINE_S:.0f}s", f"workflow/{name}")
        workflow = self.get("workflow", name)
        if workflow["status"]["phase"] != "Succeeded":
            raise RuntimeError(f"workflow {name}: {workflow['status']['phase']}: {workflow['status'].get('message')}")
        return workflow

    @contextmanager
    def workers_at_once(self, number: int) -> Iterator[None]:
        """With this many workers allowed."""
        before = self.get("configmap", LIMITS)["data"]["workers"]
        self._limit(str(number))
        try:
            yield
        finally:
            self._limit(before)

    def _limit(self, workers: str) -> None:
        self.kubectl("patch", "configmap", LIMITS, "--type=merge", "-p", _json({"data": {"workers": workers}}))

    def logs(self, workflow: str) -> dict[tuple[str, str], str]:
        """Return the logs of its containers, by (pod, container). Argo archives them before a pod ends."""
        found = {}
        for one in self._root.list_objects(LOGS, recursive=True, prefix=time.strftime("%Y-", time.gmtime())):
            _, of, *rest = str(one.object_name).split("/")
            if of == workflow:
                answer = self._root.get_object(LOGS, str(one.object_name))
                try:
                    found[rest[0], rest[-1].removesuffix(".log")] = answer.read().decode(errors="replace")
                finally:
                    answer.close()
                    answer.release_conn()
        return found

    # --- costs ------------------------------------------------------------------------------------------------------

    def spent(self) -> dict[str, float]:
        """Return seconds that MinIO's and etcd's processors and etcd's disk were at work, since they began."""
        pod = self.get("pods", "-l", "app.kubernetes.io/name=etcd")["items"][0]["status"]["podIP"]
        token = self._secret("lookout-store-metrics")["token"]
        pages = {
            "minio": _read(f"http://{self._address('minio', 9000)}/minio/v2/metrics/node", token),
            "etcd": _read(f"http://{pod}:2381/metrics"),
        }
        return {
            name: counter_in(pages["minio" if name.startswith("minio") else "etcd"], counter)
            for name, counter in _COUNTERS.items()
        }

    def intake_metrics(self) -> str:
        return _read(f"http://{self._address('intake', 8080)}/metrics")


def connect() -> Deployed:
    """Return the deployment, with a prefix that nobody has. Raises RuntimeError when there is none."""
    kubeconfig = Site.from_environment().kubeconfig
    if "KUBECONFIG" not in os.environ and kubeconfig.exists():
        os.environ["KUBECONFIG"] = str(kubeconfig)
    try:
        made = Deployed(kubectl=Kubectl())
        made.get("workflowtemplate", "backfill")
    except Failed as exc:
        raise RuntimeError(f"there is no cluster with Lookout in it (make cluster brings one up): {exc}") from exc
    return made


@contextmanager
def deployed() -> Iterator[Deployed]:
    """Yield the same, with rules in force; of what is under the prefix nothing stays."""
    made = connect()
    try:
        made.ensure_rules()
        try:
            yield made
        finally:
            made.remove()
    except (Failed, MinioException) as exc:
        raise RuntimeError(str(exc)) from exc


def machine_busy_s() -> float:
    """Core seconds that this machine was not idle since it began, what other machines took from it included."""
    words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, words)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _read(url: str, token: str | None = None) -> str:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return str(answer.read().decode())


def counter_in(page: str, name: str) -> float:
    """Return the sum of a counter's lines on a page for Prometheus. Raises RuntimeError when there is none."""
    values = re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+-]+)$", page, flags=re.MULTILINE)
    if not values:
        raise RuntimeError(f"no {name} among {page.count('# TYPE')} counters")
    return sum(map(float, values))


def _json(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree)
