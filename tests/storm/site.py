"""A storm over one deployment: carries out the plan, then clears the weather and settles the account.

``Site`` has all that an embedded deployment and one on servers share.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from tests.storm import accounting
from tests.storm.beacon import Beacon
from tests.storm.clocks import Clock
from tests.storm.figures import Figures
from tests.storm.mail import KEY, MailService
from tests.storm.process import Fault, Process
from tests.storm.source import CANARY, Source
from tests.storm.weather import Act, Command, End, Forecast, Gust, Moment, Step

MOMENT_S: Final = 8.0
"""The longest time that a moment is waited for."""
ROUNDS: Final = 30
"""Of sending in calm weather, until nothing waits."""
LIVE: Final = ("state", "hash", "label", "outputs", "waiting")
CLEAN_S: Final = 60.0


class Site(ABC):
    """One deployment in a storm. ``needed`` weather that this machine does not allow is an error, else it is left out
    and named in ``left_out``."""

    servers = False

    def __init__(self, root: Path, seed: int, *, whole: bool = False) -> None:
        self.root, self.seed, self.whole = root, seed, whole
        self.beacon = Beacon()
        self.mail = MailService(self.beacon)
        self.source = Source(root)
        self.clock = Clock(root / "clock")
        self.figures = Figures()
        self.left_out: set[str] = set()
        self._seen: set[str] = set()
        self._shared = set(accounting.shared_files())
        self._open = ExitStack()
        (root / "tmp").mkdir()

    def __enter__(self) -> Self:
        self._open.enter_context(self.mail)
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def leave_out(self, why: str) -> None:
        """Note weather that is not possible here."""
        if self.whole:
            raise Fault(f"the long form needs all weather, and this is not possible here: {why}")
        self.left_out.add(why)

    # --- what a deployment has of its own ---------------------------------------------------------------------------

    @abstractmethod
    def settings(self, *, fresh: bool = False) -> Mapping[str, str]:
        """Variables of the deployment, or of a fresh one beside it."""

    @abstractmethod
    def arguments(self, command: Command) -> Sequence[object]:
        """The command line of a step."""

    @abstractmethod
    def apply(self, gust: Gust) -> None:
        """Carry out what happens while a command works."""

    @abstractmethod
    def clear(self) -> None:
        """Bring everything back that is away."""

    @abstractmethod
    def results(self, *, fresh: bool = False) -> dict[str, bytes]:
        """Every visible result by its path."""

    def keep(self) -> None:  # noqa: B027 - most keep it anyway
        """Keep what is needed to find out why something does not hold, where it would go with the storm."""

    @abstractmethod
    def find_leftovers(self) -> list[str]:
        """Everything that should not be there after a storm, but for processes and shared memory."""

    # --- commands ---------------------------------------------------------------------------------------------------

    def start(self, *arguments: object, fresh: bool = False) -> Process:
        """Start ``lookout`` with these arguments."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "TMPDIR": str(self.root / "tmp"),
            "LANG": "C.UTF-8",
            "LOOKOUT_DURABLE": "0",
            "LOOKOUT_LOG": "warning",
            "PYTHONFAULTHANDLER": "1",
            **({} if fresh else {"SENDGRID_API_KEY": KEY, "LOOKOUT_SENDGRID_HOST": self.mail.url}),
            **self.settings(fresh=fresh),
            **self.clock.variables(),
        }
        self.figures.counts["processes"] += 1
        log = self.root / ("fresh.log" if fresh else "log")
        return Process(arguments, cwd=self.root, env=env, log=log, beacon=self.beacon)

    def call(self, *arguments: object, codes: Sequence[int] = (0,), fresh: bool = False) -> str:
        """Run ``lookout`` to its end; its stdout. Raises Fault for another exit code."""
        process = self.start(*arguments, fresh=fresh)
        code = process.wait()
        if code not in codes:
            raise Fault(f"{process} ended with {code}, expected one of {codes}:\n{process.said()[-4000:]}")
        return process.out

    def alerts(self, *, fresh: bool = False) -> dict[str, dict[str, Any]]:
        """All alerts of the ledger by id."""
        lines = self.call("alerts", "list", "--json", fresh=fresh).splitlines()
        return {alert["id"]: alert for alert in map(json.loads, lines)}

    def live_view(self, *, fresh: bool = False) -> dict[tuple[str, str], dict[str, Any]]:
        """State, hash, label and outputs of each datum that is not retracted. A verdict of validate has no hash here:
        one that was judged again, as its time had come, is another datum with the same outputs."""
        found = map(json.loads, self.call("datums", "list", "--json", fresh=fresh).splitlines())
        shown = {(one["stage"], one["key"]): one for one in found if one["state"] != "retracted"}
        return {
            (stage, key): {name: one[name] for name in LIVE if (stage, name) != ("validate", "hash")}
            for (stage, key), one in shown.items()
        }

    # --- the storm --------------------------------------------------------------------------------------------------

    def storm(self, *, seconds: float, steps: int | None = None) -> None:
        """Steps of the plan until the time is over, or so many."""
        end_s = time.monotonic() + seconds
        for step in Forecast(self.seed, self.servers).steps():
            if (steps is not None and step.number > steps) or (steps is None and time.monotonic() > end_s):
                break
            self.figures.counts["steps"] += 1
            try:
                self.step(step)
            except AssertionError as exc:
                exc.add_note(f"in {step}")
                raise
            if step.number % 5 == 0:
                self._note_alerts()

    def step(self, step: Step) -> None:
        """One command and its weather."""
        self.mail.begin(step.answers, closed=step.closed, refuses=step.refuses)
        self.figures.counts["mail outages"] += bool(step.answers or step.closed or step.refuses)
        self.set_clock(step.shift_s)
        before = self.mail.requests
        gusts = self._gusts(step)
        failed: list[BaseException] = []
        weather = threading.Thread(target=self._blow, args=(gusts, failed), daemon=True)
        process = self.start_step(step)
        beside = self.start(*self.arguments(step.beside)) if step.beside else None
        weather.start()
        try:
            self._await_moment(step, process, before)
            self._end(step, process)
            weather.join()
            process.wait()
            if beside is not None:
                beside.wait()
        finally:
            for one in (process, beside):
                if one is not None and not one.ended:
                    one.kill()
            weather.join()
        if failed:
            raise failed[0]

    def start_step(self, step: Step) -> Process:
        """Start the command of a step."""
        return self.start(*self.arguments(step.command))

    def _gusts(self, step: Step) -> Sequence[Gust]:
        return step.gusts

    def _blow(self, gusts: Sequence[Gust], failed: list[BaseException]) -> None:
        try:
            for gust in gusts:
                self.beacon.await_any(lambda: False, gust.pause_s)
                self._happen(gust)
                self.figures.act(gust.act)
        except BaseException as exc:  # noqa: BLE001 - raised by the step
            failed.append(exc)

    def _happen(self, gust: Gust) -> None:
        if gust.act is Act.CLOCK:
            self.set_clock(gust.number)
        else:
            self.apply(gust)

    def set_clock(self, seconds: float) -> None:
        """Have the clock of the host be off by so much."""
        self.figures.counts["clock jumps"] += self.clock.set_off(seconds)

    def _await_moment(self, step: Step, process: Process, requests: int) -> None:
        if step.moment is Moment.NONE:
            return
        moments: Mapping[Moment, Callable[[], bool]] = {
            Moment.LINE: lambda: process.lines >= step.count,
            Moment.MAIL: lambda: self.mail.requests >= requests + step.count,
        }
        met = moments.get(step.moment, lambda: False)
        wait_s = MOMENT_S if step.moment in moments else step.after_s
        self.beacon.await_any(lambda: process.ended or met(), wait_s)

    def _end(self, step: Step, process: Process) -> None:
        endless = step.command in (Command.WATCH, Command.SYNC)
        if step.moment is Moment.NONE and not endless:
            return
        if process.ended:
            return
        if step.end in (End.FREEZE_AND_KILL, End.FREEZE_AND_GO_ON):
            process.freeze()
            self.figures.counts["processes frozen"] += 1
            self.beacon.await_any(lambda: process.ended, step.frozen_s)
        if step.end in (End.KILL, End.FREEZE_AND_KILL):
            process.kill()
            self.figures.counts["kills (SIGKILL)"] += 1
        else:
            process.send(signal.SIGTERM)
            process.send(signal.SIGCONT)
            self.figures.counts["stops (SIGTERM)"] += 1

    def _note_alerts(self) -> None:
        process = self.start("alerts", "list", "--json")
        if process.wait() == 0:
            self._seen.update(json.loads(line)["id"] for line in process.out.splitlines())

    # --- afterwards -------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Clear the weather, let the deployment come to rest, and compare it with a fresh one. Raises Fault with all
        that does not hold."""
        self.mail.begin()
        self.set_clock(0)
        self.clear()
        self.source.unlink("north")
        self._note_alerts()
        self.come_to_rest()
        self.make_fresh()
        alerts, wanted = self.alerts(), self.alerts(fresh=True)
        faults = accounting.find_lost_alerts(alerts, wanted, self._seen, self.mail.arrivals)
        faults += accounting.find_unmarked_repeats(self.mail.arrivals)
        faults += accounting.find_differences("live view", self.live_view(), self.live_view(fresh=True))
        faults += accounting.find_differences("result", self.results(), self.results(fresh=True))
        faults += self.find_leftovers()
        faults += accounting.find_bytes(self.root / "state", CANARY)
        faults += self._await_none(lambda: accounting.find_processes(self.root))
        faults += self._await_none(lambda: accounting.find_shared(self._shared))
        self._count(alerts, wanted)
        if faults:
            raise Fault("\n".join([f"{len(faults)} faults:", *faults[:60]]))

    def come_to_rest(self) -> None:
        """Runs and sending until nothing is to be done or sent; what waits for its time is asked for."""
        self.bring()
        self.call(*self.arguments(Command.RUN), "--allow-deletions", codes=(0, 1, 75))
        for _ in range(ROUNDS):
            waiting = [
                id_ for id_, alert in self.alerts().items() if alert["state"] in ("pending", "unknown", "sending")
            ]
            if not waiting:
                break
            self.call("alerts", "resend", *waiting)
            self.call("alerts", "send", codes=(0, 1, 75))
        self._retry_what_lost_its_workers()
        self.call(*self.arguments(Command.RUN), codes=(0, 1))

    def _retry_what_lost_its_workers(self) -> None:
        """Have datums retried that were alone with a worker each time a storm killed it, as a person who knows that
        would: no run takes them up by itself."""
        found = map(json.loads, self.call("datums", "list", "--json").splitlines())
        for one in found:
            if one["state"] == "failed" and str(one["error"]).startswith("its worker died"):
                self.call("datums", "retry", one["stage"], one["key"])
                self.figures.counts["datums retried that lost their workers"] += 1

    def bring(self) -> None:  # noqa: B027 - a folder is the source itself
        """Have the deployment get what is in the folder of pictures."""

    def make_fresh(self) -> None:
        """A fresh deployment that ran once over the same pictures."""
        self.call(*self.fresh_arguments(), codes=(0, 1), fresh=True)

    def fresh_arguments(self) -> Sequence[object]:
        """The command line of the fresh run."""
        return self.arguments(Command.RUN)

    def _await_none(self, find: Callable[[], list[str]]) -> list[str]:
        end_s = time.monotonic() + CLEAN_S
        while (found := find()) and time.monotonic() < end_s:
            self.beacon.await_any(lambda: False, 0.5)
        return found

    def _count(self, alerts: accounting.Alerts, wanted: accounting.Alerts) -> None:
        for alert in alerts.values():
            self.figures.counts[f"alerts {alert['state']}"] += 1
        self.figures.counts["alerts accounted for"] += len(alerts)
        self.figures.counts["alerts of the final source"] += len(wanted)
        self.figures.counts["repeats, all marked"] += accounting.count_repeats(self.mail.arrivals)
        self.figures.counts["requests for mails"] += self.mail.requests
