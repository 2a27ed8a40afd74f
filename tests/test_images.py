"""The Dockerfiles agree with each other, with the release and with the lists of packages; nothing is built here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lookout import __version__

ROOT = Path(__file__).parents[1]
DOCKERFILES = [ROOT / "Dockerfile", *sorted(ROOT.glob("stages/*/Dockerfile"))]
LABELS = {"title", "version", "revision", "source", "licenses"}


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def dockerfile(request: pytest.FixtureRequest) -> str:
    return request.param.read_text(encoding="utf-8")


def test_there_is_one_for_each_stage_and_one_for_the_command_line() -> None:
    assert len(DOCKERFILES) == 5


def test_all_stand_on_one_base_that_is_named_by_its_digest() -> None:
    said = {re.search(r"^ARG BASE=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)[1] for path in DOCKERFILES}  # type: ignore[index]
    (base,) = said
    assert re.fullmatch(r"python:3\.11\.[0-9]+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    for path in DOCKERFILES:
        froms = re.findall(r"^FROM (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(froms) == {"${BASE}", "libraries"}


def test_it_runs_as_a_user_that_is_a_number_with_its_command_named(dockerfile: str) -> None:
    assert re.search(r"^USER [1-9][0-9]*:[1-9][0-9]*$", dockerfile, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["(python|lookout)"', dockerfile, re.MULTILINE)
    assert re.search(r'^CMD \["--help"\]$', dockerfile, re.MULTILINE)


def test_its_labels_say_what_it_is_and_the_release_is_this_one(dockerfile: str) -> None:
    assert set(re.findall(r"org\.opencontainers\.image\.([a-z]+)=", dockerfile)) == LABELS
    assert re.findall(r"^ARG VERSION=(.*)$", dockerfile, re.MULTILINE) == [__version__]


def test_it_copies_what_is_there_and_what_its_context_has(dockerfile: str) -> None:
    context = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    lines = re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE)
    sources = [source for line in lines for source in line.split()[:-1]]
    assert {"lookout", "stages"} < set(sources)
    for source in sources:
        assert (ROOT / source).exists()
        assert f"\n!{source.partition('/')[0]}\n" in context


def test_a_change_of_the_code_makes_no_package_anew(dockerfile: str) -> None:
    libraries, code, image = re.split(r"^FROM .*$", dockerfile, flags=re.MULTILINE)[1:]
    assert "requirements/" in libraries
    assert not re.search(r"^COPY (?!requirements/)", libraries, re.MULTILINE)
    assert "/opt/lookout/lib" not in code
    steps = re.findall(r"^(COPY --from=\w+|LABEL)", image, re.MULTILINE)
    assert steps == ["COPY --from=libraries", "COPY --from=code", "LABEL"]


def test_packages_come_by_their_hashes_only(dockerfile: str) -> None:
    steps = dockerfile.replace("\\\n", " ")
    fetches = re.findall(r"pip (?:install|wheel) ([^&]*)", steps)
    assert len(fetches) == 2
    assert all("--require-hashes" in options for options in fetches)
    assert "--no-index --no-deps" in re.sub(r" +", " ", steps)


def test_they_differ_only_in_what_they_are() -> None:
    """The rest is the same step by step, so that a correction in one is not forgotten in another."""

    def steps(path: Path) -> list[str]:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        text = re.sub(r"requirements/(?!build)[a-z-]+\.txt", "requirements/X.txt", text)
        words = (
            "#",
            "ENTRYPOINT",
            "LABEL",
            "ENV",
            "COPY event_sources",
            "COPY lookout_assets",
            "COPY models",
            "COPY examples",
        )
        kept = [re.sub(r" +", " ", line) for line in text.splitlines() if not line.startswith(words)]
        return [re.sub(r"^RUN printf .* && (?=/opt/lookout/bin/python)", "RUN ", line) for line in kept]

    first, *others = (steps(path) for path in DOCKERFILES)
    assert all(other == first for other in others)


def test_the_script_of_the_command_line_does_nothing_when_a_worker_process_imports_it(tmp_path: Path) -> None:
    steps = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (step,) = re.findall(r"RUN (printf '[^']*') +> +/opt/lookout/bin/lookout ", steps)
    script = tmp_path / "lookout"
    script.write_bytes(subprocess.run(["sh", "-c", step], capture_output=True, check=True).stdout)
    assert script.read_text().startswith("#!/opt/lookout/bin/python\n")
    imported = [sys.executable, "-c", f"import runpy; runpy.run_path({str(script)!r}, run_name='__mp_main__')"]
    assert subprocess.run(imported, capture_output=True, check=True).stdout == b""
    done = subprocess.run([sys.executable, script, "--version"], capture_output=True, check=True)
    assert __version__.encode() in done.stdout
