# All images of Lookout: docker build --target validate --tag lookout/validate .
# Targets are the stages (validate, object-detect, threat-detect, plot) and, where none is named, the command line.
# How to build them without a registry or an index, and what they need to run, is in docs/images.md.
ARG BASE=python:3.11.16-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown

# Packages: a stage of the build for each image, and what they share.
FROM ${BASE} AS installer
COPY requirements/build.txt requirements/install.sh /requirements/
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --requirement /requirements/build.txt

FROM installer AS validate-packages
COPY requirements/validate.txt /requirements/
RUN sh /requirements/install.sh validate

FROM installer AS object-detect-packages
COPY requirements/object-detect.txt /requirements/
RUN sh /requirements/install.sh object-detect

FROM installer AS threat-detect-packages
COPY requirements/threat-detect.txt /requirements/
RUN sh /requirements/install.sh threat-detect

FROM installer AS plot-packages
COPY requirements/plot.txt /requirements/
RUN sh /requirements/install.sh plot

FROM installer AS lookout-packages
COPY requirements/run.txt /requirements/
# A worker process imports the program anew: it must do nothing then.
RUN sh /requirements/install.sh run \
    && printf '#!/opt/lookout/bin/python\nfrom stages.installation import main\n\nif __name__ == "__main__":\n    main()\n' > /opt/lookout/bin/lookout \
    && chmod 755 /opt/lookout/bin/lookout

# The code: a change of it makes no package anew.
FROM ${BASE} AS code
COPY LICENSE THIRD_PARTY_NOTICES.md /app/
COPY lookout /app/lookout
COPY stages /app/stages
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM code AS whole-code
COPY event_sources /app/event_sources
COPY lookout_assets /app/lookout_assets
COPY models /app/models
COPY examples /app/examples
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app

# How each image runs. Only /tmp need be writable.
FROM ${BASE} AS runtime
ENV PATH=/opt/lookout/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    ORT_DISABLE_TELEMETRY=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    LOOKOUT_STATE=/tmp/lookout
WORKDIR /app
USER 10001:10001

# The images. Labels come last, as the revision is another each time.
FROM runtime AS validate
COPY --from=validate-packages /opt/lookout /opt/lookout
COPY --from=code /app /app
ENTRYPOINT ["python", "-m", "stages.validate"]
CMD ["--help"]
ARG VERSION
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="Lookout: validate" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="Apache-2.0"

FROM runtime AS object-detect
COPY --from=object-detect-packages /opt/lookout /opt/lookout
COPY --from=code /app /app
ENTRYPOINT ["python", "-m", "stages.object_detect"]
CMD ["--help"]
ARG VERSION
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="Lookout: object-detect" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="Apache-2.0"

FROM runtime AS threat-detect
COPY --from=threat-detect-packages /opt/lookout /opt/lookout
COPY --from=code /app /app
ENTRYPOINT ["python", "-m", "stages.threat_detect"]
CMD ["--help"]
ARG VERSION
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="Lookout: threat-detect" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="Apache-2.0"

FROM runtime AS plot
COPY --from=plot-packages /opt/lookout /opt/lookout
COPY --from=code /app /app
ENTRYPOINT ["python", "-m", "stages.plot"]
CMD ["--help"]
ARG VERSION
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="Lookout: plot" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="Apache-2.0"

FROM runtime AS lookout
COPY --from=lookout-packages /opt/lookout /opt/lookout
COPY --from=whole-code /app /app
ENTRYPOINT ["lookout"]
CMD ["--help"]
ARG VERSION
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="Lookout" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="Apache-2.0"
