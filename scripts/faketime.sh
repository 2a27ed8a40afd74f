#!/usr/bin/env bash
# Have libfaketime for storms, which set the clock of single processes: Debian's, when we may install it.
set -euo pipefail
if compgen -G "/usr/lib/*/faketime/libfaketimeMT.so.1" >/dev/null || [ -e /usr/lib/faketime/libfaketimeMT.so.1 ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libfaketime >/dev/null && exit 0
fi
echo "Storms without clocks that jump: install libfaketime (Debian's package libfaketime)." >&2
