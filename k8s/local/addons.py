"""Resources applied to the running cluster: names, Argo, Lookout. Only by kubectl, as on any cluster."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from k8s.local.commands import CommandFailed, run, say
from k8s.local.site import NAMESPACE, NODE, ROOT, Refused, Site

_API_DEADLINE_S: Final = 120.0
_ROLLOUT_DEADLINE_S: Final = 300
_LOOK_EVERY_S: Final = 0.2
_K8S: Final = ROOT / "k8s"


class Addons:
    """The add-ons of a site's cluster."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._kubectl = (site.program("kubectl"), f"--kubeconfig={site.kubeconfig}")

    def await_api(self) -> None:
        """Return when the API server is ready and knows the node. Raises Refused after two minutes."""
        deadline_s = time.monotonic() + _API_DEADLINE_S
        while True:
            try:
                self._run("get", "--raw=/readyz", "--request-timeout=5s")
                self._run("wait", f"node/{NODE}", "--for=condition=Ready", "--timeout=5s")
            except CommandFailed as exc:
                if time.monotonic() > deadline_s:
                    raise Refused(f"The node is not ready: see {self._site.logs}. {exc.said}") from exc
                time.sleep(_LOOK_EVERY_S)
            else:
                return

    def apply_names(self) -> None:
        """Have services found by their names, and make Lookout's namespace."""
        self._apply("-f", Path(__file__).with_name("coredns.yaml"))
        self._apply("-f", _K8S / "base" / "namespace.yaml")

    def apply_argo(self) -> None:
        run(sys.executable, _K8S / "argo" / "upstream.py")
        self._apply("-k", _K8S / "argo")

    def apply_lookout(self) -> None:
        """Deploy Lookout as on any cluster."""
        environment = {**os.environ, "KUBECONFIG": str(self._site.kubeconfig), "KUBECTL": str(self._kubectl[0])}
        command = (sys.executable, "-m", "k8s.deploy", _K8S / "overlays" / "local")
        say(run(*command, cwd=ROOT, environment=environment).strip())

    def renew(self, images: Collection[str]) -> None:
        """Have pods that outlast a workflow run these images as they are now: their names say nothing of it."""
        found = json.loads(self._run("get", "deployments", f"--namespace={NAMESPACE}", "--output=json"))["items"]
        for one in found:
            if {container["image"] for container in one["spec"]["template"]["spec"]["containers"]} & set(images):
                self._run("rollout", "restart", f"deployment/{one['metadata']['name']}", f"--namespace={NAMESPACE}")

    def await_rollouts(self) -> None:
        """Return when everything that was applied runs. Raises CommandFailed after five minutes."""
        for namespace in ("kube-system", NAMESPACE):
            kinds = self._run("get", "deployments,statefulsets", f"--namespace={namespace}", "--output=name").split()
            for name in kinds:
                say(f"waiting for {name}")
                self._run("rollout", "status", name, f"--namespace={namespace}", f"--timeout={_ROLLOUT_DEADLINE_S}s")

    def _apply(self, *what: str | Path) -> None:
        # The manifests decide: what somebody else has set by hand is set right.
        self._run("apply", "--server-side", "--force-conflicts", "--field-manager=lookout-cluster", *what)

    def _run(self, *words: str | Path) -> str:
        return run(*self._kubectl, *words)
