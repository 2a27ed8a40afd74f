"""Delivery of an event in a cluster: MinIO's webhook, the EventSource, the bus, the Sensor, a Workflow.

Rendered to ``rendered/`` by ``python -m workflows``. Typed dicts in the form that Argo Events reads, which refuses
nothing by itself: its schemas say only ``object``. What a stage or a workflow does is not known here, only the names of
WorkflowTemplates and their parameters.

MinIO keeps an event until the EventSource has answered, which it does when the bus has it; the bus keeps it until the
Sensor has made a Workflow of it. So an event comes at least once. The name of a Workflow is made from its event, and a
repeat is refused by the API server while that Workflow is remembered.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NotRequired, TypedDict

EVENT_SOURCE: Final = "uploads"
BATCHES: Final = "batches"
"""The event by which an intake asks for a workflow for a batch; without one, nobody sends it."""
PORT: Final = 12000
PICTURES: Final = "images$"
REFERENCES: Final = "(devices|model|rules)$"
"""The end of a bucket's name, before which a deployment may have a prefix."""
PLAIN: Final = r"^[^\x00-\x1f\x7f\\{}]+$"
"""Keys that can be a workflow's parameter. Argo would take braces for a template, of which it would evaluate what
stands in them, and does not escape control characters in JSON. The others come to the workflows by a listing."""

_NAME: Final = (
    "{{- $record := index .Input.body.Records 0 -}}"
    '{{- $device := regexReplaceAll "_?[0-9]*[.][A-Za-z]+$" (base .Input.body.Key) "" | lower -}}'
    '{{- $event := list .Input.body.EventName .Input.body.Key (default "" $record.s3.object.versionId)'
    ' (default "" $record.s3.object.sequencer) | toJson | sha256sum | trunc 16 -}}'
    'pipeline-{{ regexReplaceAll "[^a-z0-9]+" $device "-" | trunc 30 | trimAll "-" }}-{{ $event }}'
)
"""``pipeline-porch-0123456789abcdef``: the same for the same event, and at most 56 letters."""
_MINUTE: Final = 'landed-{{ (index .Input.body.Records 0).eventTime | substr 0 16 | lower | replace ":" "" }}'
"""``landed-2025-11-22t0800``: one a minute, however many files a model and its rules are."""
_TOLD: Final = r"metadata.annotations.workflows\.argoproj\.io/description"
_BATCH_NAME: Final = "pipeline-{{ .Input.body.batch }}-{{ .Input.body.attempt }}"
_BATCH_DESCRIPTION: Final = "{{ .Input.body.objects }} landed, attempt {{ .Input.body.attempt }}"
_DESCRIPTION: Final = "{{ .Input.body.EventName }}, {{ (index .Input.body.Records 0).eventTime }}"


class Key(TypedDict):
    """One entry of a Secret."""

    name: str
    key: str


class Backoff(TypedDict):
    """``steps`` tries in all, the second after ``duration``, each pause ``factor`` times the one before."""

    steps: int
    duration: str
    factor: float


class DataFilter(TypedDict):
    """A text of the event that one of these expressions, in Go's syntax, finds something in."""

    path: str
    type: Literal["string"]
    value: list[str]


class Filters(TypedDict):
    data: list[DataFilter]
    dataLogicalOperator: NotRequired[Literal["and", "or"]]


class Dependency(TypedDict):
    """The events that a trigger waits for."""

    name: str
    eventSourceName: str
    eventName: str
    filters: Filters


class Source(TypedDict):
    """Source of a value: a path into the event's data, or a Go template of it with sprig's functions."""

    dependencyName: str
    dataKey: NotRequired[str]
    dataTemplate: NotRequired[str]


class Value(TypedDict):
    """Puts a value into the resource; ``dest`` is a path whose own dots are escaped."""

    src: Source
    dest: str


class Resource(TypedDict):
    resource: dict[str, Any]


class KubernetesTrigger(TypedDict):
    operation: Literal["create"]
    source: Resource
    parameters: list[Value]


class TriggerTemplate(TypedDict):
    name: str
    conditions: str
    k8s: KubernetesTrigger


class Trigger(TypedDict):
    """Trigger: the resource made of an event. ``dlqTrigger`` gets the event when all tries have failed; without one the
    event is lost."""

    template: TriggerTemplate
    retryStrategy: Backoff
    atLeastOnce: Literal[True]
    dlqTrigger: NotRequired[Trigger]


class Manifest(TypedDict):
    """A resource of Kubernetes."""

    apiVersion: Literal["argoproj.io/v1alpha1"]
    kind: str
    metadata: dict[str, Any]
    spec: dict[str, Any]


def event_bus() -> Manifest:
    """NATS JetStream, which is a server like the others: with TLS, by the CA of this Secret, and a user's password."""
    return _manifest(
        "EventBus",
        "default",
        {
            "jetstreamExotic": {
                "url": "tls://nats:4222",
                "accessSecret": Key(name="lookout-nats", key="auth"),
                "tls": {"caCertSecret": Key(name="lookout-nats", key="ca.crt")},
            }
        },
    )


def event_source() -> Manifest:
    """Return the webhooks that MinIO or an intake posts to. Without the token in the Secret they answer 401."""
    return _manifest(
        "EventSource",
        EVENT_SOURCE,
        {
            "template": _pod(),
            "service": {"ports": [{"port": PORT, "targetPort": PORT}]},
            "webhook": {
                name: {
                    "port": str(PORT),
                    "endpoint": f"/{name}",
                    "method": "POST",
                    "url": "",
                    "authSecret": Key(name="lookout-webhook", key="token"),
                }
                for name in (EVENT_SOURCE, BATCHES)
            },
        },
    )


def sensor() -> Manifest:
    """Return a pipeline for each picture, or for each batch; for anything else that landed, a backfill that looks for
    itself.

    One dependency a trigger: of two with the same subject, a trigger of Argo Events would hear only one.
    """
    return _manifest(
        "Sensor",
        EVENT_SOURCE,
        {
            "template": {"serviceAccountName": "lookout-sensor", **_pod()},
            "dependencies": [
                _dependency("picture", EVENT_SOURCE, {"data": [_bucket(PICTURES), _key(PLAIN)]}),
                _dependency("batch", BATCHES, {"data": [_id("batch"), _id("attempt")]}),
                _dependency(
                    "other",
                    EVENT_SOURCE,
                    {"data": [_bucket(REFERENCES), _key(r"[\x00-\x1f\x7f\\{}]")], "dataLogicalOperator": "or"},
                ),
            ],
            "triggers": [_picture(), _batch(), _other()],
        },
    )


def _picture() -> Trigger:
    """Three quick tries, as a repeat fails in all of them. The dead letter is tried for minutes: what fails then is the
    API server, and until it is back, the others wait in the bus."""
    of = "picture"
    landed = _value(of, "spec.arguments.parameters.0.value", dataKey="body.Key")
    told = _value(of, _TOLD, dataTemplate=_DESCRIPTION)
    made = _trigger(
        "pipeline",
        of,
        _workflow("pipeline", {"name": "pipeline"}, {"object": ""}),
        [_value(of, "metadata.name", dataTemplate=_NAME), told, landed],
        Backoff(steps=3, duration="500ms", factor=2),
    )
    made["dlqTrigger"] = _trigger(
        "dead-letter",
        of,
        _workflow("dead-letter", {"generateName": "dead-letter-"}, {"object": ""}),
        [told, landed],
        Backoff(steps=20, duration="1s", factor=1.3),
    )
    return made


def _batch() -> Trigger:
    """No dead letter: the ledger has the batch, and the intake asks again for one that no workflow has taken."""
    of = "batch"
    return _trigger(
        "batch",
        of,
        _workflow("pipeline", {"name": "pipeline"}, {"batch": ""}),
        [
            _value(of, "metadata.name", dataTemplate=_BATCH_NAME),
            _value(of, _TOLD, dataTemplate=_BATCH_DESCRIPTION),
            _value(of, "spec.arguments.parameters.0.value", dataKey="body.batch"),
        ],
        Backoff(steps=3, duration="500ms", factor=2),
    )


def _other() -> Trigger:
    """No dead letter: a repeat in the same minute, or what fails, is taken up by the reconcile of the next minute."""
    of = "other"
    return _trigger(
        "backfill",
        of,
        _workflow("backfill", {"name": "landed"}, {"kind": "live", "reconcile": "recent"}),
        [_value(of, "metadata.name", dataTemplate=_MINUTE)],
        Backoff(steps=3, duration="500ms", factor=2),
    )


def _manifest(kind: str, name: str, spec: dict[str, Any]) -> Manifest:
    labels = {"app.kubernetes.io/part-of": "lookout", "app.kubernetes.io/component": "events"}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def _pod() -> dict[str, Any]:
    """Return the template of the pod that the controller makes: as restricted as pods may be."""
    return {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "container": {
            "imagePullPolicy": "IfNotPresent",
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
    }


def _dependency(name: str, event: str, filters: Filters) -> Dependency:
    return {"name": name, "eventSourceName": EVENT_SOURCE, "eventName": event, "filters": filters}


def _id(name: str) -> DataFilter:
    """Return the filter for a field that becomes a part of a workflow's name: no template passes it."""
    return {"path": f"body.{name}", "type": "string", "value": ["^[a-z0-9-]{1,40}$"]}


def _bucket(pattern: str) -> DataFilter:
    return {"path": "body.Records.0.s3.bucket.name", "type": "string", "value": [pattern]}


def _key(pattern: str) -> DataFilter:
    return {"path": "body.Key", "type": "string", "value": [pattern]}


def _value(of: str, dest: str, **src: str) -> Value:
    return {"src": {"dependencyName": of, **src}, "dest": dest}  # type: ignore[typeddict-item]


def _trigger(name: str, of: str, workflow: dict[str, Any], values: list[Value], retry: Backoff) -> Trigger:
    return {
        "template": {
            "name": name,
            "conditions": of,
            "k8s": {"operation": "create", "source": {"resource": workflow}, "parameters": values},
        },
        "retryStrategy": retry,
        "atLeastOnce": True,
    }


def _workflow(template: str, named: dict[str, str], arguments: dict[str, str]) -> dict[str, Any]:
    parameters = [{"name": name, "value": value} for name, value in arguments.items()]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": named,
        "spec": {"workflowTemplateRef": {"name": template}, "arguments": {"parameters": parameters}},
    }
