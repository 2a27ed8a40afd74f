"""Form of a workflow as the tests know it: its templates, its containers, and the references between them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
Tree = dict[str, Any]


@functools.cache
def resources() -> dict[str, Tree]:
    """By kind and name, what is committed."""
    files = [*ROOT.glob("workflows/rendered/*.yaml"), *ROOT.glob("event_sources/rendered/*.yaml")]
    read = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in read if one["kind"] != "Kustomization"}


def specs() -> dict[str, Tree]:
    """By kind and name, the specs of workflows: of templates, and of what is run by the clock."""
    return {
        name: one["spec"].get("workflowSpec", one["spec"])
        for name, one in resources().items()
        if one["kind"] in ("WorkflowTemplate", "CronWorkflow")
    }


def templates(spec: Tree) -> dict[str, Tree]:
    return {one["name"]: one for one in spec.get("templates", [])}


def containers(template: Tree) -> list[Tree]:
    return template.get("containerSet", {}).get("containers", []) + [
        template[kind] for kind in ("container", "script") if kind in template
    ]


def all_containers() -> list[tuple[str, Tree]]:
    """Each container of each workflow, with a name to tell it by."""
    return [
        (f"{name}/{template['name']}/{container.get('name', 'main')}", container)
        for name, spec in specs().items()
        for template in spec.get("templates", [])
        for container in containers(template)
    ]


def calls(template: Tree) -> list[Tree]:
    """The tasks or steps by which a template calls others."""
    return template.get("dag", {}).get("tasks", []) + [step for group in template.get("steps", []) for step in group]


def tags(tree: Any) -> Iterator[str]:
    """Return the texts between braces, anywhere in a tree."""
    yield from (tag.strip() for tag in re.findall(r"\{\{(.*?)\}\}", json.dumps(tree)))


def parameters(holder: Tree | None) -> dict[str, Tree]:
    return {one["name"]: one for one in (holder or {}).get("parameters", [])}
