# Every word sets up what it needs: on a bare Linux machine with Python 3.11 or newer, start with any of them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
  $$p -c '$(SUITABLE)' 2>/dev/null && { echo $$p; break; }; done)
DEMO ?= demo
DATA ?= ../shared/data
ARGS ?=

.PHONY: help setup demo test lint docs fix bench bench-accuracy soak clean

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(READY) ## virtual environment in .venv with gpuseg (editable) and all that testing and docs need

$(READY): pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 to 3.14 is needed and none was found." \
	  "Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c '$(SUITABLE)' || { echo "$(PYTHON) is $$($(PYTHON) --version)," \
	  "gpuseg needs Python 3.11 to 3.14" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
	  exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,docs,dev]'
	@touch $@

demo: $(READY) ## segment a real image into demo/ and show how to do it on your own
	$(BIN)/gpuseg demo -o $(DEMO)

test: $(READY) ## all that CI checks; make test ARGS="-k hessian" runs only the tests you choose
ifneq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest $(ARGS)
else
	@$(MAKE) --no-print-directory -j2 --output-sync lint docs demo DEMO=docs/_build/demo  # demo compiles kernels
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report term:skip-covered --cov-fail-under 95
endif

lint: $(READY) ## style, types, size budgets, generated tables
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/python tools/line_counts.py
	$(BIN)/python tools/gen_tables.py --check
	$(BIN)/python benchmarks/tables.py --check

docs: $(READY) ## HTML pages in docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

fix: $(READY) ## mend what a tool can mend: imports, format, generated tables
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python tools/gen_tables.py
	$(BIN)/python benchmarks/tables.py

bench: $(READY) ## side-by-side benchmarks; adds rows to benchmarks/results
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-accuracy: $(READY) ## objects in the images of DATA against what people found; adds rows to benchmarks/results
	$(BIN)/python benchmarks/accuracy_objects.py $(DATA) $(ARGS)

soak: $(READY) ## the long tests: many mutants, many tilings
	$(BIN)/python -m pytest -m soak $(ARGS)

clean: ## remove what the other words made
	rm -rf $(VENV) docs/_build demo dist build .coverage .pytest_cache .mypy_cache .ruff_cache
