#!/usr/bin/env bash
# Have the programs by which the tests upload as cameras do: those that are there, or Debian's when we may install them.
set -euo pipefail
missing=()
for program in curl:curl lftp:lftp sftp:openssh-client openssl:openssl; do
    command -v "${program%%:*}" >/dev/null || missing+=("${program##*:}")
done
if [ ${#missing[@]} = 0 ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
    echo "The tests of uploads need these packages: ${missing[*]}" >&2
    exit 1
fi
