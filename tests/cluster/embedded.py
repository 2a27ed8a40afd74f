"""Results of one machine with nothing but Python for the same pictures; and these pictures, rules and devices.

Knows no cluster.
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "examples" / "photos"
RULES = ROOT / "examples" / "rules" / "home.json"
MODEL = ROOT / "models"
MANIFEST = "ssdlite_mobilenet_v2_coco.json"
PERSON = PHOTOS / "porch_1763798400.jpg"
CALM = PHOTOS / "field_1763798580.jpg"
TIME = PERSON.name.removeprefix("porch")
"""How the names of pictures go on after the device."""
DEVICES = sorted({path.name.partition("_")[0] for path in PHOTOS.glob("*.jpg")})
BURST = tuple(f"burst{number}" for number in range(9))
"""With two letters each, and no digest, even where all of them come in one batch."""
MORE_DEVICES = ("killed", "kubelet", "controller", "stopped", "alone", "ftp", "http", "named", *BURST)
"""With a picture of a person each: one for each fault, and what the tests of uploads and of devices need."""
FOLDERS = {"validate": ("valid/", "invalid/"), "object-detect": ("",), "threat-detect": ("",), "plot": ("data/",)}
"""By bucket of results, the folders before a device's name. Other charts than those of a day are of all devices."""
LOOKOUT = Path(sys.executable).with_name("lookout")
Letter = tuple[str, str]
"""To whom, and the subject."""


@dataclass(kw_only=True)
class Embedded:
    """The same pictures, under the same keys, on one machine."""

    tag: str
    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def rules(self) -> Path:
        return self.folder / "rules"

    def run(self, *given: str | Path) -> None:
        """Bring it up to date with its folder, and with what is given: rules, a model."""
        ask(
            "run",
            str(self.source),
            "--state",
            str(self.folder / "state"),
            *map(str, given),
            "--max-mails=100",
            "--json",
        )

    def results(self, *devices: str) -> dict[str, bytes]:
        objects = self.folder / "state" / "objects"
        return {
            path.relative_to(objects).as_posix(): path.read_bytes()
            for bucket in FOLDERS
            for path in (objects / bucket).rglob("*")
            if path.is_file() and any(f"/{self.tag}-{device}" in path.as_posix() for device in devices)
        }

    def mails(self) -> list[EmailMessage]:
        return [
            email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            for path in (self.folder / "state" / "outbox").glob("*.eml")
        ]

    def letters(self, *devices: str) -> list[Letter]:
        return sorted(
            (str(one["to"]), str(one["subject"]))
            for one in self.mails()
            if any(f"{self.tag}-{device}" in one["subject"] for device in devices)
        )


def embed(tag: str, folder: Path, *devices: str, photos: Path | None = None) -> Embedded:
    """The pictures of the examples and of these devices, or these photographs instead, done on one machine by the rules
    of this tag."""
    made = Embedded(tag=tag, folder=folder)
    if photos is None:
        fill(made.source, tag, *devices)
    else:
        made.source.mkdir()
        for path in photos.iterdir():
            shutil.copy(path, made.source / f"{tag}-{path.name}")
    made.rules.mkdir()
    (made.rules / f"{tag}.json").write_bytes(rules_for(tag, *devices))
    made.run("--rules", made.rules)
    return made


def rules_for(tag: str, *devices: str) -> bytes:
    """The rules of the examples, for the devices of this tag; people are looked for at these devices too."""
    given = json.loads(RULES.read_bytes())
    given["rules"][0]["devices"] += devices
    for rule in given["rules"]:
        rule["devices"] = [f"{tag}-{device}" for device in rule["devices"]]
        rule["user"] = f"{tag}@example.com"
    return json.dumps(given).encode()


def fill(folder: Path, tag: str, *devices: str) -> None:
    """The pictures of the examples, and one with a person for each of these devices."""
    folder.mkdir()
    for path in PHOTOS.glob("*.jpg"):
        shutil.copy(path, folder / f"{tag}-{path.name}")
    for device in devices:
        shutil.copy(PERSON, folder / f"{tag}-{device}{TIME}")


def attempt(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``lookout``; return how it ended, well or not, with these variables of its own only."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LOOKOUT_")}
    return subprocess.run([LOOKOUT, *words], env=plain | dict(env or {}), capture_output=True, text=True, check=False)


def ask(*words: str, env: Mapping[str, str] | None = None) -> Any:
    """Return the JSON of ``lookout``."""
    done = attempt(*words, env=env)
    assert done.returncode == 0, (words, done.returncode, done.stderr)
    return json.loads(done.stdout)
