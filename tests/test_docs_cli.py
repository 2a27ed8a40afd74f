"""Every command, option, exit code, variable and field of the command line is documented, and nothing else is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lookout.app.run_summary import Summary
from lookout.cli import COMMANDS, EPILOG, cli
from lookout.config.settings import Settings
from lookout.domain import errors
from lookout.outbox.unsent import Unsent

PAGE = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(group: click.Group, path: str = "lookout") -> Iterator[tuple[str, click.Command]]:
    """All commands below the group, with their whole names."""
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


ALL = dict(commands(cli))


def sections() -> dict[str, str]:
    """The page's sections by their titles."""
    parts = re.split(r"^## (.*)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def rows(text: str) -> list[str]:
    """Return the texts between backticks at the beginning of each row of a table."""
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


def test_the_page_has_a_section_for_each_command_and_no_other() -> None:
    documented = {title for title in sections() if title.startswith("lookout ")}
    assert documented == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_each_command_has_help(name: str) -> None:
    command = ALL[name]
    assert command.help
    assert command.get_short_help_str(limit=200).endswith(".")


@pytest.mark.parametrize("name", ALL)
def test_each_option_has_help(name: str) -> None:
    assert [option.name for option in options(ALL[name]) if not option.help] == []


@pytest.mark.parametrize("name", ALL)
def test_each_option_is_documented_and_no_other(name: str) -> None:
    documented = [row.split()[0] for row in rows(sections()[name]) if row.startswith("-")]
    assert sorted(documented) == sorted(option.opts[0] for option in options(ALL[name]))


@pytest.mark.parametrize("name", ALL)
def test_each_range_of_numbers_is_documented(name: str) -> None:
    for option in options(ALL[name]):
        kind = option.type
        if isinstance(kind, click.IntRange | click.FloatRange) and kind.min is not None and kind.max is not None:
            row = next(line for line in sections()[name].splitlines() if line.startswith(f"| `{option.opts[0]}"))
            assert f"{kind.min:,} to {kind.max:,}" in row or "as for `run`" in row


@pytest.mark.parametrize("name", ALL)
def test_each_section_shows_the_arguments_of_its_command(name: str) -> None:
    if isinstance(ALL[name], click.Group):
        return
    usage = re.search(rf"^`({name}[^`]*)`", sections()[name], flags=re.MULTILINE)
    assert usage is not None
    for parameter in ALL[name].params:
        if isinstance(parameter, click.Argument):
            assert (parameter.metavar or str(parameter.name).upper()).removesuffix("...") in usage[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_the_command_says(name: str) -> None:
    assert ALL[f"lookout {name}"].short_help == COMMANDS[name][1]


def test_every_exit_code_is_documented_and_no_other() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.LookoutError)]
    codes = {kind.exit_code for kind in kinds}
    codes |= {errors.EXIT_OK, errors.EXIT_DATUM_FAILED, errors.EXIT_CRASHED, errors.EXIT_STOPPED}
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", sections()["Exit codes"], flags=re.MULTILINE)}
    assert table == codes
    assert {int(code) for code in re.findall(r"^ +(\d+)  ", EPILOG, flags=re.MULTILINE)} == codes


def test_every_variable_is_documented_and_no_other() -> None:
    read: set[str] = set()

    class Environment(dict[str, str]):
        def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
            read.add(key)
            return super().get(key, default)

    keys = {"LOOKOUT_STORE_ACCESS_KEY": "a", "LOOKOUT_STORE_SECRET_KEY": "b"}
    user = {"LOOKOUT_LEDGER_USER": "a", "LOOKOUT_LEDGER_PASSWORD": "b"}
    servers = {"LOOKOUT_STORE": "s3+https://localhost:1", "LOOKOUT_LEDGER": "etcds://localhost:2"}
    Settings.from_environment(Environment(keys | user | servers))
    assert set(rows(sections()["Environment"])) == read


def test_every_field_of_a_run_is_documented_and_no_other() -> None:
    empty = Summary(
        run="",
        state=Path(),
        page=None,
        stages={},
        failures=(),
        invalid=(),
        ignored=0,
        silent_rules=(),
        rule_notes=(),
        threats={},
        alerts={},
        refused=(),
        pictures=0,
        rules=0,
        retracted=0,
        held=None,
        unlistable={},
        watch={},
        pending=0,
        unsent=Unsent(counts={}),
        stopped=False,
        elapsed_s=0.0,
    )
    documented = [row for row in rows(sections()["lookout run"]) if not row.startswith("-")]
    assert documented == list(empty.as_json())
