"""Links the manifests of Argo's projects into ``upstream``: ``python3 k8s/argo/upstream.py``.

They come with the Go modules of which scripts/servers.py builds Argo, in the same versions, checked by Go. Needs Python
and Go, nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
SERVERS: Final = HERE.parents[1] / "scripts" / "servers.py"
# The project's folder here, and the program of it whose version decides.
PROJECTS: Final = {"argo-workflows": "workflow-controller", "argo-events": "argo-events"}


def main() -> None:
    for project, program in PROJECTS.items():
        _, module, version, _ = answer(sys.executable, str(SERVERS), "--list", program).split()
        # Go would print its progress, and in a folder with a go.mod it would heed that.
        folder = json.loads(answer("go", "mod", "download", "-json", f"{module}@{version}"))["Dir"]
        link = HERE / "upstream" / project
        link.parent.mkdir(exist_ok=True)
        new = link.with_name(f"{project}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(Path(folder) / "manifests")
        new.replace(link)


def answer(*command: str) -> str:
    """Return the output of a command; exit with its error text when it fails."""
    environment = {**os.environ, "GOWORK": "off", "GOFLAGS": ""}
    done = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main()
