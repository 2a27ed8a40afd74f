#!/usr/bin/env bash
# Have prometheus and promtool for the tests of metrics and rules: Debian's, unpacked beside the other servers' programs and
# installed nowhere.
set -euo pipefail
bin="${LOOKOUT_CACHE:-$HOME/.cache/lookout}/bin"
if [ -x "$bin/promtool" ] && [ -x "$bin/prometheus" ]; then exit 0; fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "The tests of metrics need prometheus and promtool: put both into $bin." >&2
    exit 1
fi
mkdir -p "$bin"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }
dpkg -x ./*.deb .
# Each into its place at once: another test may be looking for it.
for name in prometheus promtool; do
    cp "usr/bin/$name" "$bin/.$name.$$"
    mv "$bin/.$name.$$" "$bin/$name"
done
