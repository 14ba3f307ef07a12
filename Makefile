# Everything a developer does, from a machine with Python 3.11 or newer and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO_CSV ?=
# Most tests wait for processes to start, end or be missed, so more of them than cores run side by side.
TEST_PROCESSES ?= 6
# A factor for every deadline of tests; by default it is how slowly a worker process starts here.
TEST_PATIENCE ?=
CHAOS ?=
MATRIX ?=
PREVIEW ?=
PYTEST_ARGS ?=
YES ?=
TEST_WORDS = --numprocesses $(TEST_PROCESSES) --dist worksteal
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

ifneq ($(TEST_PATIENCE),)
export TEST_PATIENCE
else
unexport TEST_PATIENCE
endif

.DEFAULT_GOAL := help
.PHONY: help demo test test-matrix coverage chaos lint format dashboards rules dashboards-preview board-pictures bench lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

demo: $(INSTALLED) ## Analyse 500 symbols on embedded services; DEMO_CSV=path takes your daily bars, DEMO_STAY=10 lets the API stay
	$(BIN)/streamworkers demo $(if $(DEMO_CSV),--csv '$(DEMO_CSV)') $(if $(DEMO_STAY),--stay $(DEMO_STAY))

test: $(INSTALLED) ## Run every test, on a real Redis and PostgreSQL that it starts itself; PYTEST_ARGS='--lf'
	$(BIN)/python -m pytest $(TEST_WORDS) $(PYTEST_ARGS)

test-matrix: $(INSTALLED) ## Run them on Redis 6.2, 7.0, 8.2, PostgreSQL 15, 18, Python 3.11 to 3.13; MATRIX='redis-7.0', PYTEST_ARGS
	PYTHONPATH=tests $(BIN)/python -m matrix $(MATRIX) -- $(TEST_WORDS) $(PYTEST_ARGS)

coverage: $(INSTALLED) ## Run every test, and say which lines and branches none of them reached
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(TEST_WORDS) $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage html --quiet
	$(BIN)/coverage report

chaos: $(INSTALLED) ## Kill, stop and empty everything for five minutes, and count; CHAOS='--seed 2' takes options
	PYTHONPATH=tests $(BIN)/python -m chaos $(CHAOS)

lint: $(INSTALLED) ## Check format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m grafana --check

format: $(INSTALLED) ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dashboards: $(INSTALLED) ## Write Grafana's boards as JSON from their code
	$(BIN)/python -m grafana

pictures: $(INSTALLED) ## Draw the pictures of docs/guides/alerts.md with the engine
	$(BIN)/python docs/pictures/draw_alerts.py

rules: $(INSTALLED) ## Write the alerts for Kubernetes from prometheus/rules; GRAFANA_URL=https://… goes into their links
	$(BIN)/python deploy/kubernetes/make_prometheus_rule.py

dashboards-preview: $(INSTALLED) ## Draw the boards into .preview/ as Grafana does; PREVIEW='--board tonight --width 1280 --theme dark'
	PYTHONPATH=tests:. $(BIN)/python -m preview $(PREVIEW)

board-pictures: $(INSTALLED) ## Draw the pictures of docs/guides/boards.md into docs/images
	PYTHONPATH=tests:. $(BIN)/python -m preview --documents

bench: $(INSTALLED) ## Measure the claims of benchmarks/README.md
	$(BIN)/python benchmarks/nightly.py
	$(BIN)/python benchmarks/noop.py
	$(BIN)/python benchmarks/enqueue.py
	$(BIN)/python benchmarks/small_runs.py
	$(BIN)/python benchmarks/client.py
	$(BIN)/python benchmarks/recovery.py
	$(BIN)/python benchmarks/replacement.py
	$(BIN)/python benchmarks/reclaim.py
	$(BIN)/python benchmarks/idle.py
	$(BIN)/python benchmarks/schedules.py
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/outages.py

lock: $(INSTALLED) ## Resolve the dependencies again and write requirements.lock
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --upgrade --all-extras --universal --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --output-file requirements.lock pyproject.toml

clean: ## Stop the embedded services and remove what was built; their data goes too, after a question or with YES=1
	@test ! -d .streamworkers || test -n '$(YES)' || { test -t 0 && printf 'Delete the data of the embedded services too? [y/N] ' && \
		read answer && test "$$answer" = y; } || { echo 'nothing is removed: make clean YES=1 removes .streamworkers too' >&2; exit 1; }
	-test ! -x $(BIN)/streamworkers || $(BIN)/streamworkers embedded stop
	rm -rf grafana/preview/node_modules grafana/preview/dist
	rm -rf $(VENV) .streamworkers build dist .mypy_cache .ruff_cache .import_linter_cache .cache .hypothesis .matrix .preview
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Compiled apart: pip uses one processor for it. Some packages have files for other Pythons, which is no failure.
$(INSTALLED): requirements.lock pyproject.toml fakes/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "streamworkers needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --no-compile --require-hashes --no-deps --requirement requirements.lock
	-$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib
	$(PIP) install --no-build-isolation --no-deps --editable . --editable fakes
	@touch $@
