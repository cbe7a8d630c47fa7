# What a developer runs. Every target makes its virtual environment first, when there is none or when pyproject.toml or
# constraints.txt is newer than it; nothing else has to be installed before. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# Arguments of the targets below; `make help` says which takes which.
FLIGHTS ?= 20000
KILL ?=
SECONDS ?= 60
SEED ?=
SCENARIO ?= all
TESTS ?= tests
JOBS ?= 2
COUNT ?= 50000

.PHONY: help demo test check format bench simulate chaos stack-up stack-down clean

help: ## this list
	@echo "make TARGET [NAME=value]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## a day's work on real flights, checked at the end  (FLIGHTS=20000|all, KILL=1 kills a worker halfway)
	@$(BIN)/python -m examples.flights.demo --flights $(FLIGHTS) $(if $(KILL),--kill)

test: check ## the gates, then every test, on brokers and stores of their own, one pair a job  (TESTS=path, JOBS=2)
	@PYTHONHASHSEED=$${PYTHONHASHSEED:-$$RANDOM} $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(TESTS)

check: $(READY) ## the gates alone: ruff, formatting, mypy, import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY) ## let ruff put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## throughput and latency beside loops without a runtime, and the flights  (COUNT=50000)
	@$(BIN)/python -m bench --count $(COUNT)

simulate: $(READY) ## the engine under random crashes, in memory  (SECONDS=60, SEED=n to repeat a run)
	@$(BIN)/python -m tests.simulator --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

chaos: $(READY) ## crash scenarios at full length on real servers  (SCENARIO=F9|...|all, SEED=n)
	@$(BIN)/python -m tests.chaos $(SCENARIO) $(if $(SEED),--seed $(SEED))

stack-up: $(READY) ## a broker and a store that stay; prints the variables for your shell
	@$(BIN)/barnabas stack up

stack-down: $(READY) ## end them; their data stays
	@$(BIN)/barnabas stack down

clean: ## remove what was made here: environment, caches, data of the dev stack
	@if [ -d .barnabas ] && [ -x $(BIN)/barnabas ]; then $(BIN)/barnabas stack down; fi
	rm -rf $(VENV) .barnabas build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { \
		echo "No '$(PYTHON)' on PATH. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Barnabas needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version). Name a newer one: make PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: it lacks venv or ensurepip. On Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; }
	@echo "Preparing $(VENV) ..."
	@$(BIN)/python -c '' 2> /dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade pip
	@$(BIN)/python -m pip install --quiet -c constraints.txt --build-constraint constraints.txt --group test -e '.[admin,dev,fast]'
	@touch $@
