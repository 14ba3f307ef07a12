# One image for every command: worker, scheduler, migrate. See deploy/README.md.
FROM python:3.13.14-slim-bookworm AS python

FROM python AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all:
WORKDIR /source
COPY pyproject.toml requirements.lock deploy/docker/lock_for.py ./
# The lock also has the packages of tests and the demo; only those of the package itself are installed, by hash.
RUN python lock_for.py dependencies > core.lock \
    && python lock_for.py build-system > build.lock \
    && python -m venv --without-pip /opt/streamworkers \
    && python -m venv --without-pip /opt/build \
    && pip --python /opt/streamworkers/bin/python install --require-hashes --no-deps --requirement core.lock \
    && pip --python /opt/build/bin/python install --require-hashes --no-deps --requirement build.lock
COPY README.md LICENSE ./
COPY sql sql
COPY scheduler scheduler
COPY streamworkers streamworkers
RUN pip --python /opt/build/bin/python wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
    && pip --python /opt/streamworkers/bin/python install --no-deps /wheels/*.whl

FROM python
RUN groupadd --gid 10001 streamworkers \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin streamworkers
COPY --from=build /opt/streamworkers /opt/streamworkers
# Only /tmp is written to, so that the root file system can be read-only.
ENV PATH=/opt/streamworkers/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    STREAMWORKERS_LOG_FORMAT=json \
    METRICS_PORT=9101
WORKDIR /tmp
USER 10001:10001
STOPSIGNAL SIGTERM
EXPOSE 9101
# Set METRICS_PORT for a command with another --metrics-port.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"METRICS_PORT\"]}/livez', timeout=4)"]
ENTRYPOINT ["streamworkers"]
CMD ["worker", "--metrics-port", "9101", "--metrics-host", "0.0.0.0"]
