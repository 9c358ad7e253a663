# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv first; the second time that is quick.
#
#   make install PYTHON=python3.12     another interpreter
#   TORCH=cuda make install            the ordinary torch on a machine whose GPU was not found (or TORCH=cpu)

.DEFAULT_GOAL := help
# Two at a time: upstream's environment is made while the code is checked.
MAKEFLAGS += --no-print-directory --jobs=2

# The first Python that is new enough.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$python && break; done)
ENVIRONMENT = @$(or $(PYTHON),$(error no Python 3.10 or newer found; name one: make PYTHON=/path/to/python3)) scripts/environment.py
BIN := .venv/bin
# The text of `make demo`: make demo TEXT="The first words it says are mine."
TEXT ?=
export TEXT
# Parts of `make gpu`: make gpu PARTS="correct-encode encode"
PARTS ?=
# Arguments for pytest, as in: make test-fast PYTEST_ARGS='-n 0 -k streaming -x', in a single process
PYTEST_ARGS ?=
# conftest.py sorts the tests for two processes.
PYTEST := -m pytest -n 2 --no-loadscope-reorder

.PHONY: help install demo figures gpu test test-fast test-newest test-oldest test-agents parity lint format docs upstream agents clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | expand -t 14

demo:  ## say TEXT="..." in four voices, and send a recording to codes and back
	$(ENVIRONMENT) demo
	@$(BIN)/neucodec-tts demo $(if $(TEXT),"$$TEXT")

install:  ## make .venv with the project and all that tests and linters need
	$(ENVIRONMENT) dev

figures: install  ## how well tiny speaks and clones, in half an hour; needs Debian, npm and a compiler
	@$(BIN)/python -m pip install --quiet av onnxruntime scipy faster-whisper rapidfuzz jiwer resemblyzer librosa pandas
	@$(BIN)/python examples/train_codec/recordings.py --out data/people --evaluation
	@$(BIN)/python examples/train_codec/make_corpus.py --bulk-hours 0 --voice-hours 0 --crowd-hours 0
	@$(BIN)/python examples/train_codec/evaluate.py tiny

gpu: install  ## check and time the codec on a GPU, in eight minutes; writes docs/benchmarks_gpu.md
	$(BIN)/python benchmarks/gpu.py $(PARTS)

test: lint docs upstream agents  ## lint, types, import directions, the site, and every test, those with upstream and agents included
	.venv-agents/bin/python -m pytest tests/agents -q
	$(BIN)/python $(PYTEST) $(PYTEST_ARGS)

test-fast: lint  ## the same without the comparison with upstream, which needs an environment of its own
	$(BIN)/python $(PYTEST) -m 'not upstream' $(PYTEST_ARGS)

test-newest:  ## the tests but vLLM's and upstream's with the newest release of every dependency
	$(ENVIRONMENT) newest
	.venv-newest/bin/python $(PYTEST) -m 'not upstream and not vllm' $(PYTEST_ARGS)

test-oldest:  ## the same with the oldest releases that pyproject.toml allows
	$(ENVIRONMENT) oldest
	.venv-oldest/bin/python $(PYTEST) -m 'not upstream and not vllm' $(PYTEST_ARGS)

test-agents: install agents  ## LiveKit Agents and Pipecat on a real server, in an environment of their own
	.venv-agents/bin/python -m pytest tests/agents $(PYTEST_ARGS)

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

docs: install  ## build the documentation into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

upstream: install  ## make .venv-upstream, the environment that the parity tests take their reference from
	$(ENVIRONMENT) upstream

agents:  ## make .venv-agents, with LiveKit Agents and Pipecat, which the tests of their adapters need
	$(ENVIRONMENT) agents

clean:  ## remove the environments and all caches
	rm -rf .venv .venv-* build dist site .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
