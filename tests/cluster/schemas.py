"""The schemas that Argo publishes with its modules: what the API server knows of these resources is hardly more than
that they are objects, so a misspelt field would be dropped without a word."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODULES = {
    "io.argoproj.workflow.v1alpha1": "github.com/argoproj/argo-workflows/v3@v3.7.18",
    "io.argoproj.events.v1alpha1": "github.com/argoproj/argo-events@v1.9.11",
}
KINDS = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "array": list, "object": dict}
LOOSE = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "io.argoproj.workflow.v1alpha1.Amount",
    "io.argoproj.events.v1alpha1.Amount",
    "io.argoproj.events.v1alpha1.Int64OrString",
}
"""A number or a text, which the schemas say in their own ways."""


@functools.cache
def definitions(package: str) -> dict[str, Any]:
    """Of the module that the cluster was built from; the Go tool fetches it when it is not there."""
    said = subprocess.run(
        ["go", "mod", "download", "-json", MODULES[package]], cwd="/", capture_output=True, text=True, check=True
    )
    schema = json.loads((Path(json.loads(said.stdout)["Dir"]) / "api/jsonschema/schema.json").read_text())
    return dict(schema["definitions"])


def faults(resource: dict[str, Any]) -> list[str]:
    """Return the places where a resource of Argo differs from its schema: fields, types, missing fields."""
    kind = resource["kind"]
    (package,) = (name for name in MODULES if f"{name}.{kind}" in definitions(name))
    return list(_faults(resource, {"$ref": f"#/definitions/{package}.{kind}"}, definitions(package), kind))


def _faults(value: Any, schema: dict[str, Any], known: dict[str, Any], where: str) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/definitions/")
        if name not in LOOSE:
            yield from _faults(value, known[name], known, where)
        return
    if "type" in schema and not isinstance(value, KINDS[schema["type"]]):
        yield f"{where}: expected {schema['type']}, got {value!r}"
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _faults(one, schema.get("items", {}), known, f"{where}[{number}]")
    elif isinstance(value, dict):
        yield from _fields(value, schema, known, where)


def _fields(value: dict[str, Any], schema: dict[str, Any], known: dict[str, Any], where: str) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    yield from (f"{where}: {name} is missing" for name in schema.get("required", []) if name not in value)
    for name, one in value.items():
        if name not in properties and properties:
            yield f"{where}: no field {name}"
        else:
            yield from _faults(one, properties.get(name, others), known, f"{where}.{name}")
