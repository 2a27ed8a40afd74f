"""Files of credentials: private, whole, never overwritten by another deployment's, and no secret lost to a kill."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lookout.app.credentials import Credentials
from lookout.config.addresses import StoreAddress
from lookout.domain.errors import InputRejected

STORE = StoreAddress(endpoint="a:1", secure=False, access_key="root", secret_key="s", prefix="x-")
USERS = {"plot": "x-plot"}


@pytest.fixture
def files(tmp_path: Path) -> Credentials:
    made = Credentials(tmp_path / "below" / "users", STORE)
    made.prepare(USERS)
    return made


def made(files: Credentials, *, renew: bool = False) -> str:
    secret = files.write_secret("plot", "x-plot", renew=renew)
    files.keep("plot")
    return secret


def test_a_file_is_for_its_owner_only_and_holds_plain_lines(files: Credentials) -> None:
    secret = made(files)
    assert len(secret) == 32
    path = files.path("plot")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
    assert path.read_text() == (
        f"LOOKOUT_STORE=s3+http://a:1/x-\nLOOKOUT_STORE_ACCESS_KEY=x-plot\nLOOKOUT_STORE_SECRET_KEY={secret}\n"
    )
    assert [file.name for file in files.folder.iterdir()] == ["plot.env"]


def test_a_user_that_the_server_lost_gets_the_secret_that_is_in_the_file(files: Credentials) -> None:
    secret = made(files)
    assert made(files) == secret
    assert made(files, renew=True) != secret


def test_the_old_secret_stays_until_the_server_has_the_new_one(files: Credentials) -> None:
    old = made(files)
    new = files.write_secret("plot", "x-plot", renew=True)
    assert old in files.path("plot").read_text()
    assert files.recover("plot", lambda secret: secret == old)
    assert [file.name for file in files.folder.iterdir()] == ["plot.env"]
    new = files.write_secret("plot", "x-plot", renew=True)
    assert files.recover("plot", lambda secret: secret == new)
    assert new in files.path("plot").read_text()


def test_without_a_right_secret_nothing_is_claimed(files: Credentials) -> None:
    assert not files.recover("plot", lambda _: True)
    made(files)
    assert not files.recover("plot", lambda _: False)


@pytest.mark.parametrize("line", ["LOOKOUT_STORE=s3+http://b:1/x-", "LOOKOUT_STORE_ACCESS_KEY=x-validate"])
def test_a_file_of_another_store_or_user_is_refused(files: Credentials, line: str) -> None:
    secret = made(files)
    files.path("plot").write_text(files.path("plot").read_text() + line + "\n")
    with pytest.raises(InputRejected, match="has the credentials of") as caught:
        files.prepare(USERS)
    assert secret not in str(caught.value)


def test_a_folder_that_can_hold_no_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputRejected, match="cannot be a folder for credentials"):
        Credentials(tmp_path / "file", STORE).prepare(USERS)
    folder = tmp_path / "folder"
    (folder / "plot.env").mkdir(parents=True)
    with pytest.raises(InputRejected, match="cannot be read"):
        Credentials(folder, STORE).prepare(USERS)
