"""The workflows on a real cluster: what Argo and the API server make of them, and what a container's end means.

The containers are played: what stages do is tested elsewhere, and what happens end to end too.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.workflows.reading import ROOT, resources

from .argo_kit import Argo, acted, nodes, outputs, templates_of, until
from .cluster import Cluster
from .schemas import faults

pytestmark = pytest.mark.xdist_group("apart")

STAGES = ["1-validate", "2-object-detect", "3-threat-detect", "4-plot", "main"]
OURS = sorted(resources())


KEYS = ["büro/über gang_1763798400.jpg", "a\"b'c;$(d) `e`_1763798400.jpg", "写真_1763798400.jpg"]
FAILS = [
    ("1-validate", {"code": 2, "says": "LOOKOUT_STORE: expected s3+http://"}, "2): LOOKOUT_STORE: expected s3+http://"),
    ("4-plot", {"code": 64}, "64): "),
    (
        "main",
        {"code": 1, "says": "failed: images/x (exit code 75)_1.jpg"},
        "1): failed: images/x (exit code 75)_1.jpg",
    ),
]
PLAYS: dict[str, tuple[str, dict, dict]] = {
    "all is well": ("pipeline", {}, {"object": "images/some/porch_1763798400.jpg"}),
    "no answer": ("pipeline", {"2-object-detect": {"code": 75, "says": "etcd: does not answer", "times": 2}}, {}),
    **{name: ("pipeline", {name: act}, {}) for name, act, _ in FAILS},
    "three workers": ("backfill", {"workers": [1, 2, 3]}, {}),
    "nothing to do": ("backfill", {"workers": []}, {}),
    "a worker fails": ("backfill", {"workers": [1], "2-object-detect": {"code": 2}}, {}),
    **{key: ("pipeline", {"main": {"code": 1}}, {"object": f"images/{key}"}) for key in KEYS},
}


@pytest.fixture
def argo(cluster: Cluster) -> Iterator[Argo]:
    with Argo(cluster=cluster) as made:
        yield made


@pytest.fixture(scope="module")
def begun(cluster: Cluster) -> Iterator[dict[str, str]]:
    """The names of the plays' workflows, which take their time side by side."""
    with Argo(cluster=cluster) as argo:
        yield {name: argo.create(acted(*play)) for name, play in PLAYS.items()}


def test_argo_finds_nothing_wrong_in_them(cluster: Cluster) -> None:
    folder = ROOT / "workflows/rendered"
    files = [str(path) for path in folder.glob("*.yaml") if path.stem not in ("kustomization", "limits")]
    command = [str(cluster.site.program("argo")), "lint", "--offline", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name in OURS if not name.startswith("ConfigMap")])
def test_each_field_is_one_that_argo_knows(name: str) -> None:
    assert faults(resources()[name]) == []


@pytest.mark.parametrize("name", OURS)
def test_the_api_server_takes_them(cluster: Cluster, name: str) -> None:
    words = ("apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", "-")
    cluster.kubectl(*words, given=json.dumps(resources()[name]))


def test_the_stages_run_one_after_the_other_and_the_verdict_is_told(argo: Argo, begun: dict[str, str]) -> None:
    workflow = argo.finished(begun["all is well"])
    assert workflow["status"]["phase"] == "Succeeded"
    chain = nodes(workflow, "Container")
    assert sorted(one["displayName"] for one in chain) == STAGES
    assert {one["phase"] for one in chain} == {"Succeeded"}
    (pod,) = nodes(workflow, "Pod")
    assert outputs(pod) == {"device": "porch", "count": "", "found": "", "failed": ""}
    assert workflow["metadata"]["labels"]["lookout/device"] == "porch"
    title = workflow["metadata"]["annotations"]["workflows.argoproj.io/title"]
    assert title == "`images/some/porch_1763798400.jpg`"


def test_pods_that_succeeded_are_gone_and_their_logs_are_kept(argo: Argo, begun: dict[str, str]) -> None:
    workflow = argo.finished(begun["all is well"])
    (pod,) = nodes(workflow, "Pod")
    assert sorted(one["name"] for one in pod["outputs"]["artifacts"]) == [f"{name}-logs" for name in STAGES]
    until(lambda: not argo.pods(workflow["metadata"]["name"]))


def test_what_does_not_answer_is_tried_again_until_it_does(argo: Argo, begun: dict[str, str]) -> None:
    workflow = argo.finished(begun["no answer"])
    assert workflow["status"]["phase"] == "Succeeded"
    said = [one.get("message", "") for one in nodes(workflow, "Pod")]
    assert said == ["2-object-detect: Error (exit code 75): etcd: does not answer"] * 2 + [""]


@pytest.mark.parametrize(("name", "message"), [(name, message) for name, _, message in FAILS])
def test_what_will_not_work_later_fails_at_once_and_says_why(
    argo: Argo, begun: dict[str, str], name: str, message: str
) -> None:
    workflow = argo.finished(begun[name])
    assert workflow["status"]["phase"] == "Failed"
    assert templates_of(workflow) == ["stages", "close"]
    stages, close = nodes(workflow, "Pod")
    assert stages["message"].startswith(f"{name}: Error (exit code {message}")
    assert close["phase"] == "Succeeded"


def test_a_verdict_that_failed_has_told_what_it_found(argo: Argo, begun: dict[str, str]) -> None:
    stages, _ = nodes(argo.finished(begun["main"]), "Pod")
    assert outputs(stages)["device"] == "porch"


def test_a_pod_that_is_deleted_is_made_again(argo: Argo) -> None:
    name = argo.create(acted("pipeline", {"2-object-detect": {"takes_s": 60}}))
    argo.cluster.kubectl("delete", "pod", _at_work(argo, name), "--wait=false")
    # It cannot have succeeded otherwise. Argo calls it another try, or the same one if it has hardly begun.
    assert argo.finished(name)["status"]["phase"] == "Succeeded"


def test_a_workflow_that_is_stopped_hands_back_and_ends_its_run(argo: Argo) -> None:
    name = argo.create(acted("pipeline", {"2-object-detect": {"takes_s": 600}}))
    pod = _at_work(argo, name)
    began_s = time.monotonic()
    argo.cluster.kubectl("patch", "workflow", name, "--type=merge", "-p", '{"spec": {"shutdown": "Stop"}}')
    workflow = argo.finished(name)
    assert time.monotonic() - began_s < 60
    assert workflow["status"]["phase"] == "Failed"
    assert "Stop" in workflow["status"]["message"]
    assert "handed back" in argo.cluster.kubectl("logs", pod, "-c", "2-object-detect")
    assert templates_of(workflow) == ["stages", "close"]
    assert nodes(workflow, "Pod")[1]["phase"] == "Succeeded"


def test_a_backfill_has_a_worker_for_each_that_was_planned(argo: Argo, begun: dict[str, str]) -> None:
    workflow = argo.finished(begun["three workers"])
    assert workflow["status"]["phase"] == "Succeeded"
    assert templates_of(workflow) == ["plan", "work", "work", "work", "end"]


def test_a_backfill_with_nothing_to_do_is_its_plan(argo: Argo, begun: dict[str, str]) -> None:
    workflow = argo.finished(begun["nothing to do"])
    assert workflow["status"]["phase"] == "Succeeded"
    assert templates_of(workflow) == ["plan"]


def test_when_a_worker_fails_nothing_is_drawn_and_the_run_is_ended_all_the_same(
    argo: Argo, begun: dict[str, str]
) -> None:
    workflow = argo.finished(begun["a worker fails"])
    assert workflow["status"]["phase"] == "Failed"
    assert templates_of(workflow) == ["plan", "work", "close"]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_comes_to_the_stages_as_it_is(argo: Argo, begun: dict[str, str], key: str) -> None:
    argo.finished(begun[key])
    said = argo.cluster.kubectl("logs", argo.pod(begun[key], "stages"), "-c", "1-validate")
    (line,) = (line for line in said.splitlines() if line.startswith("1-validate acts "))
    assert f"--object=images/{key}" in json.loads(line.removeprefix("1-validate acts "))


def _at_work(argo: Argo, workflow: str) -> str:
    """The pod whose second container has begun."""
    pod = argo.pod(workflow, "stages")
    until(lambda: "acts" in argo.cluster.kubectl("logs", pod, "-c", "2-object-detect"))
    return pod
