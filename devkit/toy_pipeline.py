"""A toy pipeline of four trivial stages, shaped like the real one: for tests of the engine and for measuring its cost.

``first`` copies a text and obeys commands in it, ``second`` shouts it with the word in force, ``third`` joins both and
alerts on the word ``alarm``, ``sums`` is grouped by the key's first folder.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import OVERVIEW, Accepted, Pipeline, Reads, Refused, Run, Selection, Stage, UsesReferences
from lookout.domain.records import MAIL, AlertDraft, JsonObject, LoadedReference, Output, Reference, Result, Work

HERE: Final = "devkit.toy_pipeline"


def group_of(key: str) -> str:
    """Return the key's first folder."""
    return key.partition("/")[0] if "/" in key else "-"


def first(params: JsonObject, references: Sequence[LoadedReference]) -> Run:
    """Copies the text to ``good/<key>``, to ``bad/<key>`` if it says ``bad``, to ``good/<name>`` if ``as <name>``.

    Obeys the words ``fail``, ``reject``, ``die`` and ``hang`` too.
    """
    del params, references

    def run(work: Work) -> Result:
        data = work.inputs["text"].data
        words = data.split()
        if b"fail" in words:
            raise RuntimeError("told to fail")
        if b"reject" in words:
            raise InputRejected("told to reject", work.key)
        if b"die" in words:
            os.kill(os.getpid(), signal.SIGKILL)
        if b"hang" in words:
            threading.Event().wait()
        if b"bad" in words:
            bad = Output(key=f"bad/{work.key}", data=data, content_type="text/plain")
            return Result(outputs=(bad,), counts={"texts": 1, "bad": 1}, label="bad", facts={"why": "it says so"})
        name = words[1].decode() if words[:1] == [b"as"] else work.key
        good = Output(key=f"good/{name}", data=data, content_type="text/plain")
        return Result(outputs=(good,), counts={"texts": 1}, at_s=float(len(data)))

    return run


def second(params: JsonObject, references: Sequence[LoadedReference]) -> Run:
    """Return the text in capitals with the word in force and the parameter ``mark`` behind it."""
    words = b" ".join(data for loaded in references for data in loaded.data.values())
    mark = str(params.get("mark", "")).encode()

    def run(work: Work) -> Result:
        data = work.inputs["text"].data.upper() + words + mark
        return Result(outputs=(Output(key=f"{work.key}.loud", data=data, content_type="text/plain"),))

    return run


def third(params: JsonObject, references: Sequence[LoadedReference]) -> Run:
    """Return both texts on a line, and an alert when the quiet one says ``alarm``; nothing otherwise. Of ``alarm by
    NAME`` it names that channel."""
    del params, references

    def run(work: Work) -> Result:
        quiet, loud = work.inputs["quiet"], work.inputs["loud"]
        if b"alarm" not in quiet.data:
            return Result()
        out = Output(key=f"{work.key}.alarm", data=quiet.data + b"\n" + loud.data, content_type="text/plain")
        channel = quiet.data.partition(b"alarm by ")[2].split(b" ")[0].decode() or MAIL
        draft = AlertDraft(
            user="user",
            rule="alarm",
            picture_key=work.key,
            picture_sha256=quiet.ref.sha256,
            sender="from@example.com",
            recipient="to@example.com" if channel == MAIL else channel,
            evidence=out.key,
            channel=channel,
        )
        return Result(
            outputs=(out,), counts={"alarms": 1}, label="alarm", alerts=(draft,), facts={"size": len(out.data)}
        )

    return run


def sums(params: JsonObject, references: Sequence[LoadedReference]) -> Run:
    """One line a tally, and the keys of the members."""
    del params, references

    def run(work: Work) -> Result:
        lines = [f"{tally.group} {name} {n}" for tally in work.tallies for name, n in sorted(tally.counts.items())]
        lines += [member.key for member in work.members]
        name = "overview.txt" if work.key == OVERVIEW else f"groups/{work.key}.txt"
        return Result(outputs=(Output(key=name, data="\n".join(lines).encode(), content_type="text/plain"),))

    return run


def accept(files: Mapping[str, bytes]) -> list[Accepted | Refused]:
    """Every file but an empty one is a word."""
    return [
        Accepted(name=name, files={"word": data})
        if data
        else Refused(name=name, reason=f"{name}: expected a word, got nothing")
        for name, data in files.items()
    ]


def select(references: Sequence[Reference]) -> Selection:
    """Prepare a selection of the words whose name without its ending starts the key; ``all`` applies to all."""

    def choose(key: str, _group: str, /) -> list[Reference]:
        return [unit for unit in references if unit.name == "all.txt" or key.startswith(unit.name.removesuffix(".txt"))]

    return choose


def toy_pipeline(*, mark: str = "", version: int = 1, tries: int = 3, timeout_s: float = 30.0) -> Pipeline:
    """Return the toy pipeline; ``mark`` is a parameter of ``second`` and ``version`` its recipe's."""
    return Pipeline(
        inputs="texts",
        group_of=group_of,
        stages=(
            Stage(
                name="first",
                version=1,
                prepare=f"{HERE}:first",
                reads=(Reads(role="text", bucket="texts"),),
                tries=tries,
                timeout_s=timeout_s,
            ),
            Stage(
                name="second",
                version=version,
                prepare=f"{HERE}:second",
                reads=(Reads(role="text", bucket="first", pattern="good/*"),),
                references=UsesReferences(
                    bucket="words", accept=f"{HERE}:accept", select=f"{HERE}:select", required=False
                ),
                params={"mark": mark},
            ),
            Stage(
                name="third",
                version=1,
                prepare=f"{HERE}:third",
                reads=(
                    Reads(role="quiet", bucket="first", pattern="good/*"),
                    Reads(role="loud", bucket="second", pattern="*.loud"),
                ),
            ),
            Stage(
                name="sums",
                version=1,
                prepare=f"{HERE}:sums",
                reads=(Reads(role="alarms", bucket="third", pattern="*.alarm"),),
                grouped=True,
            ),
        ),
    )
