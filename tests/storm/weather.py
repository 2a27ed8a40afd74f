"""Plan of a storm: an endless series of steps that follows from its seed alone, so that a failing seed can be repeated.

A step starts one command, lets things happen while it works, and ends it in some way. Names, pictures, pauses and
answers are all chosen here. Knows no process, no disk and no server.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Command(StrEnum):
    """The command of a step."""

    RUN = "run"
    WATCH = "watch"
    SEND = "alerts send"
    UPLOAD = "upload"
    SYNC = "watch --upload"
    WORK = "batches cut, work --pull"


class Act(StrEnum):
    """Something that happens while a command works."""

    PUT = "picture put"
    REPLACE = "picture replaced"
    HALF = "picture half written"
    DELETE = "picture deleted"
    RENAME = "picture renamed"
    JUNK = "junk put"
    LINK = "folder replaced by a link"
    UNLINK = "folder put back"
    CLOCK = "clock set at work"
    FILL = "disk filled"
    FREE = "disk freed"
    WRITABLE = "disk made writable"
    KILL_STORE = "MinIO killed"
    KILL_LEDGER = "etcd killed"
    FREEZE_STORE = "MinIO frozen"
    FREEZE_LEDGER = "etcd frozen"
    RECOVER = "servers brought back"


class Moment(StrEnum):
    """Moment that is awaited before a command is ended."""

    START = "a moment of its start"
    LINE = "a settled datum"
    MAIL = "a request of its to the mail API"
    LATER = "a later moment"
    NONE = "its own end"


class End(StrEnum):
    """Way in which a command is ended at its moment."""

    KILL = "kill -9"
    TERM = "SIGTERM"
    FREEZE_AND_KILL = "SIGSTOP, then kill -9"
    FREEZE_AND_GO_ON = "SIGSTOP, SIGCONT, then SIGTERM"


class Answer(StrEnum):
    """One answer of the mail API."""

    ERROR = "500"
    AWAY = "503"
    BUSY = "429"
    KEY = "401"
    REFUSED = "400"
    HANG = "hang"
    DROP = "drop"
    CUT = "cut"


@dataclass(frozen=True, kw_only=True)
class Gust:
    """One thing that happens, after a pause. ``key`` is a path in the source, ``to`` its new name, ``photo`` the number
    of a sample. ``number`` makes the bytes of a picture differ from all others; of a clock, it is its error in seconds.
    """

    act: Act
    pause_s: float = 0.0
    key: str = ""
    to: str = ""
    photo: int = 0
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command and its weather. ``answers`` are the first ones of the mail API, which then behaves; ``closed``: it
    cannot be reached at all; ``refuses`` is a recipient whose mails get 400. ``shift_s`` is the error of the clock when
    the step begins. ``beside`` is a command that begins at the same time and is left alone.
    """

    number: int
    command: Command
    moment: Moment
    count: int = 1
    after_s: float = 0.0
    end: End = End.KILL
    frozen_s: float = 0.0
    shift_s: float = 0.0
    answers: tuple[Answer, ...] = ()
    closed: bool = False
    refuses: str = ""
    read_only: bool = False
    beside: Command | None = None
    gusts: tuple[Gust, ...] = ()


PHOTOS: Final = 10
THREATS: Final = {"porch": (5, 6, 7), "gate": (3,), "yard": (8,), "field": (1,)}
"""By device, the samples in which something is that a rule asks for."""
EPOCH_S: Final = 1_763_798_400
FOLDERS: Final = ("", "", "", "north/", "north/shed/", "cellar/")
DEVICES: Final = ("porch", "porch", "gate", "gate", "yard", "field", "kitchen")
JUNK: Final = ("text", "empty", "garbage", "dot", "pipe", "link", "huge")
RECIPIENT: Final = "neighbour@example.com"
SHIFTS_S: Final = tuple(24 * 3600.0 * days for days in (-800, -400, -0.125, -0.005, 0.015, 3, 40, 400))
SMALL_SHIFTS_S: Final = (-500.0, -60.0, 30.0, 400.0)
"""On servers: MinIO refuses requests that are signed 15 minutes off, so that larger ones are an outage there."""
MOST_PICTURES: Final = 36


@dataclass
class Folder:
    """The source as the plan has left it: what each picture's bytes are of. Below ``linked`` nothing is changed."""

    random: random.Random
    pictures: dict[str, tuple[int, int]] = field(default_factory=dict)
    made: int = 0
    linked: bool = False

    def change(self) -> list[Gust]:
        """One change; two for a picture that comes in halves."""
        acts = (Act.PUT, Act.REPLACE, Act.HALF, Act.DELETE, Act.RENAME, Act.JUNK, Act.LINK)
        weights = [8, 4, 3, 3, 2, 2, 1] if len(self.pictures) < MOST_PICTURES else [1, 4, 1, 9, 2, 1, 1]
        act = self.random.choices(acts, weights)[0]
        if act is Act.LINK:
            self.linked = not self.linked
            return [self._gust(Act.LINK if self.linked else Act.UNLINK, key="north")]
        if act in (Act.PUT, Act.HALF):
            return self._put(act, self._new_key())
        if act is Act.JUNK:
            self.made += 1
            return [self._gust(act, key=f"junk_{EPOCH_S + self.made}.jpg", to=self.random.choice(JUNK))]
        known = sorted(key for key in self.pictures if not self._is_away(key))
        if not known:
            return self._put(Act.PUT, self._new_key())
        key = self.random.choice(known)
        if act is Act.REPLACE:
            return self._put(act, key)
        picture = self.pictures.pop(key)
        if act is Act.DELETE:
            return [self._gust(act, key=key)]
        to = self._new_key()
        self.pictures[to] = picture
        return [self._gust(act, key=key, to=to)]

    def _put(self, act: Act, key: str) -> list[Gust]:
        self.made += 1
        device = key.rpartition("/")[2].partition("_")[0]
        likely = THREATS.get(device) if self.random.random() < 0.8 else None
        photo = self.random.choice(likely) if likely else self.random.randrange(PHOTOS)
        self.pictures[key] = photo, self.made
        gusts = [self._gust(act, key=key, photo=photo, number=self.made)]
        if act is Act.HALF:
            gusts.append(self._gust(Act.REPLACE, key=key, photo=photo, number=self.made))
        return gusts

    def _new_key(self) -> str:
        self.made += 1
        folder = self.random.choice([one for one in FOLDERS if not self._is_away(one)])
        return f"{folder}{self.random.choice(DEVICES)}_{EPOCH_S + 60 * self.made}.jpg"

    def _is_away(self, key: str) -> bool:
        return self.linked and key.startswith("north/")

    def _gust(self, act: Act, key: str, **more: object) -> Gust:
        return Gust(act=act, pause_s=round(self.random.uniform(0, 0.4), 3), key=key, **more)  # type: ignore[arg-type]


@dataclass
class Forecast:
    """Maker of the steps of one storm."""

    seed: int
    servers: bool
    number: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(f"storm/1/{self.seed}/{self.servers}")
        self._folder = Folder(self._random)

    def steps(self) -> Iterator[Step]:
        """All steps, without an end. The first ones take in a handful of pictures."""
        yield self._first()
        series: Mapping[Callable[[], Iterator[Step]], int] = {
            self._any: 10,
            self._killed_at_start: 2,
            self._killed_while_mailing: 3,
        }
        while True:
            yield from self._random.choices(list(series), list(series.values()))[0]()

    # --- series of steps --------------------------------------------------------------------------------------------

    def _first(self) -> Step:
        gusts = [gust for _ in range(6) for gust in self._folder.change()]
        return self._step(Command.UPLOAD if self.servers else Command.RUN, Moment.NONE, gusts=gusts)

    def _any(self) -> Iterator[Step]:
        chance = self._random.random
        command = self._command()
        gusts = [gust for _ in range(self._random.randint(0, 6)) for gust in self._folder.change()]
        gusts += self._outage()
        if chance() < 0.15:
            gusts.append(Gust(act=Act.CLOCK, pause_s=round(self._random.uniform(0, 2), 3), number=int(self._shift_s())))
        yield self._step(
            command,
            self._moment(command),
            gusts=gusts,
            shift_s=self._shift_s() if chance() < 0.35 else 0.0,
            answers=self._answers() if chance() < 0.5 else (),
            closed=chance() < 0.08,
            refuses=RECIPIENT if chance() < 0.08 else "",
            read_only=not self.servers and chance() < 0.05,
            beside=self._random.choice((Command.RUN, Command.SEND)) if chance() < 0.2 else None,
        )

    def _killed_at_start(self) -> Iterator[Step]:
        """The same command again and again, dead before it has begun."""
        command = self._command()
        gusts = self._folder.change()
        for _ in range(self._random.randint(2, 4)):
            after_s = round(self._random.uniform(0.02, 1.2), 3)
            yield self._step(command, Moment.START, after_s=after_s, end=End.KILL, gusts=gusts)
            gusts = []

    def _killed_while_mailing(self) -> Iterator[Step]:
        """Threats, and one death after the other while their mails are under way."""
        gusts: list[Gust] = []
        for _ in range(self._random.randint(1, 3)):
            gusts += self._folder.change()
        for _ in range(self._random.randint(2, 4)):
            answers = tuple(self._random.choices([Answer.HANG, Answer.ERROR, Answer.DROP], k=2))
            command = self._random.choice([Command.RUN, Command.RUN if self.servers else Command.WATCH, Command.SEND])
            count = self._random.randint(1, 2)
            yield self._step(command, Moment.MAIL, count=count, end=End.KILL, answers=answers, gusts=gusts)
            gusts = []

    # --- choices ----------------------------------------------------------------------------------------------------

    def _step(self, command: Command, moment: Moment, *, gusts: list[Gust], **more: object) -> Step:
        self.number += 1
        given: dict[str, object] = {
            "after_s": round(self._random.uniform(0.3, 5.0), 3),
            "count": self._random.randint(1, 4),
            "end": self._random.choice(list(End)),
            "frozen_s": round(self._random.uniform(0.2, 3.0), 3),
            **more,
        }
        return Step(number=self.number, command=command, moment=moment, gusts=tuple(gusts), **given)  # type: ignore[arg-type]

    def _command(self) -> Command:
        if self.servers:
            every = (Command.UPLOAD, Command.SYNC, Command.RUN, Command.WORK, Command.SEND)
            return self._random.choices(every, [4, 2, 5, 3, 2])[0]
        return self._random.choices((Command.WATCH, Command.RUN, Command.SEND), [6, 4, 1])[0]

    def _moment(self, command: Command) -> Moment:
        if command in (Command.WATCH, Command.SYNC):
            return self._random.choice([Moment.LINE, Moment.MAIL, Moment.LATER, Moment.START])
        return self._random.choice([Moment.LATER, Moment.LATER, Moment.MAIL, Moment.START, Moment.NONE])

    def _answers(self) -> tuple[Answer, ...]:
        return tuple(self._random.choices(list(Answer), [4, 3, 3, 2, 1, 2, 4, 3], k=self._random.randint(1, 3)))

    def _shift_s(self) -> float:
        return self._random.choice(SMALL_SHIFTS_S if self.servers else SHIFTS_S)

    def _outage(self) -> list[Gust]:
        """Something that is away for a while; it is back at the end of the step at the latest."""
        pauses = [round(self._random.uniform(0.1, 2.5), 3) for _ in range(2)]
        if self._random.random() > (0.5 if self.servers else 0.2):
            return []
        if not self.servers:
            return [Gust(act=Act.FILL, pause_s=pauses[0]), Gust(act=Act.FREE, pause_s=pauses[1])]
        acts = (Act.KILL_STORE, Act.KILL_LEDGER, Act.FREEZE_STORE, Act.FREEZE_LEDGER)
        return [Gust(act=self._random.choice(acts), pause_s=pauses[0]), Gust(act=Act.RECOVER, pause_s=pauses[1])]
