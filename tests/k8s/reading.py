"""The manifests as they are committed, and what the tests know of their form."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
Tree = dict[str, Any]

FOLDERS = (
    "k8s/base",
    "k8s/overlays/local",
    "k8s/overlays/production",
    "workflows/rendered",
    "event_sources/rendered",
)


def documents(path: Path) -> list[Tree]:
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def kustomization(folder: str) -> Tree:
    (found,) = documents(ROOT / folder / "kustomization.yaml")
    return found


@functools.cache
def resources() -> dict[str, Tree]:
    """By folder, kind and name, every resource that a kustomization lists: no patches."""
    found = {}
    for folder in FOLDERS:
        for name in kustomization(folder)["resources"]:
            path = ROOT / folder / name
            if path.is_file():
                for one in documents(path):
                    found[f"{folder}/{one['kind']}/{one['metadata']['name']}"] = one
    return found


def components() -> list[Tree]:
    """Return the components that overlays may add to the resources."""
    files = [K8S / "components" / name / f"{name}.yaml" for name in ("intake", "metrics", "ftp")]
    return [one for file in (*files, K8S / "components" / "ftp" / "minio.yaml") for one in documents(file)]


def spec_of(workflow: Tree) -> Tree:
    """Return the workflow that is run: of a template itself, or of what a schedule starts."""
    spec: Tree = workflow["spec"].get("workflowSpec", workflow["spec"])
    return spec


def templates(workflow: Tree) -> Iterator[Tree]:
    """Its templates that run containers."""
    return (one for one in spec_of(workflow).get("templates", []) if {"container", "containerSet"} & set(one))


def patches(folder: str) -> dict[str, Tree]:
    """By file, what an overlay merges into the resources: patches that are parts of a resource."""
    files = [one["path"] for one in kustomization(folder)["patches"] if "path" in one and "target" not in one]
    return {name: documents(ROOT / folder / name)[0] for name in files}


def operations(folder: str) -> dict[str, list[Tree]]:
    """By the name of the target, what an overlay adds to Argo's resources by their places."""
    named = [one for one in kustomization(folder)["patches"] if "path" in one and "target" in one]
    return {
        one["target"]["name"]: yaml.safe_load((ROOT / folder / one["path"]).read_text(encoding="utf-8"))
        for one in named
    }


def apply(tree: Tree, additions: list[Tree]) -> Tree:
    """The resource with these `add` operations of a JSON patch, whose parents must be there."""
    changed = copy.deepcopy(tree)
    for one in additions:
        assert one["op"] == "add"
        *way, last = one["path"].strip("/").split("/")
        place: Any = changed
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        if last == "-":
            place.append(one["value"])
        else:
            assert last not in place
            place[last] = one["value"]
    return changed


def of_kind(*kinds: str) -> dict[str, Tree]:
    return {name: one for name, one in resources().items() if one["kind"] in kinds}


def named(kind: str, name: str) -> Tree:
    """The one of that kind and name, wherever it is."""
    (found,) = [one for one in of_kind(kind).values() if one["metadata"]["name"] == name]
    return found


def pods() -> dict[str, Tree]:
    """Pod specs of the workloads."""
    return {name: one["spec"]["template"]["spec"] for name, one in of_kind("StatefulSet", "Deployment", "Job").items()}


def containers(pod: Tree) -> list[Tree]:
    return pod.get("initContainers", []) + pod["containers"]


def walk(tree: Any) -> Iterator[Tree]:
    """Every mapping in it."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from walk(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from walk(value)


def wanted_secrets(tree: Any) -> Iterator[tuple[str, str | None]]:
    """Name and entry of each Secret that the resource needs; no entry where it takes all of them."""
    for one in walk(tree):
        if "secretRef" in one:
            yield one["secretRef"]["name"], None
        for field in (
            "secretKeyRef",
            "authSecret",
            "accessSecret",
            "caCertSecret",
            "accessKeySecret",
            "secretKeySecret",
        ):
            if field in one:
                yield one[field]["name"], one[field]["key"]
        if "secretName" in one:
            yield one["secretName"], None
        if isinstance(one.get("secret"), dict) and "name" in one["secret"]:
            for item in one["secret"].get("items", [{"key": None}]):
                yield one["secret"]["name"], item["key"]


def restricted_faults(pod: Tree) -> list[str]:
    """Return what the pod security standard `restricted` would refuse."""
    faults = []
    of_pod = pod.get("securityContext", {})
    kinds = {kind for volume in pod.get("volumes", []) for kind in volume if kind != "name"}
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    faults += [f"volume of kind {kind}" for kind in sorted(kinds - allowed)]
    faults += [f"{field} is set" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field)]
    for one in containers(pod):
        own = one.get("securityContext", {})
        both = {**of_pod, **own}
        if own.get("allowPrivilegeEscalation") is not False:
            faults.append(f"{one['name']} may escalate")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            faults.append(f"{one['name']} keeps capabilities")
        if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
            faults.append(f"{one['name']} may be root")
        if both.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            faults.append(f"{one['name']} has no seccomp profile")
        if any("hostPort" in port for port in one.get("ports", [])):
            faults.append(f"{one['name']} takes a port of the node")
    return faults
