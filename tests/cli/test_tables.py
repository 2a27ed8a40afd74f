"""Tables with very long, wide and odd names, on a terminal and in a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios

import pytest

from lookout.text import columns_of, shortened, table

from .shell import CALM, LOOKOUT, PHOTOS, World

LONG = "a" * 200 + "_the-end"


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("abc", 3), ("写真", 4), ("e\u0301", 1), ("🦊", 2), ("ｶ", 1)],
)
def test_columns_are_those_of_a_terminal(text: str, columns: int) -> None:
    assert columns_of(text) == columns


@pytest.mark.parametrize("text", ["abcdefghij" * 30, "写真" * 90, "e\u0301" * 300, "a写" * 99])
@pytest.mark.parametrize("width", [4, 5, 12, 80])
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    cut = shortened(text, width)
    assert width - 3 <= columns_of(cut) <= width
    head, tail = cut.split("…")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert columns_of(tail) >= columns_of(head)


@pytest.mark.parametrize("text", ["", "abc", "写真", "x" * 12])
def test_a_text_that_fits_is_left_alone(text: str) -> None:
    assert shortened(text, 12) == text


def test_a_table_fits_the_terminal_and_keeps_numbers_and_ends_of_keys() -> None:
    why = "The picture is cut: the file ends before the picture does, which happens when an upload is broken off."
    rows = [(LONG, 1_234_567, why), ("写真_1.jpg", 2, "short"), ("e\u0301.jpg", 3, LONG)]
    text = table(rows, ("picture", "bytes", "why"), width=80)
    lines = text.splitlines()
    assert max(map(columns_of, lines)) <= 80
    assert "_the-end  1234567  The picture" in text
    assert " ".join(why.split()) in " ".join(word for line in lines[1:-2] for word in line.split())
    column = {columns_of(line[: line.index(word)]) for line, word in zip(lines[-2:], ("short", "aaa"), strict=True)}
    assert len(column) == 1


def test_a_table_without_a_terminal_is_whole_and_one_long_cell_widens_no_other_line() -> None:
    text = table([(LONG, "x"), ("b", "y")], ("picture", "why"))
    assert f"{LONG}  x" in text
    assert text.splitlines()[-1] == "b        y"


def on_a_terminal(world: World, width: int, *arguments: str) -> str:
    """Return the command's output on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with subprocess.Popen(
        [LOOKOUT, *arguments], cwd=world.root, env=world.variables(), stdout=theirs, stderr=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while more := os.read(ours, 65536):
                said += more
        except OSError:
            pass  # a terminal whose other side is closed ends so
        os.close(ours)
    assert process.returncode == 0
    return said.decode()


def test_a_run_with_very_long_keys_shows_a_table_that_fits_and_names_them_whole_in_json(empty_world: World) -> None:
    longest = "n" * 247 + "_end.jpg"
    deep = "/".join(["d" * 199] * 4) + "/" + "写" * 50 + "_end.jpg"
    assert (len(longest), len(deep)) == (255, 858)
    for key in (longest, deep):
        path = empty_world.photos / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((PHOTOS / CALM).read_bytes())
    said = empty_world.run()
    assert {item["key"] for item in said["invalid"]} | {item["key"] for item in said["failures"]} == {longest, deep}
    text = on_a_terminal(empty_world, 80, "run", "photos", "--state", "state")
    found = text[text.index("Invalid") : text.index("rules are in force")].splitlines()
    assert max(map(columns_of, found)) <= 80
    assert sum("…" in line and "_end.jpg  " in line for line in found) == 2
    piped = empty_world.lookout("run", "photos", "--state", "state").out
    assert longest in piped
    assert deep in piped
    assert json.loads(empty_world.lookout("run", "photos", "--state", "state", "--json").out)["pictures"] == 2
