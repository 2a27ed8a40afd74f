"""References between the parts of a workflow: each target exists. Hera does not look, and Argo only when it runs."""

from __future__ import annotations

import pytest

from tests.workflows.reading import calls, containers, parameters, resources, specs, tags, templates

WORKFLOWS = {name: spec for name, spec in specs().items() if "templates" in spec}
GIVEN = {"workflow.name", "workflow.status", "item"}


@pytest.fixture(params=sorted(WORKFLOWS))
def spec(request):
    return WORKFLOWS[request.param]


def test_the_first_and_the_last_template_are_there(spec) -> None:
    assert spec["entrypoint"] in templates(spec)
    assert spec.get("onExit", spec["entrypoint"]) in templates(spec)


def test_each_template_is_called(spec) -> None:
    called = {call["template"] for template in spec["templates"] for call in calls(template)}
    assert called | {spec["entrypoint"], spec.get("onExit")} >= set(templates(spec))


def test_each_call_names_a_template_and_gives_it_its_arguments(spec) -> None:
    for template in spec["templates"]:
        for call in calls(template):
            called = templates(spec)[call["template"]]
            needed = {name for name, one in parameters(called.get("inputs")).items() if "value" not in one}
            given = set(parameters(call.get("arguments")))
            assert needed <= given <= set(parameters(called.get("inputs"))), call["name"]


def test_what_is_called_with_nothing_needs_nothing(spec) -> None:
    for name in (spec["entrypoint"], spec.get("onExit", spec["entrypoint"])):
        assert not parameters(templates(spec)[name].get("inputs"))


def test_each_tag_means_something(spec) -> None:
    arguments = {f"workflow.parameters.{name}" for name in parameters(spec.get("arguments"))}
    for template in spec["templates"]:
        inputs = {f"inputs.parameters.{name}" for name in parameters(template.get("inputs"))}
        outputs = {
            f"tasks.{task['name']}.outputs.parameters.{name}"
            for task in calls(template)
            for name in parameters(templates(spec)[task["template"]].get("outputs"))
        }
        assert set(tags(template)) <= GIVEN | arguments | inputs | outputs


def test_each_argument_is_used(spec) -> None:
    used = set(tags(spec["templates"]))
    assert {f"workflow.parameters.{name}" for name in parameters(spec.get("arguments"))} <= used


def test_a_task_waits_for_tasks_that_are_there_and_for_what_it_reads(spec) -> None:
    for template in spec["templates"]:
        after: dict[str, set[str]] = {}
        for task in template.get("dag", {}).get("tasks", []):
            before = set(task.get("depends", "").split(" && ")) - {""}
            assert before <= set(after), "tasks stand in the order in which they can run"
            after[task["name"]] = before.union(*(after[one] for one in before))
            read = {tag.split(".")[1] for tag in tags(task) if tag.startswith("tasks.")}
            assert read <= after[task["name"]]


def test_containers_of_a_chain_run_one_after_the_other_in_the_order_of_their_names(spec) -> None:
    for template in spec["templates"]:
        chain = containers(template) if "containerSet" in template else []
        names = [one["name"] for one in chain]
        assert names == sorted(names)
        assert [one["dependencies"] for one in chain] == [[], *([name] for name in names)][: len(chain)]


def test_outputs_of_a_chain_come_from_main(spec) -> None:
    for template in spec["templates"]:
        if "containerSet" in template and parameters(template.get("outputs")):
            assert containers(template)[-1]["name"] == "main"


def test_an_item_is_there_where_one_is_used(spec) -> None:
    for template in spec["templates"]:
        for call in calls(template):
            assert ("withParam" in call) == ("item" in set(tags(call.get("arguments", {}))))


def test_each_semaphore_has_a_limit() -> None:
    limits = resources()["ConfigMap/lookout-limits"]
    for spec in specs().values():
        for holder in (spec, *spec.get("templates", [])):
            for semaphore in holder.get("synchronization", {}).get("semaphores", []):
                wanted = semaphore["configMapKeyRef"]
                assert wanted["name"] == limits["metadata"]["name"]
                assert int(limits["data"][wanted["key"]]) > 0


def test_what_names_a_workflow_template_gives_only_arguments_it_has() -> None:
    named = [spec for spec in specs().values() if "workflowTemplateRef" in spec]
    sensor = resources()["Sensor/uploads"]["spec"]
    triggers = [*sensor["triggers"], *(one["dlqTrigger"] for one in sensor["triggers"] if "dlqTrigger" in one)]
    named += [one["template"]["k8s"]["source"]["resource"]["spec"] for one in triggers]
    assert len(named) >= 5
    for spec in named:
        template = resources()[f"WorkflowTemplate/{spec['workflowTemplateRef']['name']}"]["spec"]
        known = parameters(template.get("arguments"))
        given = parameters(spec.get("arguments"))
        assert set(given) <= set(known)
        for name, one in given.items():
            assert one["value"] in known[name].get("enum", [one["value"]])
        assert {name for name, one in known.items() if "value" not in one} <= set(given)
