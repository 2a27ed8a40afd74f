"""Audit of the locked packages: known vulnerabilities, or with ``--versions`` which are behind the newest and why.

Vulnerabilities are those that pip-audit finds in the package index's own data, by the page of each version. Some
indexes serve the page of a project only, which has the same data for the newest version: it counts where that one is
locked.
Exit code 0: nothing is known against any package; 1: something is; 2: not every package could be looked up, and those
are named. With ``--versions``, 1: a package is behind without a reason in ``requirements/behind.toml``, or a reason is
left over; 2: the index could not be asked. Knows nothing of Lookout.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import requests
from packaging.version import Version
from pip_audit._service.interface import ResolvedDependency, ServiceError, SkippedDependency, VulnerabilityResult
from pip_audit._service.pypi import PyPIService

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = tuple(sorted((ROOT / "requirements").glob("*.txt")))
REASONS: Final = ROOT / "requirements" / "behind.toml"
PYTHON: Final = "3.11"
TIMEOUT_S: Final = 15
_LOCKED: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)

Package = tuple[str, Version]


class NewestPages:
    """Session that answers for a version without a page of its own by its project's page, if it is the newest one."""

    def __init__(self, session: requests.Session) -> None:
        self._session = session

    def get(self, url: str, timeout: float | None = None) -> requests.Response:
        """Get the page ``.../PROJECT/VERSION/json``."""
        answer = self._session.get(url, timeout=timeout)
        if answer.status_code != requests.codes.not_found:
            return answer
        project, version, _ = url.rsplit("/", 2)
        page = self._session.get(f"{project}/json", timeout=timeout)
        is_newest = page.ok and Version(page.json()["info"]["version"]) == Version(version)
        return page if is_newest else answer


def locked(texts: Sequence[str]) -> list[Package]:
    """Return each package and version of the lists, sorted."""
    return sorted({(name, Version(version)) for text in texts for name, version in _LOCKED.findall(text)})


def newest(texts: Sequence[str]) -> list[Package]:
    """Return the newest version of each package of the lists for our Python, and for a newer one if that differs.

    Raises OSError when uv cannot say.
    """
    names = "\n".join(sorted({name for name, _ in locked(texts)}))
    command = ["uv", "pip", "compile", "--quiet", "--no-deps", "--universal", "--python-version", PYTHON]
    command = [str(Path(sys.executable).with_name(command[0])), *command[1:], "--no-header", "--no-annotate", "-"]
    done = subprocess.run(command, input=names, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise OSError(done.stderr.strip())
    return locked([done.stdout])


def audit(service: PyPIService, packages: Sequence[Package]) -> tuple[list[str], list[str]]:
    """Return a line for each vulnerability that is known, and one for each package that could not be looked up."""
    found: list[str] = []
    unknown: list[str] = []
    for name, version in packages:
        try:
            spec, results = service.query(ResolvedDependency(name, version))
        except (ServiceError, requests.RequestException) as error:
            unknown.append(f"{name} {version}: {type(error).__name__}")
            continue
        if isinstance(spec, SkippedDependency):
            unknown.append(f"{name} {version}: the index has no data for it")
        found += [describe(name, version, result) for result in results]
    return found, unknown


def describe(name: str, version: Version, result: VulnerabilityResult) -> str:
    """Return one line about a vulnerability."""
    fixed = ", ".join(map(str, result.fix_versions)) or "no version"
    return f"{name} {version}: {result.id}, fixed in {fixed}: {result.description[:100]}"


def compare(now: Sequence[Package], best: Sequence[Package], reasons: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """Yield a line for each package, and whether it is in order; then one for each reason that is left over."""
    tops = dict(best)
    behind = set()
    for name, version in now:
        if (name, version) in best:
            yield f"{name} {version}: newest", True
            continue
        behind.add(name)
        reason = reasons.get(name)
        yield (
            f"{name} {version}: behind {tops[name]}: {reason or 'no reason in requirements/behind.toml'}",
            bool(reason),
        )
    for name in sorted(set(reasons) - behind):
        yield f"{name}: not behind, so its reason in requirements/behind.toml has to go", False


def report_vulnerabilities(texts: Sequence[str]) -> int:
    service = PyPIService(timeout=TIMEOUT_S)
    service.session = NewestPages(service.session)
    packages = locked(texts)
    found, unknown = audit(service, packages)
    say(*found)
    if unknown:
        say(*unknown)
        say(f"{len(unknown)} of {len(packages)} locked packages could not be looked up: nothing is known of those.")
    say(f"{len(found)} known vulnerabilities in the other {len(packages) - len(unknown)} packages.")
    return 1 if found else 2 if unknown else 0


def report_versions(texts: Sequence[str]) -> int:
    try:
        lines = list(compare(locked(texts), newest(texts), tomllib.loads(REASONS.read_text(encoding="utf-8"))))
    except OSError as error:
        say(f"The newest versions could not be looked up: {error}")
        return 2
    say(*(line for line, _ in lines))
    return 0 if all(is_fine for _, is_fine in lines) else 1


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def main() -> int:
    parser = argparse.ArgumentParser(description="Known vulnerabilities in the locked packages.")
    parser.add_argument(
        "--versions", action="store_true", help="list each with the newest version, and why it is behind"
    )
    given = parser.parse_args()
    texts = [path.read_text(encoding="utf-8") for path in LOCKS]
    return report_versions(texts) if given.versions else report_vulnerabilities(texts)


if __name__ == "__main__":
    sys.exit(main())
