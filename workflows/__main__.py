"""``python -m workflows``: renders the workflows and the resources of Argo Events into the committed YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from event_sources import argo
from workflows.backfill import backfill
from workflows.dead_letter import dead_letter
from workflows.limits import limits
from workflows.pipeline import pipeline
from workflows.reconcile import reconcile, reconcile_full
from workflows.upkeep import upkeep, upkeep_by_clock, upkeep_full

ROOT: Final = Path(__file__).parent.parent
_KUSTOMIZATION: Final = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
_HEAD: Final = "# Rendered by `python -m workflows`; change it there.\n"


def rendered() -> dict[Path, str]:
    """Return the text of each file, by its path below ROOT."""
    made: dict[str, Mapping[str, Any]] = {"workflows/rendered/limits.yaml": limits()}
    for template in (pipeline(), backfill(), dead_letter(), upkeep(), upkeep_full()):
        made[f"workflows/rendered/{template.name}.yaml"] = template.to_dict()
    for cron in (reconcile(), reconcile_full(), *upkeep_by_clock()):
        made[f"workflows/rendered/{cron.name}-by-clock.yaml"] = cron.to_dict()
    made["event_sources/rendered/event-bus.yaml"] = argo.event_bus()
    made["event_sources/rendered/event-source.yaml"] = argo.event_source()
    made["event_sources/rendered/sensor.yaml"] = argo.sensor()
    for folder in ("workflows/rendered", "event_sources/rendered"):
        files = sorted(Path(name).name for name in made if name.startswith(folder))
        made[f"{folder}/kustomization.yaml"] = {**_KUSTOMIZATION, "resources": files}
    return {ROOT / name: _HEAD + _dump(body) for name, body in made.items()}


class _Plain(yaml.SafeDumper):
    """Without anchors: each resource can be read from top to bottom."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - named so by the library
        return True


def _dump(body: Mapping[str, Any]) -> str:
    return yaml.dump(dict(body), Dumper=_Plain, sort_keys=False, width=1000, allow_unicode=True)


def main() -> None:
    """Write what has changed."""
    for path, text in rendered().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
