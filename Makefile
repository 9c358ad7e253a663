# Two commands on a fresh machine: `make demo` and `make test`. Both install into .venv first, which is
# quick the second time.
#
#   make install PYTHON=python3.12     another interpreter
#   TORCH=cuda make install            the ordinary torch on a machine whose GPU was not found (or TORCH=cpu)

.DEFAULT_GOAL := help
# Two at a time: upstream's environment is installed while the types are checked.
MAKEFLAGS += --no-print-directory --jobs=2

# The first Python that is new enough.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
# What `make demo` says, as in: make demo TEXT="The first words it says are mine."
TEXT ?=
export TEXT
# Arguments for pytest, as in: make test-fast PYTEST_ARGS='-n 0 -k streaming -x', in a single process
PYTEST_ARGS ?=
PYTEST := $(BIN)/python -m pytest -n 2

.PHONY: help install demo figures test test-fast parity lint format upstream browser clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | expand -t 14

install:  ## make .venv with the project and all that it needs
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 or newer found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) scripts/install.py

demo: install  ## say TEXT="..." in three voices, and send a recording to codes and back
	@$(BIN)/neucodec-tts demo $(if $(TEXT),"$$TEXT")

figures: install  ## how well tiny speaks and clones, in ten minutes; needs Debian, for flite, and a compiler
	@$(BIN)/pip install --quiet pocketsphinx jiwer resemblyzer
	@$(BIN)/python examples/train_tiny/evaluate_voice.py tiny

test: lint upstream browser  ## lint, types, import directions, and every test, parity with upstream included
	$(PYTEST) $(PYTEST_ARGS)

test-fast: lint browser  ## the same without the comparison with upstream, which needs an environment of its own
	$(PYTEST) -m 'not upstream' $(PYTEST_ARGS)

parity: upstream  ## compare with upstream and transformers, and print how far they agree
	$(BIN)/python -m pytest tests/parity $(PYTEST_ARGS)

lint: install  ## ruff, mypy and the import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

upstream: install  ## make .venv-upstream, the environment that the parity tests take their reference from
	@$(BIN)/python scripts/upstream_env.py >/dev/null

browser: install  ## install Chromium for one test, as root on Debian; BROWSER=no leaves it out
	@$(BIN)/python scripts/browser.py

clean:  ## remove the environments and all caches
	rm -rf .venv .venv-upstream build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
