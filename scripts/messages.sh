#!/usr/bin/env bash
# Generate the messages of etcd from their .proto into a folder, with the locked protoc: messages.sh FOLDER
set -euo pipefail
folder=$(realpath "$1")
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
.venv/bin/python -m grpc_tools.protoc --proto_path=. --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" \
    lookout/ledger/etcd/messages/etcd.proto
mv "$out"/lookout/ledger/etcd/messages/* "$folder"
