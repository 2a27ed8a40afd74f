"""The end of a process in which something died: no thread dies alone, and no crash looks like success.

Each entry point calls ``end_with_any_thread`` first. All state survives kill -9, so a process may end at once from any
thread; its worker processes end with it (``lookout.execution.supervised_pool``).
"""

from __future__ import annotations

import os
import sys
import threading
import traceback

from lookout.domain.errors import EXIT_CRASHED, LookoutError, find_lack
from lookout.log import get_logger

log = get_logger(__name__)


def end_with_any_thread() -> None:
    """End this process when an exception leaves a thread, with the exit code of ``report``. Exceptions that nobody can
    catch, as in a finalizer, are logged and end nothing."""
    threading.excepthook = _end
    sys.unraisablehook = _log_unraisable


def report(error: BaseException, thread: str) -> tuple[str, int]:
    """Give a sentence for a person and the exit code: that of a LookoutError, 75 where the machine lacks something, 70
    for a defect, which is logged with its traceback as one event."""
    known = error if isinstance(error, LookoutError) else find_lack(error)
    if known is not None:
        return str(known), known.exit_code
    log.error("crashed", thread=thread, error=repr(error), traceback="".join(traceback.format_exception(error)))
    return f"a defect of Lookout: {type(error).__name__} in the thread {thread}; please report it", EXIT_CRASHED


def _end(died: threading.ExceptHookArgs) -> None:
    if died.exc_value is None or isinstance(died.exc_value, SystemExit):
        return
    code = EXIT_CRASHED
    try:
        sentence, code = report(died.exc_value, died.thread.name if died.thread is not None else "unknown")
        sys.stderr.write(f"lookout: {sentence if sentence.isprintable() else ascii(sentence)}\n")
    finally:
        os._exit(code)


def _log_unraisable(ignored: sys.UnraisableHookArgs) -> None:
    log.error("ignored", what=ignored.err_msg or "exception", of=repr(ignored.object), error=repr(ignored.exc_value))
