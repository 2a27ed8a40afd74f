"""The command ``lookout``. Thin: each command reads its options, calls the engine and shows what it says.

Commands are imported when they are called, so that ``lookout --help`` is quick. Results go to stdout, talk and progress
to stderr. Only this package ends the process.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from lookout import __version__
from lookout.app.deployment import Program
from lookout.app.standard_streams import let_go_of_stdout
from lookout.config.settings import Settings
from lookout.domain.errors import EXIT_STOPPED
from lookout.log import configure

COMMANDS: Final = {
    "demo": ("lookout.cli.demo:demo", "Process the sample photographs through all stages."),
    "run": ("lookout.cli.run:run", "Process photographs through all stages, once."),
    "watch": ("lookout.cli.watch:watch", "Process every photograph that arrives in a folder, at once."),
    "status": ("lookout.cli.status:status", "Show what is done, waiting, failed and alerted, and the last runs."),
    "wait": ("lookout.cli.wait:wait", "Wait until all stages have finished a picture, and say how it ended."),
    "logs": ("lookout.cli.logs:logs", "Show a run's timeline: batches, datums, failures, alerts, containers' logs."),
    "metrics": ("lookout.cli.metrics:metrics", "Give the metrics for Prometheus, once or by HTTP."),
    "datums": ("lookout.cli.datums:datums", "List, show, retry and invalidate single datums."),
    "plan": ("lookout.cli.plan:plan_command", "Dry run: show what would be done and why, and change nothing."),
    "batches": ("lookout.cli.batches:batches", "Cut waiting work into batches for several workers, and list them."),
    "keep": ("lookout.cli.keep:keep", "Keep a run open for what lands, and end it."),
    "verdict": ("lookout.cli.verdict:verdict", "End a run, and say what was found and what failed."),
    "look": ("lookout.cli.look:look", "Observe objects of the store and record them in the ledger."),
    "work": ("lookout.cli.work:work", "Work on one batch, one picture, or all batches of a run."),
    "alerts": ("lookout.cli.handling:alerts", "List, send, acknowledge, silence, resend and cancel alerts."),
    "channels": ("lookout.cli.channels:channels", "List the ways by which alerts leave, and try one."),
    "trace": ("lookout.cli.trace:trace", "Show the provenance of an object, and what was made from it."),
    "explain": ("lookout.cli.explain:explain", "Say why a picture was told or not, or each picture of a device."),
    "replay": ("lookout.cli.replay:replay", "Say what other rules would have told, or fold what was decided again."),
    "verify": ("lookout.cli.verify:verify", "Make an alert again from its record, and say whether it is the same."),
    "gc": ("lookout.cli.gc:gc", "Remove orphaned results and old versions."),
    "upkeep": ("lookout.cli.upkeep:upkeep", "Compare ledger, store and source, and correct differences."),
    "ledger": ("lookout.cli.ledger:ledger", "Back up or restore the ledger, begin a new one, show its size."),
    "names": ("lookout.cli.names:names", "Try how names of pictures are read."),
    "rules": ("lookout.cli.rules:rules", "Check rule files, and try what they would tell."),
    "model": ("lookout.cli.model:model", "Write a model's manifest, and check a model."),
    "doctor": ("lookout.cli.doctor:doctor", "Check this installation, its servers and a state."),
    "init": ("lookout.cli.init:init", "Make buckets, and users for the stages, on the store's server."),
    "upload": ("lookout.cli.upload:upload", "Upload photographs to the store's bucket."),
    "ls": ("lookout.cli.objects:ls", "List buckets, or the objects in one."),
    "get": ("lookout.cli.objects:get", "Read one object."),
    "history": ("lookout.cli.objects:history", "Show the versions of one object, and the datums that made them."),
    "completion": ("lookout.cli.completion:completion", "Print the shell's completion script."),
}

EPILOG: Final = """\b
Exit codes:
    0  all went well; invalid pictures are an ordinary result
    1  a datum failed, or a check found something
    2  the call or a given file cannot be used
   65  stored data is not what was written
   70  a defect of Lookout; its log names it
   75  something does not answer or has no room: try again
  130  stopped by a signal
"""


class LazyGroup(click.Group):
    """Group that knows its commands' names and short helps, and imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        del ctx
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"expected a command, got {command!r}")
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _reader_may_leave():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        with _reader_may_leave():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="lookout")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Photographs become alerts, and every alert can be proved."""
    settings = Settings.from_environment(os.environ)
    configure(settings.log_level)
    ctx.obj = Program(settings=settings, installation=ctx.obj)


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """Let the reader of the output close it early, as ``| head`` does: that ends the command without an error."""
    try:
        yield
    except BrokenPipeError:
        let_go_of_stdout()
        raise click.exceptions.Exit(EXIT_STOPPED) from None
