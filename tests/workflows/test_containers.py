"""Rights and view of a container: as little as it needs."""

from __future__ import annotations

import re

import pytest

from tests.workflows.reading import all_containers, containers, specs
from workflows.parts import RETRYABLE

CONTAINERS = dict(all_containers())
STAGES = {"validate", "object-detect", "threat-detect", "plot"}
NATIVE = {name: spec for name, spec in specs().items() if "templates" in spec}


@pytest.fixture(params=sorted(CONTAINERS))
def container(request):
    return CONTAINERS[request.param]


def test_it_is_restricted(container) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_it_writes_to_tmp_only() -> None:
    for spec in NATIVE.values():
        for template in spec["templates"]:
            if containers(template):
                (holder,) = (template[kind] for kind in ("container", "containerSet") if kind in template)
                assert holder["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
                assert not any("volumeMounts" in one for one in containers(template) if one is not holder)


def test_its_command_is_said_because_no_registry_may_be_asked_for_it(container) -> None:
    assert container["command"]
    assert container["imagePullPolicy"] == "IfNotPresent"


def test_it_requests_what_it_needs_and_cannot_take_all_memory(container) -> None:
    requests, limits = (container["resources"][kind] for kind in ("requests", "limits"))
    assert 0 < int(requests["memory"].removesuffix("Mi")) < int(limits["memory"].removesuffix("Mi"))
    assert float(requests["cpu"]) > 0
    assert "cpu" not in limits


def test_it_sees_the_secrets_of_its_own_and_no_others(container) -> None:
    image = container["image"].removeprefix("lookout/").partition(":")[0]
    stage = image if image in STAGES else None
    mails = image == "threat-detect" or container["args"][:2] == ["alerts", "send"]
    expected = {f"lookout-store-{stage or 'operator'}", f"lookout-ledger-{stage}" if stage else "lookout-ledger"}
    expected |= {"lookout-mail", "lookout-channels"} if mails else set()
    seen = [one["secretRef"] for one in container["envFrom"] if "secretRef" in one]
    assert {one["name"] for one in seen} == expected
    assert {one["name"] for one in seen if one.get("optional")} == ({"lookout-channels"} if mails else set())
    assert [one["configMapRef"]["name"] for one in container["envFrom"] if "configMapRef" in one] == [
        "lookout-settings"
    ]
    assert "env" not in container


def test_a_stage_runs_its_own_module_in_its_own_image(container) -> None:
    image = container["image"]
    if container["command"] == ["lookout"]:
        assert image == "lookout/lookout:dev"
    else:
        stage = container["command"][-1].removeprefix("stages.").replace("_", "-")
        assert container["command"][:2] == ["python", "-m"]
        assert stage in STAGES
        assert image == f"lookout/{stage}:dev"


@pytest.mark.parametrize("spec", NATIVE.values(), ids=list(NATIVE))
def test_a_workflow_ends_sometime_and_leaves_little_behind(spec) -> None:
    assert 0 < spec["activeDeadlineSeconds"] <= 24 * 3600
    assert spec["podGC"] == {"strategy": "OnPodSuccess"}
    assert spec["archiveLogs"] is True
    assert spec["ttlStrategy"]["secondsAfterSuccess"] < spec["ttlStrategy"]["secondsAfterFailure"]
    assert spec["serviceAccountName"] == "lookout-stage"
    assert (spec["automountServiceAccountToken"], spec["executor"]) == (False, {"serviceAccountName": "lookout-stage"})
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert [one["name"] for one in spec["volumes"]] == ["tmp"]


@pytest.mark.parametrize("spec", NATIVE.values(), ids=list(NATIVE))
def test_each_pod_is_tried_again_but_not_for_ever(spec) -> None:
    for template in spec["templates"]:
        if containers(template):
            retry = template["retryStrategy"]
            assert retry["expression"] == RETRYABLE
            assert retry["retryPolicy"] == "Always"
            assert 0 < retry["limit"] <= 20
            assert retry["backoff"]["cap"]


@pytest.mark.parametrize("name", [name for name in NATIVE if "pipeline" in name or "backfill" in name])
def test_a_run_that_was_stopped_is_ended_after_all(name) -> None:
    templates = {one["name"]: one for one in NATIVE[name]["templates"]}
    ((close,),) = templates[NATIVE[name]["onExit"]]["steps"]
    assert close["when"] == "{{workflow.status}} != Succeeded"
    (ends,) = (one for template in templates.values() for one in containers(template) if one.get("name") == "main")
    assert [*templates[close["template"]]["container"]["args"], "--to=/tmp/verdict"] == ends["args"]


def retried(message: str, status: str = "Failed") -> bool:
    """The expression of the retries, read with Python's words for its own."""
    text = re.sub(r'(lastRetry[.]\w+) matches ("[^"]*")', r"bool(re.search(\2, \1))", RETRYABLE)
    text = text.replace("lastRetry.", "").replace("||", "or").replace("!(", "not (")
    return eval(text, {"re": re, "message": message, "status": status})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("1-validate: Error (exit code 75): http://minio:9000: does not answer", True),
        ("1-validate: Error (exit code 70): lookout: RuntimeError in thread flush", True),
        ("2-object-detect: OOMKilled (exit code 137)", True),
        ("3-threat-detect: Error (exit code 143)", True),
        ("The node was low on resource: memory.", True),
        ("Pod was terminated in response to imminent node shutdown.", True),
        ("pod failed: main container did not complete successfully", True),
        ("main: Error (exit code 1): 1 of 1 failed: images/x (exit code 75)_1763798400.jpg", False),
        ("main: Error (exit code 1)", False),
        ("1-validate: Error (exit code 2): LOOKOUT_STORE: expected s3+http://", False),
        ("1-validate: StartError (exit code 128): failed to create containerd task", False),
        ("1-validate: Error (exit code 64)", False),
        ("1-validate: Error (exit code 7)", False),
    ],
)
def test_only_what_may_work_later_is_tried_again(message: str, expected: bool) -> None:
    assert retried(message) is expected
    assert retried(message, status="Error") is True
