"""Process of a command: standard streams, signals, errors as one line and an exit code, threads that may die."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from types import FrameType

import click

from lookout.app.extras import explain
from lookout.app.standard_streams import open_streams
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, EXIT_STOPPED, Corrupt, Unavailable, find_lack
from lookout.execution.crash import end_with_any_thread, report
from lookout.text import count, printable


def run_command(
    command: click.Command, name: str | None = None, stopped: int = EXIT_STOPPED, *, obj: object = None
) -> int:
    """Run a command of this name, and turn every error into one line on stderr and an exit code: ``stopped`` when a
    signal ended it. An exception that leaves another thread ends the process likewise, at once."""
    results = open_streams(_tell_output)
    end_with_any_thread()
    spare_the_collector()
    # No matrices are multiplied here; and OpenBLAS sends itself a SIGINT where its threads cannot be started.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # ONNX Runtime would send events about its use to its maker, wherever it is imported (``doctor``, for one).
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    code = _code_of(command, name, stopped, obj)
    if results is None or results.error is None or code not in (EXIT_OK, EXIT_DATUM_FAILED, stopped):
        return code
    _say(f"the output: {results.error.strerror}; {count(results.lost, 'line')} of the result could not be written")
    return Unavailable.exit_code


def _code_of(command: click.Command, name: str | None, stopped: int, obj: object) -> int:
    try:
        code = command.main(prog_name=name, standalone_mode=False, obj=obj)
    except SystemExit as exc:
        code = exc.code
    except click.ClickException as exc:
        exc.show()
        code = exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        code = stopped
    except OSError as exc:
        code = _end_by_system(exc)
    except Exception as exc:  # noqa: BLE001 - the outermost place: whatever it is ends the process with its code
        sentence, code = report(explain(exc), "main")
        _say(sentence)
        if isinstance(exc, Corrupt) and exc.hint:
            click.echo(exc.hint, err=True)
    return code if isinstance(code, int) else EXIT_OK


def _end_by_system(error: OSError) -> int:
    """Say what the system refused beside the stores and ledgers, whose errors are LookoutErrors: a path, a limit."""
    place = "" if error.filename is None else f"{error.filename}: "
    _say(str(find_lack(error) or f"{place}{error.strerror or error}"))
    return Unavailable.exit_code


def _tell_output(error: OSError) -> None:
    _say(f"the output: {error.strerror}; results are lost until it can be written again")


def _say(sentence: str) -> None:
    click.echo(f"lookout: {printable(sentence)}", err=True)


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Have the first SIGINT or SIGTERM call ``stop``, which ends the work in good order, and the next one of its kind
    end the process at once, as while a large folder is read. ``stop`` is called between any two steps of the main
    thread: it may set a mark or put something into a queue, and wait for nothing."""

    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, interrupt)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def interrupt(number: int, _: FrameType | None) -> None:
    """Handle a signal by ending the main thread at once, as Ctrl-C does."""
    raise KeyboardInterrupt(number)


def spare_the_collector() -> None:
    """Have Python look for garbage in cycles seldom. Reading a ledger makes hundreds of thousands of small records,
    hardly one in a cycle; looking through them again and again takes about a tenth of a run's time and finds nothing.
    """
    gc.set_threshold(10_000, 20, 20)
