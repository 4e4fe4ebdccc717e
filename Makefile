# Tally. Every recipe is one call into scripts/ or a tool, so that it can be read and repeated by hand.
# `make` or `make help` lists the targets.

PYTHON ?= python3
SIM_PORT ?= 8080
COLLECTOR_PORT ?= 8081
HEAP ?= 64k
STATE ?=
ARGS ?=
TESTS ?= host_tests
PYTEST_ARGS ?=
REQUESTS ?= 100000

VENV_PYTHON := .venv/bin/python
SETUP := $(PYTHON) scripts/setup.py

.DEFAULT_GOAL := help
.PHONY: help setup sim build size collector bench bench-long test lint format clean

## First steps
help: ## list the targets
	@$(PYTHON) -m scripts.make_help Makefile

setup: ## install everything into the checkout (every target does this by itself)
	@$(SETUP) dev

sim: ## run the whole device here: SIM_PORT= COLLECTOR_PORT= HEAP= STATE= ARGS="--no-wifi ..." (ARGS=--help)
	@$(SETUP) sim
	@$(VENV_PYTHON) -m scripts.sim --port "$(SIM_PORT)" --collector-port "$(COLLECTOR_PORT)" \
		--heap "$(HEAP)" --state "$(STATE)" $(ARGS)

## Development
test: ## all tests: pure logic, the compiled app on the VM, a journey in a browser (TESTS= PYTEST_ARGS=)
	@$(SETUP) dev
	@$(VENV_PYTHON) -m pytest $(TESTS) $(PYTEST_ARGS)

lint: ## ruff and pyright over everything
	@$(SETUP) dev
	@$(VENV_PYTHON) -m scripts.lint

format: ## let ruff format the host-side code
	@$(SETUP) dev
	@$(VENV_PYTHON) -m ruff format host_tests scripts

build: ## compile device/ into build/device, the tree of the board's file system
	@$(SETUP) sim
	@$(VENV_PYTHON) -m scripts.build

size: ## flash and heap bytes of every module, against the budget
	@$(SETUP) sim
	@$(VENV_PYTHON) -m scripts.size

bench: ## our HTTP server beside microdot: sizes, heap, garbage, speed (ARGS="--json FILE --rounds N")
	@$(SETUP) bench
	@$(VENV_PYTHON) -m host_tests.bench $(ARGS)

bench-long: ## very many requests to our HTTP server on 24 KB: no error, no leak (REQUESTS= ARGS=--help)
	@$(SETUP) sim
	@$(VENV_PYTHON) -m host_tests.bench.long --requests "$(REQUESTS)" $(ARGS)

collector: ## run the telemetry collector alone, for a real board to post to: COLLECTOR_PORT= ARGS="--db FILE"
	@$(SETUP) sim
	@$(VENV_PYTHON) -m scripts.collector --port "$(COLLECTOR_PORT)" $(ARGS)

clean: ## remove what was built and installed (.venv, .cache, build)
	rm -rf .venv .cache build .pytest_cache .ruff_cache .hypothesis
