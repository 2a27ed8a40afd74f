"""Each container has a command line that the command or the stage takes, with what a workflow gives by default."""

from __future__ import annotations

import re

import click
import pytest

from lookout.cli import cli
from stages.command import _command
from stages.installation import INSTALLATION
from tests.workflows.reading import containers, parameters, specs

LINES = [
    pytest.param(container, spec, id=f"{name}/{template['name']}/{container.get('name', 'main')}")
    for name, spec in sorted(specs().items())
    for template in spec.get("templates", [])
    for container in containers(template)
]


def taken(command: click.Command, args: list[str]) -> dict[str, object]:
    """Return the parameters that the command makes of its arguments, without running it. Raises click.UsageError."""
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), args[0])
        assert found is not None, f"no such command: {args[0]}"
        command, args = found, args[1:]
    return command.make_context(command.name, list(args), obj=INSTALLATION).params


@pytest.mark.parametrize(("container", "spec"), LINES)
def test_the_command_takes_its_arguments(container, spec) -> None:
    given = (
        {f"workflow.parameters.{name}": one.get("value", "x") for name, one in parameters(spec["arguments"]).items()}
        if "arguments" in spec
        else {}
    )
    given["workflow.name"] = "pipeline-porch-0123456789abcdef"
    args = [re.sub(r"\{\{(.*?)\}\}", lambda tag: given[tag[1]], one) for one in container["args"]]
    stage = container["command"][-1].removeprefix("stages.").replace("_", "-")
    assert taken(cli if container["command"] == ["lookout"] else _command(stage, 0.0), args) is not None


def test_a_command_line_that_is_none_is_found_out() -> None:
    with pytest.raises(click.UsageError):
        taken(cli, ["batches", "cut", "--worker-to=/tmp/x"])
    with pytest.raises(AssertionError):
        taken(cli, ["batch", "cut"])
