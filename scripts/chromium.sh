#!/usr/bin/env bash
# Have a Chromium for the page's tests: the one that is there, or Debian's when we may install it.
set -euo pipefail
if [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
    echo "The page's tests need Chromium: install it, or name its program in CHROMIUM." >&2
    exit 1
fi
