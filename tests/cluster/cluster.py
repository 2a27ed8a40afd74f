"""The local cluster by kubectl and Argo's command line, and its story when something failed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from k8s.local.site import NAMESPACE, Site

LOG_LINES = 50


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """kubectl and argo, for the namespace of Lookout."""

    site: Site

    def kubectl(self, *words: str, given: str = "", deadline_s: float = 120.0) -> str:
        """Return the output of kubectl; ``given`` is its input. A failure carries its words."""
        done = self.attempt(*words, given=given, deadline_s=deadline_s)
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def attempt(
        self, *words: str, given: str = "", deadline_s: float = 120.0, program: str = "kubectl"
    ) -> subprocess.CompletedProcess[str]:
        """Run the program; return how it ended, well or not."""
        command = [
            str(self.site.program(program)),
            f"--kubeconfig={self.site.kubeconfig}",
            f"--namespace={NAMESPACE}",
        ]
        return subprocess.run(
            [*command, *words], input=given, capture_output=True, text=True, timeout=deadline_s, check=False
        )

    def argo(self, *words: str, account: str = "lookout-operator") -> subprocess.CompletedProcess[str]:
        """Run Argo's command line; return how it ended, for somebody with the rights of this account."""
        return self.attempt(f"--as=system:serviceaccount:{NAMESPACE}:{account}", *words, program="argo")

    def get(self, *words: str) -> dict[str, Any]:
        """Return the answer of ``kubectl get``."""
        return json.loads(self.kubectl("get", *words, "--output=json"))

    def story(self, since: datetime) -> str:
        """Workflows, pods, warnings and the ends of the logs since then: what explains a failure."""
        told = [*self._workflows(since), self.attempt("get", "pods", "--output=wide").stdout]
        warnings = json.loads(self.attempt("get", "events", "--field-selector=type=Warning", "--output=json").stdout)
        for event in warnings["items"]:
            at = event.get("lastTimestamp") or event.get("eventTime") or ""
            if at >= _stamp(since):
                told.append(
                    f"{at} {event['involvedObject'].get('name')}: {event.get('reason')}: {event.get('message')}"
                )
        # Of workflows whose pods are gone nothing is missing: they succeeded.
        for pod in self.attempt("get", "pods", "--output=name").stdout.split():
            words = ("logs", pod, "--all-containers", "--prefix", "--ignore-errors", f"--tail={LOG_LINES}")
            told.append(self.attempt(*words, f"--since-time={_stamp(since)}").stdout)
        return "\n".join(filter(None, told))

    def _workflows(self, since: datetime) -> Iterator[str]:
        """Phases and messages of the workflows that ended since then or have not ended, and of what failed in them."""
        for one in json.loads(self.attempt("get", "workflows", "--output=json").stdout)["items"]:
            status = one.get("status", {})
            if (status.get("finishedAt") or _stamp(since)) >= _stamp(since):
                yield f"{one['metadata']['name']}: {status.get('phase', 'not begun')} {status.get('message', '')}"
                for node in status.get("nodes", {}).values():
                    if node["type"] in ("Pod", "Container") and node.get("phase") not in ("Succeeded", "Omitted"):
                        yield f"    {node['displayName']}: {node.get('phase')} {node.get('message', '')}"


def _stamp(at: datetime) -> str:
    """As Kubernetes writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
