"""References are read beneath the folder that is given: links that leave it, and what is no file, are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lookout.domain.errors import InputRejected
from tests.engine.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    folder = tmp_path / "words"
    folder.mkdir()
    return folder


def test_a_link_that_leads_outside_the_folder_is_refused(world: World, given: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary")
    (given / "w.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(InputRejected, match=r"w\.txt: is a link that leads outside the folder"):
        world.run(references={"words": given})
    assert world.results() == {}


def test_links_inside_the_folder_are_followed_as_kubernetes_mounts_them(world: World, given: Path) -> None:
    (given / "..2025").mkdir()
    (given / "..2025" / "w.txt").write_text("hey")
    (given / "..data").symlink_to("..2025")
    (given / "w.txt").symlink_to("..data/w.txt")
    world.put("1", "one")
    world.run(references={"words": given})
    assert b"hey" in b"".join(world.results().values())


def test_a_link_that_is_named_itself_is_followed(world: World, given: Path, tmp_path: Path) -> None:
    (given / "w.txt").write_text("hey")
    (tmp_path / "named.txt").symlink_to(given / "w.txt")
    world.put("1", "one")
    world.run(references={"words": tmp_path / "named.txt"})
    assert b"hey" in b"".join(world.results().values())


def test_a_pipe_is_not_waited_for(world: World, given: Path) -> None:
    os.mkfifo(given / "w.txt")
    with pytest.raises(InputRejected):
        world.run(references={"words": given})
