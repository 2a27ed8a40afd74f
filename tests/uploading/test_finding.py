"""Files that an upload brings, and its report of those that it cannot."""

from __future__ import annotations

from pathlib import Path

from lookout.uploader.upload import find_files
from tests.cli.shell import nest


def test_a_subfolder_that_cannot_be_listed_is_among_the_files_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "z.jpg").write_bytes(b"1")
    nest(tmp_path / "a")
    found = find_files([tmp_path], "new/")
    assert [file.name for file in found if file.error is None] == ["z.jpg"]
    (folder,) = [file for file in found if file.error is not None]
    assert folder.key.startswith("new/a/d")
    assert folder.key.endswith("/")
    assert str(folder.error).startswith("the folder cannot be listed: ")
