"""Errors in a cluster: they are shown where people look, in the workflow, with what to do; the workflow fails at once
where waiting does not help, and goes on by itself where somebody mends it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping

import pytest

from tests.workflows.reading import Tree, containers, templates

from .argo_kit import Argo, nodes, spelled, templates_of, until
from .cluster import Cluster
from .deployment import SETTLED_S, Deployment

pytestmark = pytest.mark.xdist_group("apart")

NOBODY = "images/nobody_1763798400.jpg"
"""A picture that is not there: all stages look for it, and find nothing to do."""
MISSING = "lookout-store-mistaken"
ELSEWHERE = "lookout-store-elsewhere"
"""Names of Secrets, of which the first is not there at the beginning."""


@pytest.fixture(scope="module")
def deployment(cluster: Cluster) -> Deployment:
    """As it is, whoever else uses it."""
    return Deployment(cluster=cluster)


@pytest.fixture
def argo(cluster: Cluster) -> Iterator[Argo]:
    with Argo(cluster=cluster) as made:
        yield made


def changed(number: int, **fields: object) -> Tree:
    """A pipeline in which this container, counted from 1, is not as it should be."""
    workflow = spelled("pipeline", {"object": NOBODY})
    containers(templates(workflow["spec"])["stages"])[number - 1].update(fields)
    return workflow


def told(argo: Argo, workflow: str, pattern: str) -> str:
    """The message of a pod of the workflow, once it says this."""

    def look() -> list[str]:
        now = argo.cluster.get("workflow", workflow)
        said = [one.get("message", "") for one in nodes(now, "Pod")] if "nodes" in now.get("status", {}) else []
        return [one for one in said if re.search(pattern, one, re.DOTALL)]

    return str(until(look, SETTLED_S)[0])


def put(cluster: Cluster, secret: str, entries: Mapping[str, str]) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in entries.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "data": data}
    cluster.kubectl("apply", "--filename=-", given=json.dumps(body))


def from_secret(name: str) -> list[Tree]:
    return [
        {"configMapRef": {"name": "lookout-settings"}},
        {"secretRef": {"name": name}},
        {"secretRef": {"name": "lookout-ledger-validate"}},
    ]


@pytest.fixture(scope="module")
def begun(cluster: Cluster, deployment: Deployment) -> Iterator[dict[str, str]]:
    """The names of workflows with what is wrong in each, which take their time side by side."""
    cluster.kubectl("delete", "secret", "--ignore-not-found", MISSING, ELSEWHERE)
    root = deployment.secret("lookout-store-root")
    put(
        cluster,
        ELSEWHERE,
        {
            "LOOKOUT_STORE": "s3+http://minio:9000/nowhere-",
            "LOOKOUT_STORE_ACCESS_KEY": root["MINIO_ROOT_USER"],
            "LOOKOUT_STORE_SECRET_KEY": root["MINIO_ROOT_PASSWORD"],
        },
    )
    in_no_bucket = changed(1, envFrom=from_secret(ELSEWHERE))
    first = containers(templates(in_no_bucket["spec"])["stages"])[0]
    first["args"] = [word.replace("{{workflow.parameters.object}}", f"nowhere-{NOBODY}") for word in first["args"]]
    wrong = {
        "program": changed(2, command=["no-such-program"]),
        "image": changed(2, image="lookout/no-such-image:dev"),
        "secret": changed(1, envFrom=from_secret(MISSING)),
        "bucket": in_no_bucket,
    }
    with Argo(cluster=cluster) as argo:
        yield {what: argo.create(workflow) for what, workflow in wrong.items()}
    cluster.kubectl("delete", "secret", "--ignore-not-found", MISSING, ELSEWHERE)


# --- images ----------------------------------------------------------------------------------------------------------


def test_a_program_that_is_not_in_the_image_fails_at_once(argo: Argo, begun: dict[str, str]) -> None:
    workflow = argo.finished(begun["program"])
    assert workflow["status"]["phase"] in ("Failed", "Error")
    assert templates_of(workflow) == ["stages", "close"]
    assert re.match(r"2-object-detect: .*\(exit code 64\).*no-such-program", nodes(workflow, "Pod")[0]["message"])


def test_an_image_that_is_not_there_is_named_while_the_pod_waits_for_it(argo: Argo, begun: dict[str, str]) -> None:
    name = begun["image"]
    assert "lookout/no-such-image:dev" in told(argo, name, "^ErrImagePull|^ImagePullBackOff")
    said = argo.cluster.argo("stop", name)
    assert said.returncode == 0, said.stderr
    assert argo.finished(name)["status"]["phase"] == "Failed"


# --- secrets and buckets ---------------------------------------------------------------------------------------------


def test_a_secret_that_is_missing_or_wrong_is_told_and_work_goes_on_once_it_is_right(
    argo: Argo, begun: dict[str, str], deployment: Deployment
) -> None:
    right = deployment.secret("lookout-store-validate")
    name = begun["secret"]
    assert MISSING in told(argo, name, "^CreateContainerConfigError")
    put(argo.cluster, MISSING, {**right, "LOOKOUT_STORE_SECRET_KEY": "mistaken"})
    message = told(argo, name, r"^1-validate: Error \(exit code 75\)")
    assert "check LOOKOUT_STORE_ACCESS_KEY and LOOKOUT_STORE_SECRET_KEY" in message
    assert "mistaken" not in message
    put(argo.cluster, MISSING, right)
    assert argo.finished(name)["status"]["phase"] == "Succeeded"


def test_a_bucket_that_is_missing_is_named_with_what_makes_it(argo: Argo, begun: dict[str, str]) -> None:
    message = told(argo, begun["bucket"], r"^1-validate: Error \(exit code 75\)")
    assert "/nowhere-images: there is no such bucket; run `lookout init` to make it" in message


# --- parameters ------------------------------------------------------------------------------------------------------

BAD = {
    "a time that is none": ("backfill", {"since": "yesterday-ish"}, "'yesterday-ish' is no date, no ISO time"),
    "no worker": ("backfill", {"workers": "0"}, "--workers.*0 is not in the range x>=1"),
    "a batch that is too large": ("backfill", {"size": "1001"}, "--size.*1001 is not in the range 1<=x<=1000"),
    "a stage that is none": ("backfill", {"stage": "foo"}, "--stage.*'foo' is not one of 'validate', 'object-detect'"),
    "a kind that is none": ("backfill", {"kind": "lively"}, "--kind.*'lively' is not one of 'backfill', 'live'"),
    "nothing": ("pipeline", {"object": ""}, "expected one of --batch, --object and --pull"),
    "another bucket": ("pipeline", {"object": "validate/valid/x_1763798400.jpg"}, "expected images/<key>"),
    "a way out of the bucket": ("pipeline", {"object": "images/../x_1763798400.jpg"}, "the part '..'"),
}


@pytest.fixture(scope="module")
def given(deployment: Deployment) -> Iterator[dict[str, str]]:
    """All at once, as they take their time side by side: backfills as an operator submits them, pipelines without
    their limit of so many at a time."""
    with Argo(cluster=deployment.cluster) as argo:
        names = {}
        for case, (template, told, _) in BAD.items():
            if template == "backfill":
                names[case] = deployment.submit(template, **told)
                argo.made.append(names[case])
            else:
                names[case] = argo.create(spelled(template, told))
        yield names


@pytest.mark.parametrize("case", BAD)
def test_a_parameter_that_makes_no_sense_fails_the_first_pod_and_says_why(
    argo: Argo, given: dict[str, str], case: str
) -> None:
    workflow = argo.finished(given[case])
    assert workflow["status"]["phase"] == "Failed"
    first, *others = nodes(workflow, "Pod")
    assert re.search(rf"\(exit code 2\).*{BAD[case][2]}", first["message"], re.DOTALL), first["message"]
    assert [one["templateName"] for one in others] == ["close"]
