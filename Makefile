# spiketape. `make replay` runs the main job, `make test` the tests; both set everything up first.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python; do $$p -c '$(FITS)' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
STAMP := $(VENV)/.locked
ARGS ?=

.PHONY: setup replay servers test lint model bench lock clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(FITS)' || { echo "spiketape needs Python 3.11 or 3.12 (Bytewax has wheels for these only): make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

replay: setup
	$(VENV)/bin/spiketape replay $(ARGS)

# Kafka, InfluxDB and Prometheus in the user's cache: six minutes the first time, nothing to do afterwards. ARGS="--only kafka" for one.
servers: setup
	$(VENV)/bin/spiketape servers fetch $(ARGS)

# Tests against real servers are skipped where programs to make these are missing; with CI set that is an error.
test: setup
	$(VENV)/bin/spiketape servers fetch --where-possible
	$(VENV)/bin/python -m pytest $(ARGS)

lint: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

# Makes the default model anew: sixteen million simulated ticks of a seed that no other command uses, the last fifth validates.
# Takes some minutes and 8 GB of memory.
model: setup
	$(VENV)/bin/spiketape simulate --out build/model-tape --ticks 16000000 --seed 7 --overwrite
	$(VENV)/bin/spiketape train build/model-tape --out operators/spiking/models/default.safetensors --seed 1

bench: setup
	$(VENV)/bin/spiketape bench $(ARGS)

# Resolves the dependencies of pyproject.toml anew, with hashes and without any index's name.
lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/lock/bin/uv pip compile pyproject.toml --group test --group lint --group build --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header -o requirements.lock

clean:
	rm -rf $(VENV) build benchmarks/out .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
