"""Images of the cluster and their contents. Knows neither buildah nor containerd."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from k8s.local.program_settings import PAUSE_IMAGE
from k8s.local.site import ROOT, Site


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerImage:
    """Programs of ``scripts/servers.py`` and nothing else; ``programs`` are paths in the image, the first is run.

    Names, paths and entry point are those of upstream's image, so that its manifests run as they are.
    """

    name: str
    programs: tuple[str, ...]
    user: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings with which the image is run."""
        folders = dict.fromkeys(str(Path(path).parent) for path in self.programs)
        return {"Entrypoint": [self.programs[0]], "User": str(self.user), "Env": [f"PATH={':'.join(folders)}"]}

    def inputs(self, site: Site) -> str:
        """Digest of what decides what is in the image."""
        built = (str(site.program(Path(path).name).readlink()) for path in self.programs)
        return _digest(repr(self), *built)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectImage:
    """An image of this project, by its Dockerfile, whose context is the project's folder."""

    name: str
    dockerfile: str = "Dockerfile"
    target: str = ""
    """The stage of the build that is the image; the last one if it is not named."""

    @property
    def copied(self) -> tuple[str, ...]:
        """Return the paths that the image's stages of the build copy from the project, as written there."""
        stages = _read_stages((ROOT / self.dockerfile).read_text(encoding="utf-8"))
        found: list[str] = []
        waiting = [self.target or list(stages)[-1]]
        for stage in waiting:
            for step, *words in stages[stage]:
                sources = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
                if step == "COPY" and not sources:
                    found += [word for word in words if not word.startswith("--")][:-1]
                before = words[:1] if step == "FROM" else sources
                waiting += [name for name in before if name in stages and name not in waiting]
        return tuple(found)

    @property
    def requirements(self) -> tuple[Path, ...]:
        """The lists of locked packages among what it copies."""
        return tuple(ROOT / path for path in self.copied if path.startswith("requirements/") and path.endswith(".txt"))

    def inputs(self, base: str) -> str:
        """Digest of what decides what is in the image, ``base`` among it."""
        digest = hashlib.sha256(_digest(base, self.dockerfile, self.target).encode())
        for path in _files(self.dockerfile, ".dockerignore", *self.copied):
            digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_mode:o}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()


SERVERS: Final = (
    ServerImage(name=PAUSE_IMAGE, programs=("/pause",), user=65535),
    ServerImage(name="coredns/coredns:1.15.0", programs=("/coredns",), user=65532),
    ServerImage(name="quay.io/argoproj/workflow-controller:v3.7.18", programs=("/bin/workflow-controller",), user=8737),
    ServerImage(name="quay.io/argoproj/argoexec:v3.7.18", programs=("/bin/argoexec",), user=8737),
    ServerImage(name="quay.io/argoproj/argocli:v3.7.18", programs=("/bin/argo",), user=8737),
    ServerImage(name="quay.io/argoproj/argo-events:v1.9.11", programs=("/bin/argo-events",), user=9731),
    ServerImage(name="minio/minio:dev", programs=("/usr/bin/minio",)),
    ServerImage(name="quay.io/coreos/etcd:v3.6.16", programs=("/usr/local/bin/etcd", "/usr/local/bin/etcdctl")),
    ServerImage(name="nats:2.15.3", programs=("/nats-server",)),
)
PROJECT: Final = (
    ProjectImage(name="lookout/validate:dev", target="validate"),
    ProjectImage(name="lookout/object-detect:dev", target="object-detect"),
    ProjectImage(name="lookout/threat-detect:dev", target="threat-detect"),
    ProjectImage(name="lookout/plot:dev", target="plot"),
    ProjectImage(name="lookout/lookout:dev", target="lookout"),
    ProjectImage(name="sendgrid-double:dev", dockerfile="devkit/fakes/Dockerfile"),
)


def _read_stages(dockerfile: str) -> dict[str, list[list[str]]]:
    """Read the steps FROM and COPY of each stage of a build, as words; a stage without a name has its number."""
    stages: dict[str, list[list[str]]] = {}
    name = ""
    for words in map(str.split, dockerfile.splitlines()):
        if words[:1] == ["FROM"]:
            name = words[3] if words[2:3] == ["AS"] else str(len(stages))
            stages[name] = [words]
        elif words[:1] == ["COPY"]:
            stages[name].append(words)
    return stages


def _files(*patterns: str) -> Iterator[Path]:
    """Yield the files of the project that the patterns mean, folders with all below, but for what Python leaves
    there."""
    for pattern in patterns:
        for found in sorted(ROOT.glob(pattern.rstrip("/"))):
            below = sorted(found.rglob("*")) if found.is_dir() else [found]
            yield from (path for path in below if path.is_file() and "__pycache__" not in path.parts)


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()
