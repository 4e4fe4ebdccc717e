# Tally. Every recipe is one call into scripts/ or a tool, so that it can be read and repeated by hand.
# `make` or `make help` lists the targets.

PYTHON ?= python3
SIM_PORT ?= 8080
COLLECTOR_PORT ?= 8081
HEAP ?= 64k
STATE ?=
ARGS ?=
TESTS ?= host_tests
JOBS ?= 3
PYTEST_ARGS ?=
REQUESTS ?= 100000

# The board: which port, how the tools talk to it, and what the commands do there.
PORT ?=
BAUD ?=
ESPTOOL_ARGS ?=
MPREMOTE_ARGS ?=
FIRMWARE ?=
FIRMWARE_SHA256 ?=
FORCE ?=
KEEP_DATA ?=
SSID ?=
SET ?=
LOG_LEVEL ?=
TO ?=
FROM ?=
FILE ?=

VENV_PYTHON := .venv/bin/python
SETUP := $(PYTHON) scripts/setup.py
BOARD = --port="$(PORT)" --baud="$(BAUD)" --esptool-args="$(ESPTOOL_ARGS)" --mpremote-args="$(MPREMOTE_ARGS)"
IMAGE = --firmware="$(FIRMWARE)" --firmware-sha256="$(FIRMWARE_SHA256)"
FORCED = $(if $(filter 1,$(FORCE)),--force)
# These reach scripts.provision through the environment only: no process list shows them, and a $ in them is only a $.
BY_ENVIRONMENT := SSID PASSWORD SET CA
$(foreach v,$(BY_ENVIRONMENT),$(if $(filter command,$(origin $v)),$(eval override export $v := $$(value $v))))

.DEFAULT_GOAL := help
.PHONY: help setup sim flash deploy provision log doctor repl reset backup restore read-log erase firmware image \
	test-board build size collector bench bench-long test lint format clean

## First steps
help: ## list the targets
	@$(PYTHON) -m scripts.make_help Makefile

setup: ## install everything into the checkout (every target does this by itself)
	@$(SETUP) dev

sim: ## run the whole device here: SIM_PORT= COLLECTOR_PORT= HEAP= STATE= ARGS="--no-wifi ..." (ARGS=--help)
	@$(SETUP) sim
	@$(VENV_PYTHON) -m scripts.sim --port "$(SIM_PORT)" --collector-port "$(COLLECTOR_PORT)" \
		--heap "$(HEAP)" --state "$(STATE)" $(ARGS)

## A board (PORT= BAUD= ESPTOOL_ARGS= MPREMOTE_ARGS= for all that talk to one)
flash: ## write MicroPython v1.24.1 with our flash layout (FIRMWARE= FIRMWARE_SHA256= FORCE=1 KEEP_DATA=1)
	@$(SETUP) board
	@$(VENV_PYTHON) -m scripts.flash $(BOARD) $(IMAGE) $(FORCED) $(if $(filter 1,$(KEEP_DATA)),--keep-data)

deploy: ## build, send what changed, restart, wait until the pages are up
	@$(SETUP) board
	@$(VENV_PYTHON) -m scripts.deploy $(BOARD)

provision: ## tell the board its Wi-Fi and other settings (SSID= PASSWORD= SET="name=value ..." CA=ca.pem; asks for what is missing)
	@$(SETUP) board
	@$(VENV_PYTHON) -m scripts.provision $(BOARD)

log: ## follow the serial log; Ctrl-C leaves the board running (LOG_LEVEL=WARNING)
	@$(SETUP) board
	@$(VENV_PYTHON) -m scripts.monitor $(BOARD) --level="$(LOG_LEVEL)"

doctor: ## what is right and wrong with this machine and the board, and what to do about it
	@$(SETUP) board
	@$(VENV_PYTHON) -m scripts.doctor $(BOARD)

repl: ## the board's Python prompt; Ctrl-] leaves, `make reset` starts the application again
	@$(SETUP) board
	@$(VENV_PYTHON) -m scripts.board repl $(BOARD)

reset: ## restart the board
	@$(SETUP) board
	@$(VENV_PYTHON) -m scripts.board reset $(BOARD)

backup: ## settings without secrets, readings and counters into a folder (TO=)
	@$(SETUP) board
	@$(VENV_PYTHON) -m scripts.backup backup $(BOARD) --to="$(TO)"

restore: ## put a backup back (FROM= FORCE=1)
	@$(SETUP) board
	@$(VENV_PYTHON) -m scripts.backup restore $(BOARD) --from="$(FROM)" $(FORCED)

read-log: ## the log of a backup as CSV, or a check of it (FILE= ARGS="--check ...", ARGS=--help)
	@$(SETUP) sim
	@$(VENV_PYTHON) -m scripts.read_log "$(FILE)" $(ARGS)

erase: ## erase the whole flash (FORCE=1)
	@$(SETUP) board
	@$(VENV_PYTHON) -m scripts.board erase $(BOARD) $(FORCED)

firmware: ## fetch the MicroPython image once and check it (FIRMWARE= FIRMWARE_SHA256=)
	@$(SETUP) sim
	@$(VENV_PYTHON) -m scripts.firmware $(IMAGE)

image: ## one factory image with the application inside, also for flashing from a browser (FIRMWARE= FIRMWARE_SHA256=)
	@$(SETUP) board
	@$(VENV_PYTHON) -m scripts.image $(IMAGE)

## Development
test: ## all tests: pure logic, the compiled app on the VM, a journey in a browser (TESTS= JOBS= PYTEST_ARGS=)
	@$(SETUP) dev
	@$(VENV_PYTHON) -m pytest -n $(JOBS) --dist loadfile $(TESTS) $(PYTEST_ARGS)

test-board: ## the journey from flash to log on a real board, which is erased (PORT= is needed; SSID= PASSWORD=)
	$(if $(PORT),,$(error name the board, which is erased: make test-board PORT=/dev/ttyACM0))
	@$(SETUP) dev
	@$(VENV_PYTHON) -m pytest host_tests/test_journey.py --port="$(PORT)" --esptool-args="$(ESPTOOL_ARGS)" \
		--firmware="$(FIRMWARE)" $(PYTEST_ARGS)

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

bench: ## our HTTP server beside microdot, the store, one POST beside requests: sizes, heap, speed (ARGS="--json FILE --rounds N")
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
