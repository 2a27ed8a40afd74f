"""The way of an event on a real cluster: what lands gives a workflow, a repeat a dead letter, a forged one nothing."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.workflows.reading import Tree, parameters

from .argo_kit import nodes, until
from .cluster import Cluster


@dataclass(kw_only=True)
class Events:
    """The webhook as MinIO sees it, and the workflows that came of what was posted."""

    cluster: Cluster
    address: str
    token: str
    port: int = 12000
    device: str = field(default_factory=lambda: f"try{uuid.uuid4().hex[:12]}")

    @property
    def key(self) -> str:
        """A picture of a device that nobody else has."""
        return f"images/{self.device}_1763798400.jpg"

    def post(self, body: Tree | bytes, token: str | None = None, path: str = "/uploads") -> int:
        """The status of the answer. With an empty token there is no header."""
        given = self.token if token is None else token
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {given}"} if given else {})
        connection = http.client.HTTPConnection(self.address, self.port, timeout=30)
        try:
            connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body), headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def made(self, word: str = "") -> list[Tree]:
        """The workflows of this device whose name begins with this word, the oldest first."""
        found = [one for one in self.cluster.get("workflows")["items"] if self.device in json.dumps(one["spec"])]
        found = [one for one in found if one["metadata"]["name"].startswith(word)]
        return sorted(found, key=lambda one: str(one["metadata"]["creationTimestamp"]))

    def completed(self, workflow: Tree) -> Tree:
        name = workflow["metadata"]["name"]
        self.cluster.kubectl("wait", "--for=condition=Completed", "--timeout=180s", f"workflow/{name}", deadline_s=200)
        return self.cluster.get("workflow", name)


def landed(key: str, *, event: str = "s3:ObjectCreated:Put", sequencer: str = "17AB", version: str = "v1") -> Tree:
    """Return the event that MinIO posts for an object."""
    bucket, _, name = key.partition("/")
    record = {
        "eventVersion": "2.0",
        "eventName": event,
        "eventTime": "2025-11-22T08:00:12.345Z",
        "s3": {
            "bucket": {"name": bucket},
            "object": {"key": name.replace("/", "%2F"), "versionId": version, "sequencer": sequencer},
        },
    }
    return {"EventName": event, "Key": key, "Records": [record]}


@contextmanager
def webhook(cluster: Cluster) -> Iterator[Events]:
    token = base64.b64decode(cluster.get("secret", "lookout-webhook")["data"]["token"]).decode()
    address = cluster.get("service", "uploads-eventsource-svc")["spec"]["clusterIP"]
    made = Events(cluster=cluster, address=address, token=token)
    yield made
    names = [workflow["metadata"]["name"] for workflow in made.made()]
    if names:
        cluster.kubectl("delete", "workflow", "--ignore-not-found", "--wait=false", *names)


@pytest.fixture
def events(cluster: Cluster) -> Iterator[Events]:
    with webhook(cluster) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def gone(cluster: Cluster) -> Iterator[Events]:
    """An object that is not there has landed. Its workflow takes its time beside the other tests, as that of ``astray``
    does."""
    with webhook(cluster) as made:
        assert made.post(landed(made.key)) == 200
        yield made


@pytest.fixture(scope="module", autouse=True)
def astray(cluster: Cluster) -> Iterator[Events]:
    """Something has landed whose key leads out of its bucket."""
    with webhook(cluster) as made:
        assert made.post(landed(f"images/../validate/{made.device}_1763798400.jpg")) == 200
        yield made


def test_what_lands_gives_one_workflow_of_this_object(events: Events) -> None:
    assert events.post(landed(events.key)) == 200
    (workflow,) = until(lambda: events.made("pipeline-"))
    assert workflow["spec"]["workflowTemplateRef"] == {"name": "pipeline"}
    assert parameters(workflow["spec"]["arguments"])["object"]["value"] == events.key
    assert re.fullmatch(rf"pipeline-{events.device}-[0-9a-f]{{16}}", workflow["metadata"]["name"])
    told = workflow["metadata"]["annotations"]["workflows.argoproj.io/description"]
    assert told == "s3:ObjectCreated:Put, 2025-11-22T08:00:12.345Z"


def test_another_event_of_the_same_object_gives_another_workflow(events: Events) -> None:
    for event in (
        landed(events.key),
        landed(events.key, sequencer="17AC", version="v2"),
        landed(events.key, event="s3:ObjectRemoved:DeleteMarkerCreated", sequencer="17AD", version="v3"),
    ):
        assert events.post(event) == 200
    assert len(until(lambda: (found := events.made("pipeline-"))[2:] and found)) == 3


@pytest.mark.parametrize("token", ["", "wrong", " "])
def test_a_forged_event_is_refused_and_starts_nothing(events: Events, token: str) -> None:
    assert events.post(landed(events.key), token=token) == 401
    _wait_for_another(events)
    assert events.made() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"EventName": "x"}', json.dumps({"Key": "images/x_1.jpg", "Records": []}).encode()],
)
def test_an_event_that_is_none_starts_nothing_and_stops_nothing(events: Events, body: bytes) -> None:
    events.post(body)
    assert events.post(landed(events.key)) == 200
    until(lambda: events.made("pipeline-"))
    given = [parameters(one["spec"].get("arguments")) for one in events.cluster.get("workflows")["items"]]
    assert not [one for one in given if "object" in one and one["object"].get("value") in (None, "", "images/x_1.jpg")]


def test_what_a_stage_writes_starts_nothing(events: Events) -> None:
    assert events.post(landed(events.key.replace("images/", "validate/valid/"))) == 200
    _wait_for_another(events)
    assert events.made() == []


@pytest.mark.parametrize("strange", ["{{=1+1}}", "a\nb", "a\\b"])
def test_a_key_that_argo_would_change_is_not_handed_to_it(events: Events, strange: str) -> None:
    assert events.post(landed(f"images/{strange}{events.device}_1763798400.jpg")) == 200
    _wait_for_another(events)
    assert events.made() == []


def test_a_rule_starts_one_backfill_a_minute(events: Events) -> None:
    minute = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 86400))
    name = f"landed-{minute.lower().replace(':', '')}"
    for sequencer in ("1", "2"):
        body = landed(f"rules/{events.device}.json", sequencer=sequencer)
        body["Records"][0]["eventTime"] = f"{minute}:12.345Z"
        assert events.post(body) == 200
    workflow = until(lambda: events.cluster.get("workflow", name))
    try:
        given = {one: body["value"] for one, body in parameters(workflow["spec"]["arguments"]).items()}
        assert given == {"kind": "live", "reconcile": "recent"}
        assert workflow["spec"]["workflowTemplateRef"] == {"name": "backfill"}
    finally:
        events.cluster.kubectl("delete", "workflow", name, "--wait=false")


def test_of_an_object_that_is_gone_nothing_is_made_and_a_repeat_becomes_a_dead_letter_that_succeeds(
    gone: Events,
) -> None:
    (first,) = until(lambda: gone.made("pipeline-"))
    assert gone.completed(first)["status"]["phase"] == "Succeeded"
    assert gone.post(landed(gone.key)) == 200
    (letter,) = until(lambda: gone.made("dead-letter-"))
    assert parameters(letter["spec"]["arguments"])["object"]["value"] == gone.key
    assert gone.completed(letter)["status"]["phase"] == "Succeeded"
    assert [one["metadata"]["name"] for one in gone.made("pipeline-")] == [first["metadata"]["name"]]


def test_a_key_that_leads_out_of_the_bucket_is_refused_by_the_first_stage(astray: Events) -> None:
    (workflow,) = until(lambda: astray.made("pipeline-"))
    ended = astray.completed(workflow)
    assert ended["status"]["phase"] == "Failed"
    (message,) = {one["message"] for one in nodes(ended, "Pod") if one["templateName"] == "stages"}
    assert re.match(r"1-validate: Error \(exit code 2\).*the part '\.\.'", message, re.DOTALL)


def _wait_for_another(events: Events) -> None:
    """Until an event that is posted now has its workflow: the Sensor takes them in order, so all before are through."""
    other = Events(cluster=events.cluster, address=events.address, token=events.token)
    assert other.post(landed(other.key)) == 200
    for workflow in until(lambda: other.made("pipeline-")):
        events.cluster.kubectl("delete", "workflow", "--wait=false", workflow["metadata"]["name"])
