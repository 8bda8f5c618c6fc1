# Trademk1 in one image: API, engine and paper broker, with tests/test_oms.py and the servers that it starts.
# `docker compose up --build` builds it; docs/docker.md explains proxies, mirrors and certificates of one's own.

FROM python:3.11-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# ---- what is installed, into a folder that is then copied: compilers, caches and pip stay behind
FROM base AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /build
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_INPUT=1 \
    PIP_ROOT_USER_ACTION=ignore

COPY requirements/build.txt requirements/container.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/root/.config/pip/pip.conf \
    --mount=type=secret,id=ca \
    --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    pip install --require-hashes --no-deps -r requirements/build.txt; \
    python -m venv --without-pip /opt/venv; \
    pip --python /opt/venv/bin/python install --require-hashes --no-deps --only-binary :all: -r requirements/container.txt

# QuestDB's jar from Maven Central, its SHA-256 checked: for the tests, which start a QuestDB of their own
COPY src/oms/embedded/fetch.py ./
RUN --mount=type=secret,id=ca \
    --mount=type=cache,target=/root/.cache/trademk1 \
    if [ -s /run/secrets/ca ]; then export REQUESTS_CA_BUNDLE=/run/secrets/ca; fi; \
    jar=$(/opt/venv/bin/python fetch.py /root/.cache/trademk1); \
    install -D -m 644 -t /opt/cache/trademk1 "$jar"

COPY pyproject.toml README.md ./
COPY src src
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /build/wheel . \
 && pip --python /opt/venv/bin/python install --no-deps --no-index --no-cache-dir /build/wheel/*.whl

# ---- what runs
FROM base
RUN groupadd --gid 10001 oms \
 && useradd --uid 10001 --gid oms --no-create-home --home-dir /tmp --shell /usr/sbin/nologin oms \
 && install -d -m 700 -o oms -g oms /app/data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/cache /opt/cache
# The root file system is read-only in compose.yaml: pytest keeps no cache, works in a volume of its own, and leaves only
# the files of failures there.
ENV PATH=/opt/venv/bin:$PATH \
    PYTEST_ADDOPTS="-p no:cacheprovider -o tmp_path_retention_policy=failed" \
    PYTEST_DEBUG_TEMPROOT=/var/tmp \
    XDG_CACHE_HOME=/opt/cache
WORKDIR /app
COPY pyproject.toml ./
COPY docs docs
COPY tests tests
USER 10001:10001
EXPOSE 8000 8100
CMD ["oms", "up"]
