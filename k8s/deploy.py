"""``python -m k8s.deploy OVERLAY``: brings Lookout into the cluster that kubectl speaks to, beside Argo.

Namespace, Secrets, the overlay, and then waits until all of it serves. May be run again and again. Standard library
only. Installs no Argo and makes no cluster.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from k8s.kubectl import Failed, Kubectl
from k8s.make_secrets import make_missing

ROOT: Final = Path(__file__).parent
DEADLINE_S: Final = 300.0
_PAUSE_S: Final = 1.0
_BY_CLOCK: Final = "app.kubernetes.io/component {} (reconcile, reconcile-full, upkeep, upkeep-full)"
"""What the clock starts, by the workflows' own labels. It has nothing to do before ``init`` is done."""
_ARGO: Final = ("workflow-controller", "controller-manager")
_CRDS: Final = ("workflows.argoproj.io", "cronworkflows.argoproj.io", "eventbus.argoproj.io", "sensors.argoproj.io")
_LOOK_EVERY_S: Final = 20.0
_OURS: Final = "--selector=app.kubernetes.io/part-of=lookout,!workflows.argoproj.io/workflow"
_WAITING: Final = "{.items[*].status.initContainerStatuses[*].state.waiting.reason}"
_STUCK: Final = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
)
"""What a pod says that waits for an image that cannot be had, or for a Secret that is not there."""
_HINT: Final = "install Argo Workflows and Argo Events into the namespace first: docs/kubernetes.md"


def deploy(kubectl: Kubectl, overlay: Path, *, say: Callable[[str], None], deadline_s: float) -> None:
    """Apply everything in order. Raises Failed with the obstacle; what was applied until then stays."""
    built = kubectl("kustomize", str(overlay))  # a mistake in it is told before anything is changed
    _check_argo(kubectl)
    _apply(kubectl, "--filename", str(ROOT / "base" / "namespace.yaml"))
    for name in make_missing(kubectl, os.environ, tls="lookout-store-tls" in built):
        say(f"secret/{name} made")
    # A Job cannot be changed; one that has ended is made anew, and finds everything right.
    kubectl("delete", "job", "init", "--ignore-not-found", "--cascade=foreground")
    say(_apply(kubectl, "--kustomize", str(overlay), "--selector", _BY_CLOCK.format("notin")))
    _await(kubectl, deadline_s)
    say(_apply(kubectl, "--kustomize", str(overlay), "--selector", _BY_CLOCK.format("in")))


def _apply(kubectl: Kubectl, *what: str) -> str:
    return kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=lookout", *what).strip()


def _check_argo(kubectl: Kubectl) -> None:
    there = kubectl("get", "crd", "--output=name")
    missing = [name for name in _CRDS if f"/{name}" not in there]
    if missing:
        raise Failed(f"the cluster has no {', '.join(missing)}: {_HINT}")
    deployments = kubectl("get", "deployments", "--output=name")
    missing = [name for name in _ARGO if f"/{name}" not in deployments]
    if missing:
        raise Failed(f"the namespace {kubectl.namespace} has no Deployment {', '.join(missing)}: {_HINT}")


def _await(kubectl: Kubectl, deadline_s: float) -> None:
    """Wait for the servers, for ``init``, and for the pods that Argo Events makes."""
    end_s = time.monotonic() + deadline_s
    for name in kubectl("get", "statefulsets,deployments", "--output=name").split():
        _wait(kubectl, end_s, "rollout", "status", name)
    _wait(kubectl, end_s, "wait", "--for=condition=Complete", "job/init")
    for owner in ("eventsource-name=uploads", "sensor-name=uploads"):
        # The controller makes the Deployment by and by; until then there is nothing to wait for.
        while not kubectl("get", "deployments", f"--selector={owner}", "--output=name"):
            if time.monotonic() > end_s:
                raise Failed(f"Argo Events has made no Deployment with {owner}: see the log of controller-manager")
            time.sleep(_PAUSE_S)
        _wait(kubectl, end_s, "rollout", "status", "deployment", f"--selector={owner}")


def _wait(kubectl: Kubectl, end_s: float, *what: str) -> None:
    """Wait until the deadline, or until a pod says that it would wait in vain."""
    while True:
        left_s = max(1.0, end_s - time.monotonic())
        try:
            kubectl(*what, f"--timeout={min(left_s, _LOOK_EVERY_S):.0f}s")
        except Failed as error:
            if "timed out" in str(error) and time.monotonic() < end_s and not _is_stuck(kubectl):
                continue
            pods = kubectl("get", "pods", _OURS)
            events = kubectl("get", "events", "--field-selector=type=Warning", "--sort-by=.lastTimestamp")
            last = "\n".join(events.splitlines()[-10:])
            raise Failed(f"{error}\n\n{pods}\n{last}") from error
        return


def _is_stuck(kubectl: Kubectl) -> bool:
    waiting = kubectl("get", "pods", _OURS, f"--output=jsonpath={_WAITING} {_WAITING.replace('initC', 'c')}")
    return not set(_STUCK).isdisjoint(waiting.split())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m k8s.deploy", description="Brings Lookout into a cluster.")
    parser.add_argument("overlay", type=Path, help="a folder with a kustomization, such as k8s/overlays/production")
    parser.add_argument("--deadline", type=float, default=DEADLINE_S, metavar="SECONDS", help="how long to wait [300]")
    given = parser.parse_args()
    try:
        deploy(Kubectl(), given.overlay, say=print, deadline_s=given.deadline)
    except Failed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
