"""Targets of the Dockerfile: they agree with each other, with the release and with the lists; nothing is built here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lookout import __version__

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STAGES = dict(
    re.findall(r"^(FROM \S+ AS \S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE.replace("\\\n", " "), re.MULTILINE | re.DOTALL)
)
"""The steps of each stage of the build, by its first line."""
IMAGES = ("validate", "object-detect", "threat-detect", "plot", "lookout")
LABELS = ["title", "version", "revision", "source", "licenses"]


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    return request.param


def test_there_is_a_target_for_each_stage_and_one_for_the_command_line_which_is_the_default() -> None:
    assert [line.split()[-1] for line in STAGES if line.startswith("FROM runtime AS ")] == list(IMAGES)
    assert list(STAGES)[-1] == "FROM runtime AS lookout"


def test_all_stand_on_one_base_that_is_named_by_its_digest() -> None:
    (base,) = re.findall(r"^ARG BASE=(.*)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.[0-9]+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert {line.split()[1] for line in STAGES} == {"${BASE}", "installer", "code", "runtime"}


def test_it_runs_as_a_user_that_is_a_number_with_its_command_named(image: str) -> None:
    assert re.search(r"^USER [1-9][0-9]*:[1-9][0-9]*$", STAGES["FROM ${BASE} AS runtime"], re.MULTILINE)
    module = image.replace("-", "_")
    command = '["lookout"]' if image == "lookout" else f'["python", "-m", "stages.{module}"]'
    assert f'ENTRYPOINT {command}\nCMD ["--help"]\n' in STAGES[f"FROM runtime AS {image}"]


def test_its_labels_say_what_it_is_and_the_release_is_this_one(image: str) -> None:
    assert re.findall(r"org\.opencontainers\.image\.([a-z]+)=", STAGES[f"FROM runtime AS {image}"]) == LABELS
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [__version__]


def test_it_copies_what_is_there_and_what_its_context_has() -> None:
    context = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert {"lookout", "stages"} < set(sources)
    for source in sources:
        assert (ROOT / source).exists()
        assert f"\n!{source.partition('/')[0]}\n" in context


def test_a_change_of_the_code_makes_no_package_anew(image: str) -> None:
    packages = "run" if image == "lookout" else image
    steps = STAGES[f"FROM installer AS {image}-packages"]
    assert re.findall(r"^COPY (.*)$", steps, re.MULTILINE) == [f"requirements/{packages}.txt /requirements/"]
    assert f"RUN sh /requirements/install.sh {packages}" in steps
    last = re.findall(r"^(COPY --from=\S+|LABEL)", STAGES[f"FROM runtime AS {image}"], re.MULTILINE)
    code = "whole-code" if image == "lookout" else "code"
    assert last == [f"COPY --from={image}-packages", f"COPY --from={code}", "LABEL"]


def test_packages_come_by_their_hashes_only() -> None:
    script = (ROOT / "requirements" / "install.sh").read_text(encoding="utf-8")
    steps = re.sub(r" +", " ", (STAGES["FROM ${BASE} AS installer"] + script).replace("\\\n", " "))
    fetches = re.findall(r"pip (?:install|wheel) (.*)", steps)
    assert len(fetches) == 2
    assert all("--require-hashes" in options for options in fetches)
    assert "--no-index --no-deps" in steps
    assert DOCKERFILE.count("/bin/pip") == 1


def test_the_targets_differ_only_in_what_they_are() -> None:
    """Steps that all images need are in stages that they share; those of each image are alike."""

    def steps(image: str) -> str:
        text = STAGES[f"FROM runtime AS {image}"].rstrip()
        text = re.sub(rf"ENTRYPOINT .*|(?<=--from=){image}|(?<==\"Lookout)[^\"]*", "", text)
        return text.replace("whole-code", "code")

    assert {steps(image) for image in IMAGES} == {steps("validate")}


def test_the_script_of_the_command_line_does_nothing_when_a_worker_process_imports_it(tmp_path: Path) -> None:
    (step,) = re.findall(r"(printf '[^']*') +> +/opt/lookout/bin/lookout ", DOCKERFILE)
    script = tmp_path / "lookout"
    script.write_bytes(subprocess.run(["sh", "-c", step], capture_output=True, check=True).stdout)
    assert script.read_text().startswith("#!/opt/lookout/bin/python\n")
    imported = [sys.executable, "-c", f"import runpy; runpy.run_path({str(script)!r}, run_name='__mp_main__')"]
    assert subprocess.run(imported, capture_output=True, check=True).stdout == b""
    done = subprocess.run([sys.executable, script, "--version"], capture_output=True, check=True)
    assert __version__.encode() in done.stdout
