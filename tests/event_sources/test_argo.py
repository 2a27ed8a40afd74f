"""The way of an event in a cluster, as far as it can be read without one: which events pass where, and none is lost."""

from __future__ import annotations

import re
from typing import Any

import pytest

from event_sources.argo import PLAIN, event_bus, event_source, sensor
from tests.workflows.reading import parameters, resources

SENSOR = sensor()["spec"]
TRIGGERS = {one["template"]["name"]: one for one in SENSOR["triggers"]}


def event(bucket: str, key: str) -> dict[str, Any]:
    """An event as MinIO's webhook sends it, as far as filters look at it."""
    return {"body.Records.0.s3.bucket.name": bucket, "body.Key": f"{bucket}/{key}"}


def passes(name: str, landed: dict[str, Any]) -> bool:
    """Tell whether the dependency's filters let the event pass, as Argo Events reads them."""
    (dependency,) = (one for one in SENSOR["dependencies"] if one["name"] == name)
    filters = dependency["filters"]
    found = [
        any(re.search(value.replace("$", r"\Z"), landed[one["path"]]) for value in one["value"])
        for one in filters["data"]
    ]
    return any(found) if filters.get("dataLogicalOperator") == "or" else all(found)


@pytest.mark.parametrize("bucket", ["images", "site-a-images"])
@pytest.mark.parametrize(
    "key", ["porch_1763798400.jpg", "büro/übergang 1/porch_1763798400.JPG", "a\"b'c;$(d)_1.jpg", "写真.jpg"]
)
def test_a_picture_starts_a_pipeline(bucket: str, key: str) -> None:
    assert passes("picture", event(bucket, key))
    assert not passes("other", event(bucket, key))


@pytest.mark.parametrize("bucket", ["model", "rules", "site-a-rules"])
def test_a_model_and_a_rule_start_a_backfill(bucket: str) -> None:
    assert passes("other", event(bucket, "cups.json"))
    assert not passes("picture", event(bucket, "cups.json"))


@pytest.mark.parametrize(
    "key", ["{{=1+1}}_1763798400.jpg", "{{workflow.name}}.jpg", "a\\b.jpg", "a\nb.jpg", "a\x7f.jpg", "x\n"]
)
def test_a_key_that_argo_would_not_pass_on_as_it_is_comes_by_a_listing(key: str) -> None:
    assert not passes("picture", event("images", key))
    assert passes("other", event("images", key))


@pytest.mark.parametrize("bucket", ["validate", "object-detect", "threat-detect", "plot", "lookout-logs"])
def test_what_the_stages_write_starts_nothing(bucket: str) -> None:
    assert not passes("picture", event(bucket, "valid/porch_1763798400.jpg"))
    assert not passes("other", event(bucket, "valid/porch_1763798400.jpg"))


def test_no_key_passes_both_ways_and_each_picture_passes_one() -> None:
    for code in range(0x3000):
        landed = event("images", f"a{chr(code)}b")
        assert passes("picture", landed) != passes("other", landed)


def test_plain_leaves_nothing_that_a_template_or_json_would_change() -> None:
    for code in (*range(0x20), 0x7F, *map(ord, "\\{}")):
        assert not re.fullmatch(PLAIN, f"a{chr(code)}b")


def test_each_trigger_hears_one_dependency_of_its_own() -> None:
    conditions = [one["template"]["conditions"] for one in SENSOR["triggers"]]
    assert sorted(conditions) == sorted(one["name"] for one in SENSOR["dependencies"])
    for trigger in SENSOR["triggers"]:
        for one in (trigger, trigger.get("dlqTrigger", trigger)):
            for value in one["template"]["k8s"]["parameters"]:
                assert value["src"]["dependencyName"] == trigger["template"]["conditions"]


def test_events_come_from_the_event_source_that_is_there() -> None:
    source = event_source()
    for dependency in SENSOR["dependencies"]:
        assert dependency["eventSourceName"] == source["metadata"]["name"]
        assert dependency["eventName"] in source["spec"]["webhook"]


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_trigger_is_at_least_once_and_tried_again(name: str) -> None:
    trigger = TRIGGERS[name]
    assert trigger["atLeastOnce"] is True
    assert trigger["retryStrategy"]["steps"] > 1


def test_what_cannot_be_made_a_pipeline_becomes_a_dead_letter_that_is_tried_longer() -> None:
    trigger = TRIGGERS["pipeline"]
    letter = trigger["dlqTrigger"]
    assert letter["atLeastOnce"] is True
    assert letter["template"]["k8s"]["source"]["resource"]["metadata"] == {"generateName": "dead-letter-"}
    assert _lasts_s(letter["retryStrategy"]) > 300 > 5 > _lasts_s(trigger["retryStrategy"])


def _lasts_s(backoff: Any) -> float:
    """From the first try to the last one."""
    unit = 0.001 if backoff["duration"].endswith("ms") else 1
    first = float(backoff["duration"].rstrip("ms")) * unit
    return sum(first * backoff["factor"] ** step for step in range(backoff["steps"] - 1))


@pytest.mark.parametrize("name", ["pipeline", "dlq"])
def test_the_object_is_the_first_argument_of_what_is_made(name: str) -> None:
    trigger = TRIGGERS["pipeline"] if name == "pipeline" else TRIGGERS["pipeline"]["dlqTrigger"]
    made = trigger["template"]["k8s"]
    assert [one["name"] for one in made["source"]["resource"]["spec"]["arguments"]["parameters"]] == ["object"]
    dests = {value["dest"]: value["src"] for value in made["parameters"]}
    assert dests["spec.arguments.parameters.0.value"]["dataKey"] == "body.Key"


def test_a_workflow_is_named_by_its_event_and_nothing_else() -> None:
    (name,) = (one for one in TRIGGERS["pipeline"]["template"]["k8s"]["parameters"] if one["dest"] == "metadata.name")
    for fact in ("EventName", "Key", "versionId", "sequencer"):
        assert fact in name["src"]["dataTemplate"]
    for chance in ("uuid", "rand", "now"):
        assert chance not in name["src"]["dataTemplate"]


def test_a_live_backfill_looks_at_the_listing_for_keys_it_is_not_told() -> None:
    made = TRIGGERS["backfill"]["template"]["k8s"]["source"]["resource"]["spec"]
    given = {name: one["value"] for name, one in parameters(made["arguments"]).items()}
    assert given == {"kind": "live", "reconcile": "recent"}


def test_the_webhooks_ask_for_a_token_and_listen_where_minio_and_an_intake_post() -> None:
    webhooks = event_source()["spec"]["webhook"]
    assert {name: webhook["endpoint"] for name, webhook in webhooks.items()} == {
        "uploads": "/uploads",
        "batches": "/batches",
    }
    for webhook in webhooks.values():
        assert webhook["authSecret"] == {"name": "lookout-webhook", "key": "token"}
        assert (webhook["port"], webhook["method"]) == ("12000", "POST")
    assert event_source()["spec"]["service"]["ports"] == [{"port": 12000, "targetPort": 12000}]


def test_the_bus_is_encrypted_and_asks_who_one_is() -> None:
    bus = event_bus()["spec"]["jetstreamExotic"]
    assert bus["url"].startswith("tls://")
    assert bus["accessSecret"]["name"] == "lookout-nats"
    assert bus["tls"]["caCertSecret"]


@pytest.mark.parametrize("kind", ["EventSource", "Sensor"])
def test_the_pods_of_argo_events_are_restricted(kind: str) -> None:
    pod = resources()[f"{kind}/uploads"]["spec"]["template"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["container"]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["container"]["resources"]["limits"]["memory"]


def test_the_sensor_may_create_workflows_by_an_account_of_its_own() -> None:
    assert SENSOR["template"]["serviceAccountName"] == "lookout-sensor"
