"""By the intake, a picture alone is one DAG, and a burst in which the parts of the way are killed loses nothing. That
what lands together is worked on together is seen in ``test_end_to_end``."""

from __future__ import annotations

from tests.workflows.reading import parameters

from . import faults
from .deployment import Deployment, assert_equal
from .embedded import BURST, PERSON, TIME, Embedded

KILLED = ("EventSource", "Sensor", "intake")


def test_a_picture_alone_is_one_workflow_of_one_batch(deployment: Deployment, embedded: Embedded) -> None:
    key = f"{deployment.tag}-alone{TIME}"
    deployment.put("images", key, PERSON.read_bytes())
    (run,) = deployment.runs_of(key)
    (workflow,) = deployment.finished(run)
    assert workflow["status"]["phase"] == "Succeeded"
    batch = parameters(workflow["spec"]["arguments"])["batch"]["value"]
    name, _, attempt = run.rpartition("-")
    # While others have the cluster at its limit of workflows for a minute, the intake posts another attempt: whichever
    # begins first does the work.
    assert name == f"pipeline-{batch}"
    told = workflow["metadata"]["annotations"]["workflows.argoproj.io/description"]
    assert told == f"1 landed, attempt {attempt}"
    assert_equal(deployment, embedded, "alone")


def test_a_burst_while_the_parts_of_the_way_are_killed_loses_nothing(
    deployment: Deployment, embedded: Embedded
) -> None:
    share = len(BURST) // len(KILLED)
    for number, part in enumerate(KILLED):
        for device in BURST[number * share : (number + 1) * share]:
            deployment.put("images", f"{deployment.tag}-{device}{TIME}", PERSON.read_bytes())
        faults.kill(deployment.cluster, part)
    assert_equal(deployment, embedded, *BURST)
