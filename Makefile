# make run | test | check | bench | clean; 'make help' says what each does.
# PYTHON says which interpreter makes the virtual environment: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
# Options for pytest (make test ARGS='-k smuggling -x') and for the benchmark.
ARGS ?=
# Test processes of the unit part.
JOBS ?= 2

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.stamp-run
DEV_STAMP := $(VENV)/.stamp-dev
PYTEST := $(BIN)/python -m pytest -q --cov --cov-report=

export PYTHON

.PHONY: help run test unit check format bench oldest audit peers tools clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUN_STAMP) ## the main job on embedded defaults: a gateway, a client, an upstream, every treatment once
	@$(BIN)/smime-gateway demo $(ARGS)

test: $(DEV_STAMP) peers tools ## every test, with branch coverage; as root installs missing peers (Debian) by itself
	@rm -rf .cache/coverage; mkdir -p .cache/coverage; status=0; \
	echo "== unit tests ($(JOBS) processes)"; \
	$(PYTEST) -n $(JOBS) --dist loadfile tests/unit $(ARGS) || status=1; \
	echo "== the chart, vectors, properties, foreign implementations, end to end"; \
	$(PYTEST) --cov-append --ignore=tests/unit tests $(ARGS) || status=1; \
	echo "== branch coverage"; \
	$(BIN)/coverage report; exit $$status

unit: $(DEV_STAMP) ## only the unit tests, without coverage
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile tests/unit $(ARGS)

check: $(DEV_STAMP) ## format, lint, strict types, layers; all of them, even when one fails
	@status=0; \
	for step in "ruff format --check ." "ruff check ." "mypy" "lint-imports --no-logo"; do \
		echo "== $$step"; $(BIN)/$$step || status=1; \
	done; exit $$status

format: $(DEV_STAMP) ## format, and mend what the linter can mend
	@$(BIN)/ruff check --fix-only --quiet .; $(BIN)/ruff format .

bench: $(DEV_STAMP) ## throughput beside a plain Postfix, on this machine
	@$(BIN)/python -m bench $(ARGS)

oldest: ## the unit tests with the oldest dependencies that pyproject.toml allows, in .venv-oldest
	@$(PYTHON) -m venv .venv-oldest; mkdir -p .cache
	@.venv-oldest/bin/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		print(*[d.replace(">=", "==") for d in p["dependencies"] + sum(p["optional-dependencies"].values(), [])], sep="\n")' \
		>.cache/oldest.txt
	@.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -r .cache/oldest.txt
	@.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@.venv-oldest/bin/python -m pytest -q -n $(JOBS) --dist loadfile tests/unit $(ARGS)

audit: $(DEV_STAMP) ## known vulnerabilities in the installed dependencies
	@$(BIN)/pip-audit --skip-editable

peers: ## install the mail servers of the end-to-end tests, where root and apt are at hand
	@.ci/peers

tools: $(DEV_STAMP) ## fetch Helm 3 and 4 and the Kubernetes schemas for the chart's tests into .cache/
	@$(BIN)/python -m tests.support.helm

clean: ## remove everything that the other targets made
	@rm -rf $(VENV) .venv-oldest .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage* build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_STAMP): pyproject.toml
	@.ci/venv $(VENV) fast $@

$(DEV_STAMP): pyproject.toml
	@.ci/venv $(VENV) fast,dev $@
