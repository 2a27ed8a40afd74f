"""A lone picture takes what its parts take; many take longer, and a cluster has an end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.simulation_live import LiveCluster, LiveCosts, most_per_s, until_mail
from bench.simulation_report_live import live_costs, table_of

COSTS = LiveCosts(
    event_s=1.0,
    pod_s=2.0,
    handover_s=0.5,
    cpu_s={"validate": 1.0, "object-detect": 2.0, "threat-detect": 1.0, "plot": 2.0},
    mails="threat-detect",
    end_s=3.0,
)
ALONE_S = 1.0 + 2.0 + 1.0 + 0.5 + 2.0 + 0.5 + 1.0
ONE = LiveCluster(nodes=1, cores=2, places=4, limit=4)


def test_a_lone_picture_takes_the_sum_of_its_parts():
    assert until_mail(COSTS, ONE, rate=1.0, pictures=1) == pytest.approx([ALONE_S])


def test_every_picture_gets_its_mail():
    assert len(until_mail(COSTS, ONE, rate=3.0, pictures=50)) == 50


def test_few_pictures_do_not_hinder_each_other_and_many_wait():
    assert until_mail(COSTS, ONE, rate=0.1, pictures=20) == pytest.approx([ALONE_S] * 20)
    waited = until_mail(COSTS, ONE, rate=2.0, pictures=40)
    assert waited[-1] > 3 * ALONE_S


@pytest.mark.parametrize(
    ("cluster", "at_most"),
    [
        (replace(ONE, limit=99, places=16), 2 / 6),  # cores: six seconds of one are used by each picture
        (replace(ONE, cores=64), 4 / 12.5),  # the limit: each picture holds one of four for 2 + 6 + 1.5 + 3 s
        (replace(ONE, cores=64, limit=99, places=1), 1 / 9.5),  # places: the pod is gone before the workflow ends
    ],
)
def test_cores_the_limit_and_places_each_are_an_end(cluster, at_most):
    found = most_per_s(COSTS, cluster, within_s=2 * ALONE_S)
    assert 0.9 * at_most < found < 1.1 * at_most + 0.01


def test_twice_the_nodes_take_about_twice_as_much():
    one, two = (
        most_per_s(COSTS, LiveCluster(nodes=nodes, cores=2, places=4, limit=4 * nodes), within_s=2 * ALONE_S)
        for nodes in (1, 2)
    )
    assert 1.8 * one < two < 2.2 * one


def test_nothing_is_in_time_if_a_lone_picture_is_not():
    assert most_per_s(COSTS, ONE, within_s=ALONE_S - 0.1) == 0


def test_costs_are_the_medians_of_what_was_measured():
    way = {"workflow": 1.0, "validate begins": 3.0, "validate ends": 4.0, "object-detect begins": 4.5}
    way |= {"object-detect ends": 6.5, "threat-detect begins": 7.0, "mail": 7.8, "threat-detect ends": 8.0}
    way |= {"plot ends": 10.5, "end": 13.5}
    slow = {name: 10 * at_s for name, at_s in way.items()}
    tree = {"moments_s": [way, slow, way], "cpu_s": [COSTS.cpu_s] * 3}
    assert live_costs(tree) == COSTS


def test_the_table_says_what_an_hour_gives():
    assert "| 2     | 0.50 " in table_of({1: 0.25, 2: 0.5}, 16.0)
    assert "1,800" in table_of({1: 0.25, 2: 0.5}, 16.0)
