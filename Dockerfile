# The operator's command line: docker build --file Dockerfile --tag lookout/lookout .
# How to build it without a registry or an index, and what it needs to run, is in docs/images.md.
ARG BASE=python:3.11.16-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84

FROM ${BASE} AS libraries
COPY requirements/build.txt requirements/run.txt /requirements/
# One package comes as sources: what builds it stays in this stage, and so do the packages' own tests.
RUN python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/lookout \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --requirement /requirements/build.txt \
    && /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --require-hashes \
        --requirement /requirements/run.txt --wheel-dir /wheels \
    && /opt/build/bin/pip --python /opt/lookout/bin/python install --no-cache-dir --no-index --no-deps --no-compile \
        /wheels/*.whl \
    && find /opt/lookout -depth -type d -name tests -exec rm -r {} +
# A worker process imports the program anew: it must do nothing then.
# Bytecode is made here, as nothing can be written later, and not compared with its source, as that never changes.
RUN printf '#!/opt/lookout/bin/python\nfrom stages.installation import main\n\nif __name__ == "__main__":\n    main()\n' > /opt/lookout/bin/lookout \
    && chmod 755 /opt/lookout/bin/lookout \
    && /opt/lookout/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/lookout/lib

# A change of the code makes this anew and nothing above.
FROM libraries AS code
COPY LICENSE THIRD_PARTY_NOTICES.md /app/
COPY lookout /app/lookout
COPY stages /app/stages
COPY event_sources /app/event_sources
COPY lookout_assets /app/lookout_assets
COPY models /app/models
COPY examples /app/examples
RUN /opt/lookout/bin/python -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE}
COPY --from=libraries /opt/lookout /opt/lookout
COPY --from=code /app /app
# Only /tmp need be writable.
ENV PATH=/opt/lookout/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    LOOKOUT_STATE=/tmp/lookout
WORKDIR /app
USER 10001:10001
ENTRYPOINT ["lookout"]
CMD ["--help"]
# Last, as the revision is another each time.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Lookout" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="Apache-2.0"
