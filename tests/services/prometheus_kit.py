"""A real Prometheus with the project's rules, and what a test asks it."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from devkit.servers.binaries import find_binary
from devkit.servers.ports import free_port
from tests.uploading.site import until

MONITORING = Path(__file__).parents[2] / "k8s" / "monitoring"


class Prometheus:
    """One that scrapes a target each second and has the rules."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def value(self, expression: str) -> float | None:
        """The one value of an expression, None if there is none."""
        found = self.ask("query", query=expression)["result"]
        assert len(found) <= 1
        return float(found[0]["value"][1]) if found else None

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=10):
                return True
        except OSError:
            return False


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """Started with the project's configuration, whose one job asks ``target``."""
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "lookout")
    job |= {"scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": [{"targets": [target]}]}
    rules = str(MONITORING / "rules.yaml")
    whole = {**config, "global": {"evaluation_interval": "1s"}, "rule_files": [rules], "scrape_configs": [job]}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    arguments = ["--config.file=prometheus.yaml", f"--web.listen-address={address}", "--storage.tsdb.path=data"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([find_binary("prometheus"), *arguments], cwd=folder, stdout=log, stderr=log)
    try:
        running = Prometheus(f"http://{address}")
        until(running.is_ready, 60)
        yield running
    finally:
        process.terminate()
        process.wait(30)
