# Trident: `make serve` and `make test` are all a fresh machine needs.
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
PY := .venv/bin/python

# SOURCE=<adapter> DATA=<folder> SEED=<n> SIZE=tiny|default
ifdef SOURCE
export TRIDENT_SOURCE := $(SOURCE)
endif
ifdef DATA
export TRIDENT_DATA := $(DATA)
endif
ifdef SEED
export TRIDENT_SEED := $(SEED)
endif
ifdef SIZE
export TRIDENT_SIZE := $(SIZE)
endif

.PHONY: help setup serve demo test check bench plan doctor lock clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "  options: SOURCE=<adapter> DATA=<folder> SEED=<n> SIZE=tiny|default PYTHON=<python3.11 to 3.13>"

setup: ## everything the other commands need; a second run takes no time
	@$(PYTHON) deploy/local/setup.py

serve: setup ## sample data → pipeline → release → Redis, Triton and the API in the foreground
	@$(PY) -m deploy.local serve

demo: setup ## as serve, but ask for a few recommendations, print them and stop
	@$(PY) -m deploy.local demo

test: setup ## the whole test suite, with a real Triton and a real Redis
	@$(PY) -m pytest $(ARGS)

check: setup ## lint and types
	@$(PY) -m ruff check .
	@$(PY) -m mypy

bench: setup ## the whole path and its stages beside their peers, interleaved
	@$(PY) -m perf compare --json $(ARGS)

plan: setup ## capacity report: replicas, GPUs, Redis for a target load; ARGS="--rate 10000 --report plan.html"
	@$(PY) -m perf plan $(ARGS)

doctor: setup ## what this machine has, lacks or has wrong
	@$(PY) -m deploy.local doctor

lock: setup ## resolve the lock files again
	@$(PY) -m deploy.local lock

clean: ## remove what was generated: data, releases, caches
	@$(PYTHON) deploy/local/clean.py

distclean: clean ## and both environments
	rm -rf .venv .venv-triton .tools
