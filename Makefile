# Planimeter. `make` lists what can be made. PYTHON=python3.12 picks another interpreter (3.11 or newer).
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -P -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format bench train clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: .venv/installed ## a node, a toy PACS and a synthetic chest CT, end to end; STUDY=folder takes your own images
	$(BIN)/planimeter demo $(if $(STUDY),"$(STUDY)") --out demo

test: .venv/installed-dev ## every check: lint, types, import contracts, behaviour; PLANIMETER_DATA=folder adds real images
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: .venv/installed-dev ## the long forms: minutes of outage
	$(PYTEST) -m slow $(ARGS)

lint: .venv/installed-dev ## only lint, types and import contracts
	$(PYTEST) tests/test_architecture.py $(ARGS)

format: .venv/installed-dev ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed-dev ## seconds per stage and peak memory of the whole way of a 300-slice CT
	$(BIN)/python -P -m tests.bench.whole_way $(ARGS)

train: .venv/installed-dev ## train ct_lungs again from DATA=folder of the imaging data; takes hours without a GPU
	@test -n "$(DATA)" || { echo "make train: say where the imaging data is: make train DATA=folder"; exit 2; }
	$(BIN)/python -P -m tests.training.ct_lungs "$(DATA)" $(ARGS)

clean: ## remove the environment and everything that was made
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Planimeter needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on --editable .
	@touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on --editable '.[dev]'
	@touch .venv/installed $@
