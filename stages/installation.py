"""Installation of Lookout: the only place where its pipeline, its channels and its folder watch are put together.

The entry points pass it to the command line: ``lookout`` itself, the commands of the containers, and the intake.
"""

from __future__ import annotations

import sys
from typing import Final

from lookout.app.installation import Installation
from stages.picture_names import find_name
from stages.pipeline import PIPELINE

INSTALLATION: Final = Installation(
    pipeline=PIPELINE,
    channels="stages.threat_detect.channels.opening:Channels",
    folder_watch="event_sources.folder_watch.supervised_watch:SteadyWatch",
    names="stages.camera_names.files:open_names",
    try_names="stages.camera_names.files:try_names",
    devices_schema="stages.validate.devices_file:schema",
    rules="stages.rule_tools:RuleTools",
    models="stages.model_tools:ModelTools",
    explainer="stages.threat_detect.explain.explainer:Explainer",
    replayer="stages.threat_detect.replay.replayer:Replayer",
    assets="lookout_assets",
    find_name=find_name,
    shipped_before=frozenset({"580bd15a36c0a85258b6e975bfa10d56afcb98f8dbee4993ef5c72c3b197a425"}),
)


def main() -> None:
    """Run the command ``lookout`` to the process's end."""
    from lookout.app.process import run_command
    from lookout.cli import cli

    sys.exit(run_command(cli, obj=INSTALLATION))
