"""Stands for kubectl: keeps Secrets in a folder, and notes with which words it was called. Run with LOOKOUT_FAKE set.

What it does not know it answers with nothing, as kubectl does where nothing is.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path


def main() -> int:
    folder = Path(os.environ["LOOKOUT_FAKE"])
    words = [word for word in sys.argv[1:] if not word.startswith("--namespace=")]
    with (folder / "calls").open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    refused = folder / "refuse" / words[0]
    if refused.exists():
        sys.stderr.write(refused.read_text())
        return 1
    secrets = folder / "secrets"
    secrets.mkdir(exist_ok=True)
    if words[:2] == ["get", "secrets"]:
        for file in sorted(secrets.iterdir()):
            sys.stdout.write(" ".join((file.name, *json.loads(file.read_text())["stringData"])) + "\n")
    elif words[:2] == ["get", "secret"]:
        entry = words[3].removeprefix("--output=jsonpath={.data.").removesuffix("}").replace("\\.", ".")
        value = json.loads((secrets / words[2]).read_text())["stringData"][entry]
        sys.stdout.write(base64.b64encode(value.encode()).decode())
    elif words[0] == "create":
        manifest = json.load(sys.stdin)
        with (secrets / manifest["metadata"]["name"]).open("x") as file:
            json.dump(manifest, file)
    elif words[0] == "get":
        answer = folder / "answers" / words[1]
        sys.stdout.write(answer.read_text() if answer.exists() else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
