#!/usr/bin/env bash
# Lock the dependencies of pyproject.toml with hashes, for every platform, and without naming any index. Versions stay
# where they may; with --upgrade each becomes the newest that agrees with the others.
set -euo pipefail
cd "$(dirname "$0")/.."
upgrade=("$@")
compile() { .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate "${upgrade[@]}" "$@"; }
compile pyproject.toml --all-extras --group build --output-file requirements/run.txt
compile --group dev --constraint requirements/run.txt --output-file requirements/dev.txt
# What images have: each stage only its own, at the versions of run.txt; and what builds sources, in none of them.
for group in build validate object-detect threat-detect plot; do
  compile --group "$group" --constraint requirements/run.txt --output-file "requirements/$group.txt"
done
