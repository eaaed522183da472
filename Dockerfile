# One image for api, workers and one-shot commands. Writes only to /data and TMPDIR, /tmp or a volume at /spool, so the
# root file system can be read-only. The build asks pip for packages; its index is pip's own default or what these arguments name.
ARG PYTHON=3.11-slim

FROM python:${PYTHON} AS build
# PIP_INDEX_URL: a mirror. TORCH_INDEX_URL: where the torch wheel comes from; name an index with CPU-only wheels for a
# much smaller image (the default wheel for x86-64 brings CUDA), or one of another CUDA version. Empty: the same as PIP_INDEX_URL.
ARG PIP_INDEX_URL
ARG TORCH_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
WORKDIR /src
RUN python -m venv /opt/percel
COPY pyproject.toml ./
# Torch first and alone: it is the largest layer and changes least, and the other packages must find it in place.
RUN export PIP_INDEX_URL="${TORCH_INDEX_URL:-$PIP_INDEX_URL}" && [ -n "$PIP_INDEX_URL" ] || unset PIP_INDEX_URL; \
    /opt/percel/bin/pip install "$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)"
# Then what it needs, so that a change of its code installs nothing again.
RUN [ -n "$PIP_INDEX_URL" ] || unset PIP_INDEX_URL; \
    /opt/percel/bin/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        print(*p['dependencies'], *p['optional-dependencies']['otel'], sep='\n')" > /tmp/needed.txt \
    && /opt/percel/bin/pip install --requirement /tmp/needed.txt
COPY README.md LICENSE NOTICE ./
COPY api api
COPY workers workers
COPY store store
COPY compressor compressor
COPY bench bench
RUN [ -n "$PIP_INDEX_URL" ] || unset PIP_INDEX_URL; \
    /opt/percel/bin/pip install --no-deps . && /opt/percel/bin/python -m compileall -q /opt/percel/lib

FROM python:${PYTHON}
RUN apt-get update \
    && apt-get install -y --no-install-recommends tesseract-ocr \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 percel \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin percel \
    && install -d -o percel -g percel -m 0700 /data /spool
COPY --from=build /opt/percel /opt/percel
ENV PATH=/opt/percel/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 \
    HOME=/tmp \
    TMPDIR=/tmp \
    PERCEL_HOME=/data \
    PERCEL_HOST=0.0.0.0 \
    PERCEL_PORT=8080
USER 10001:10001
WORKDIR /tmp
VOLUME /data
EXPOSE 8080
# SIGTERM ends API and workers in good order.
STOPSIGNAL SIGTERM
# Of the api; compose gives workers a check of their own.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PERCEL_PORT\"]}/readyz', timeout=8)"]
ENTRYPOINT ["percel"]
CMD ["serve"]
