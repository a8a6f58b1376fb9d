# Palier's targets. `make run` and `make test` do everything on a fresh machine.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
# Two workers, each with services of its own (3 GB); a file's tests stay together, since they share what is trained.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup run stop status check test fast-tests soak demo-rollback docs locks

help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

run: setup ## Start everything, run the weekly loop once through Airflow on the sample documents, and answer
	.venv/bin/palier run

setup: .venv/lock.txt ## Make the environment only

.venv/lock.txt: requirements/dev.txt pyproject.toml | $(UV)
	@echo "Installing the environment (a few minutes the first time, seconds from a warm cache)"
	$(UV) venv --quiet --allow-existing --python 3.11 .venv
	$(UV) pip sync --quiet --python $(PYTHON) --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --editable .
	cp requirements/dev.txt .venv/lock.txt

.uv/bin/uv:
	python3 -m venv .uv && .uv/bin/pip install --quiet uv

stop: ## Stop every service that was started here
	@if [ -x .venv/bin/palier ]; then .venv/bin/palier services down; else echo "Nothing was ever started here."; fi

status: ## Say which services run, and what is released
	.venv/bin/palier services status
	.venv/bin/palier release status

check: setup ## Format, lint, types, import arrows, fast tests
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(MAKE) --no-print-directory fast-tests

fast-tests: setup ## The tests that need no service and train nothing
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) -m "not service and not model and not browser"

test: setup ## Everything: the checks, then all tests with real services
	$(MAKE) --no-print-directory check
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) -m "service or model or browser"

soak: setup ## Only the tests that kill processes (ledger writer, training)
	$(PYTHON) -m pytest -m "soak"

demo-rollback: setup ## Start a worse release on purpose and watch it roll itself back (needs `make run` before)
	.venv/bin/palier demo-rollback

docs: setup ## Regenerate docs/cli.md, docs/dags.md and docs/openapi.json
	$(PYTHON) docs/generate.py

locks: $(UV) ## Compile requirements/*.txt from pyproject.toml
	PATH="$(CURDIR)/.uv/bin:$$PATH" requirements/lock.sh
