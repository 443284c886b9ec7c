# spiketape for every flow and command, run as a plain user: docker build -t spiketape .
# The base needs Python 3.11 or 3.12 with venv; another one is chosen by --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY requirements.lock ./
RUN python3 -m venv /opt/spiketape \
    && /opt/spiketape/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY operators operators
COPY flows flows
COPY infra infra
COPY benchmarks benchmarks
RUN /opt/spiketape/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-build-isolation --no-deps .

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --create-home spiketape \
    && install -d -o spiketape -g spiketape /data /tapes /run/writer /run/reader /home/spiketape/.cache
COPY --from=build /opt/spiketape /opt/spiketape
COPY infra/images/flow.sh /usr/local/bin/flow
COPY infra/images/setup.sh /usr/local/bin/setup
ENV PATH=/opt/spiketape/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    SPIKETAPE_HEALTH__HOST=0.0.0.0 \
    SPIKETAPE_HEALTH__PORT=9464
USER 10001:10001
# Kernels are compiled here: a flow that begins to compile them while it runs keeps the others waiting, and may be taken for one that hangs.
# They fit processors like this one; on others they are compiled again, in the container.
RUN spiketape simulate --out /tmp/tape --ticks 60000 --seed 1 \
    && spiketape replay /tmp/tape --out /tmp/run --no-report \
    && rm -r /tmp/tape /tmp/run
WORKDIR /data
STOPSIGNAL SIGTERM
ENTRYPOINT ["flow"]
CMD ["--help"]
