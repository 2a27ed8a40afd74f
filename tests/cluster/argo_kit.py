"""Kit for tests of workflows and events in a cluster: workflows whose containers do as they are told, and waiting."""

from __future__ import annotations

import copy
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tests.workflows.reading import Tree, containers, resources

if TYPE_CHECKING:
    from .cluster import Cluster

IMAGE = "lookout/lookout:dev"
ACTOR = """
import json, pathlib, signal, sys, time
name, tries, told = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
def stopped(number, frame):
    print("handed back", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stopped)
print(name, "acts", json.dumps(sys.argv[4:]), flush=True)
if name == "main":
    pathlib.Path("/tmp/verdict").mkdir()
    pathlib.Path("/tmp/verdict/device").write_text("porch")
if name == "plan":
    pathlib.Path("/tmp/workers").write_text(json.dumps(told.get("workers", [])))
act = told.get(name, {})
if tries < act.get("times", 1):
    time.sleep(act.get("takes_s", 0))
    if "says" in act:
        pathlib.Path("/dev/termination-log").write_text(act["says"])
    sys.exit(act.get("code", 0))
"""
"""Stands for whatever a container runs. For the first ``times`` tries of its pod, it takes ``takes_s`` seconds, says
what it ``says`` and ends with ``code``; then with 0."""


@dataclass(kw_only=True)
class Argo:
    """Makes workflows, and removes them at the end of a ``with`` block."""

    cluster: Cluster
    made: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.made:
            self.cluster.kubectl("delete", "workflow", "--ignore-not-found", "--wait=false", *self.made)
            self.cluster.kubectl("delete", "workflowtemplate", "--ignore-not-found", "--wait=false", *self.made)

    def create(self, workflow: Tree) -> str:
        """Its name. The controller runs templates only, so it becomes one, of the same name, and a reference to it."""
        name = f"{workflow['metadata']['generateName']}{secrets.token_hex(4)}"
        given = [{"name": one["name"], "value": one["value"]} for one in workflow["spec"]["arguments"]["parameters"]]
        arguments = {"parameters": [one for one in given if one["value"]]}
        self.made.append(name)
        self._make("WorkflowTemplate", name, workflow["spec"])
        until(lambda: self._is_known(name, {"workflowTemplateRef": {"name": name}, "arguments": arguments}))
        return name

    def _make(self, kind: str, name: str, spec: Tree) -> None:
        body = {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.cluster.kubectl("create", "-f", "-", given=json.dumps(body))

    def _is_known(self, name: str, spec: Tree) -> bool:
        """Make the workflow, and say whether the controller knew its template by then: it hears of one a moment later
        than of the other, now and then. If not, the workflow is gone again."""
        self._make("Workflow", name, spec)
        status = until(lambda: self.cluster.get("workflow", name).get("status", {}))
        known = f'"{name}" not found' not in status.get("message", "")
        if not known:
            self.cluster.kubectl("delete", "workflow", name)
        return known

    def finished(self, name: str, deadline_s: float = 300.0) -> Tree:
        """The workflow, once it is completed."""
        words = ("wait", "--for=condition=Completed", f"--timeout={deadline_s}s", f"workflow/{name}")
        self.cluster.kubectl(*words, deadline_s=deadline_s + 30)
        return self.cluster.get("workflow", name)

    def pod(self, workflow: str, template: str) -> str:
        """The name of a pod of this template, once it is there."""
        words = ("pods", "-l", f"workflows.argoproj.io/workflow={workflow}")

        def look() -> list[str]:
            names = [one["metadata"]["name"] for one in self.cluster.get(*words)["items"]]
            return [name for name in names if f"-{template}-" in name]

        return str(until(look)[0])

    def pods(self, workflow: str) -> str:
        return self.cluster.kubectl("get", "pods", "-l", f"workflows.argoproj.io/workflow={workflow}", "-o", "name")


def spelled(template: str, arguments: Mapping[str, str] | None = None) -> Tree:
    """A Workflow as this WorkflowTemplate would give, with all that it says in its own words, so that a test can change
    some of it."""
    spec = copy.deepcopy(resources()[f"WorkflowTemplate/{template}"]["spec"])
    spec.pop("synchronization", None)
    for parameter in spec["arguments"]["parameters"]:
        parameter["value"] = (arguments or {}).get(parameter["name"], parameter.get("value", "given"))
    metadata = {"generateName": f"spelled-{template}-"}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}


def acted(template: str, told: Mapping[str, Any], arguments: Mapping[str, str] | None = None) -> Tree:
    """The same, but each container is played by ACTOR, told by its name."""
    workflow = spelled(template, arguments)
    for one in workflow["spec"]["templates"]:
        for container in containers(one):
            name = container.get("name", one["name"])
            container["image"] = IMAGE
            container["command"] = ["python", "-c", ACTOR]
            container["args"] = [name, "{{retries}}", json.dumps(told), *container["args"]]
            container["envFrom"] = []
            container["resources"] = {"requests": {"cpu": "10m", "memory": "32Mi"}}
        if "retryStrategy" in one:
            one["retryStrategy"]["backoff"] = {"duration": "1"}
    return workflow


def nodes(workflow: Tree, kind: str) -> list[Tree]:
    """The nodes of this type, in the order of their beginning."""
    found = [one for one in workflow["status"]["nodes"].values() if one["type"] == kind]
    return sorted(found, key=lambda one: (one["startedAt"], one["name"]))


def templates_of(workflow: Tree) -> list[str]:
    """The templates of its pods, in the order of their beginning."""
    return [one["templateName"] for one in nodes(workflow, "Pod")]


def outputs(node: Tree) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in node.get("outputs", {}).get("parameters", [])}


def until(look: Callable[[], Any], deadline_s: float = 90.0) -> Any:
    """Return the first true answer of ``look``; a refusal counts as nothing."""
    ends = time.monotonic() + deadline_s
    said: object = "nothing"
    while time.monotonic() < ends:
        try:
            if found := look():
                return found
        except AssertionError as error:
            said = error
        time.sleep(0.5)
    raise AssertionError(f"not within {deadline_s:.0f} s; last: {said}")
