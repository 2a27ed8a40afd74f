"""The plan of a storm: a pure function of its seed, with all kinds of weather in it."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.storm.weather import Act, Answer, Command, End, Forecast, Moment, Step

STEPS = 400


def plan(seed: int, *, servers: bool) -> list[Step]:
    return list(islice(Forecast(seed, servers).steps(), STEPS))


@pytest.mark.parametrize("servers", [False, True])
def test_a_seed_gives_the_same_plan_whenever_it_is_asked(servers: bool) -> None:
    assert plan(3, servers=servers) == plan(3, servers=servers)
    assert plan(3, servers=servers) != plan(4, servers=servers)


@pytest.mark.parametrize("servers", [False, True])
def test_a_long_storm_has_all_kinds_of_weather(servers: bool) -> None:
    steps = plan(1, servers=servers)
    assert {step.end for step in steps} == set(End)
    assert {step.moment for step in steps} == set(Moment)
    assert {answer for step in steps for answer in step.answers} == set(Answer)
    assert any(step.closed for step in steps)
    assert any(step.refuses for step in steps)
    assert any(step.shift_s < 0 for step in steps)
    assert any(step.shift_s > 0 for step in steps)
    assert {step.beside for step in steps} == {None, Command.RUN, Command.SEND}
    elsewhere = {Command.WATCH} if servers else {Command.UPLOAD, Command.SYNC, Command.WORK}
    assert {step.command for step in steps} == set(Command) - elsewhere
    own = {Act.FILL, Act.FREE} if servers else {act for act in Act if "MinIO" in act or "etcd" in act} | {Act.RECOVER}
    assert {gust.act for step in steps for gust in step.gusts} == set(Act) - own - {Act.WRITABLE}
    assert any(step.read_only for step in steps) is not servers


def test_what_breaks_in_a_step_is_whole_at_its_end() -> None:
    for servers in (False, True):
        for step in plan(2, servers=servers):
            acts = [gust.act for gust in step.gusts]
            assert acts.count(Act.FILL) == acts.count(Act.FREE)
            broken = [act for act in acts if act.value.endswith(("killed", "frozen"))]
            assert len(broken) == acts.count(Act.RECOVER)


def test_no_step_changes_a_picture_behind_a_link() -> None:
    linked = False
    for step in plan(5, servers=False):
        for gust in step.gusts:
            if gust.act in (Act.LINK, Act.UNLINK):
                linked = gust.act is Act.LINK
            elif linked:
                assert not gust.key.startswith("north/")
                assert not gust.to.startswith("north/")
