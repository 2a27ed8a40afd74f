"""The wheel does the main job away from the clone, with nothing but the packages that it requires."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from lookout.version import code_version
from tests.install.conftest import ROOT, Installed

PHOTO = ROOT / "examples" / "photos" / "porch_1763798400.jpg"
PACKAGES = ("lookout", "stages", "event_sources", "lookout_assets")
WANTED = (
    "lookout/py.typed",
    "stages/py.typed",
    "event_sources/py.typed",
    "stages/plot/page/index.html",
    "stages/plot/page/style.css",
    "stages/threat_detect/mail/templates/alert.html",
    "stages/threat_detect/mail/templates/alert.txt",
    "lookout_assets/models/README.md",
    "lookout_assets/examples/README.md",
)


def names(installed: Installed, kind: str) -> set[str]:
    """The files in the sdist or in the wheel, below their root."""
    if kind == "wheel":
        with zipfile.ZipFile(installed.wheel) as file:
            return set(file.namelist())
    with tarfile.open(installed.sdist) as tar:
        return {str(PurePosixPath(*PurePosixPath(entry.name).parts[1:])) for entry in tar if entry.isfile()}


def expected_assets() -> set[str]:
    examples = [path for path in (ROOT / "examples").rglob("*") if "compose" not in path.parts]
    found = [*(ROOT / "models").iterdir(), *examples]
    return {f"lookout_assets/{path.relative_to(ROOT).as_posix()}" for path in found if path.is_file()}


@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_it_holds_the_product_with_its_model_and_samples(installed: Installed, kind: str) -> None:
    found = names(installed, kind)
    sources = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert sources | expected_assets() | set(WANTED) <= found


@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_it_holds_nothing_else(installed: Installed, kind: str) -> None:
    folders = {name.partition("/")[0] for name in names(installed, kind) if "/" in name}
    version = installed.wheel.name.split("-")[1]
    assert folders == {*PACKAGES, "lookout.egg-info" if kind == "sdist" else f"lookout-{version}.dist-info"}


def test_licences_come_with_it(installed: Installed) -> None:
    found = {name for name in names(installed, "wheel") if ".dist-info/licenses/" in name}
    assert {PurePosixPath(name).name for name in found} == {"LICENSE", "THIRD_PARTY_NOTICES.md"}
    assert {"LICENSE", "THIRD_PARTY_NOTICES.md"} <= names(installed, "sdist")


def test_the_version_of_its_code_is_that_of_the_clone(installed: Installed) -> None:
    ask = "import lookout, lookout.version; print(lookout.__file__, lookout.version.code_version())"
    command = [installed.python, "-c", ask]
    done = subprocess.run(command, cwd=installed.folder, env=installed.environment, capture_output=True, text=True)
    file, version = done.stdout.split()
    assert not Path(file).is_relative_to(ROOT)
    assert version == code_version()


def test_the_demo_takes_the_samples_and_says_where_the_page_is(installed: Installed) -> None:
    state = installed.folder / "demo"
    done = installed.run("demo", state, SENDGRID_API_KEY="none-is-sent", LOOKOUT_STORE="")
    assert (done.returncode, done.stderr) == (0, "")
    page = state / "objects" / "plot" / "index.html"
    assert done.stdout.splitlines()[-1] == f"Open {page.as_uri()}"
    assert page.is_file()
    assert len(list((state / "outbox").glob("*.eml"))) == 11


def test_run_and_doctor_work_with_the_default_model(installed: Installed, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(PHOTO, source)
    run = installed.run("run", source, "--state", tmp_path / "state", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["stages"]["object-detect"]["success"] == 1
    doctor = installed.run("doctor", "--state", tmp_path / "state", "--json")
    assert doctor.returncode == 0, doctor.stdout
    assert json.loads(doctor.stdout)["ok"]


def test_a_watch_takes_what_lands_and_ends_by_a_signal(installed: Installed, tmp_path: Path) -> None:
    source, state = tmp_path / "source", tmp_path / "state"
    source.mkdir()
    command = [installed.command, "watch", source, "--state", state]
    watch = subprocess.Popen(command, cwd=tmp_path, env=installed.environment, stderr=subprocess.PIPE, text=True)
    assert watch.stderr is not None
    try:
        assert watch.stderr.readline().startswith("watching ")
        shutil.copy(PHOTO, source)
        result = state / "objects" / "object-detect" / "porch" / "1763798400.json"
        wait_until(result.exists)
        watch.send_signal(signal.SIGTERM)
        _, err = watch.communicate(timeout=30)
    finally:
        watch.kill()
    assert watch.returncode == 130, err


STORE = {
    "LOOKOUT_STORE": "s3+http://127.0.0.1:9",
    "LOOKOUT_STORE_ACCESS_KEY": "a",
    "LOOKOUT_STORE_SECRET_KEY": "b",
}
LEDGER = {"LOOKOUT_LEDGER": "etcd://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("environment", "command"),
    [(STORE, "run"), (STORE, "init"), (STORE, "watch . --upload"), (STORE, "doctor"), (LEDGER, "status")],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_command_that_needs_an_extra_names_it(
    installed: Installed, environment: dict[str, str], command: str
) -> None:
    done = installed.run(*command.split(), **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"lookout: the extra servers is not installed: \w+ is missing \(pip install 'lookout\[servers\]'\)\n",
        done.stderr,
    )


def test_the_intake_names_its_extra(installed: Installed) -> None:
    command = [installed.python, "-m", "event_sources.intake"]
    done = subprocess.run(command, cwd=installed.folder, env=installed.environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.endswith("(pip install 'lookout[intake]')\n")


def wait_until(holds: Callable[[], bool], limit_s: float = 60.0) -> None:
    ends_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < ends_s
        time.sleep(0.05)
