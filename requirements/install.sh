#!/bin/sh
# Puts the locked packages of a list into /opt/lookout, in the build of an image: sh install.sh validate
# One package comes as sources: what builds it stays in /opt/build, and packages' own tests go.
set -eu
python3 -m venv --without-pip /opt/lookout
/opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --require-hashes \
    --requirement "/requirements/$1.txt" --wheel-dir /wheels
/opt/build/bin/pip --python /opt/lookout/bin/python install --no-cache-dir --no-index --no-deps --no-compile /wheels/*.whl
find /opt/lookout -depth -type d -name tests -exec rm -r {} +
# Bytecode is made here, as nothing can be written later, and not compared with its source, as that never changes.
/opt/lookout/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/lookout/lib
