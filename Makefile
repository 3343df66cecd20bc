# The one menu. `make help` lists it; the same verbs run on a desk and in CI.
SHELL := /bin/bash
.DEFAULT_GOAL := help
# A distribution's own Python first: it is built with optimizations. One that pyenv compiled is not, and a quarter slower.
NAMES := python3.13 python3.12 python3.11 python3
PYTHONS := $(addprefix /usr/bin/,$(NAMES)) $(NAMES)
PYTHON ?= $(firstword $(foreach name,$(PYTHONS),$(shell $(name) -c 'import sys,venv,ensurepip; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := inference_core otel gateway model_service deploy tests

.PHONY: help up dev down status logs traces check test e2e bench bench-peers bench-hop cost soak chaos restarts goodput headofline reload shadow fuzz tensors screenshots proto lock

help: ## list these verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

up: .venv/installed ## install what is missing, start everything, return when it answers
	@$(BIN)/python -m deploy up

dev: .venv/installed ## the same, and reload the code of gateway and workers whenever a file is saved
	@$(BIN)/python -m deploy dev

down: .venv/installed ## stop everything; running requests end first
	@$(BIN)/python -m deploy down

status: .venv/installed ## what runs
	@$(BIN)/python -m deploy status

logs: .venv/installed ## follow the logs of all programs as one: make logs ARGS="--trace 4bf92f35"
	@$(BIN)/python -m deploy.logs $(ARGS)

traces: .venv/installed ## ask the stored traces: make traces ARGS="find --status failed"
	@$(BIN)/python -m otel.store $(or $(ARGS),--help)

check: .venv/developed ## floors, style, types, sizes
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/house

test: .venv/developed ## the whole suite, two files at a time, with the real supervisord, grpcurl and Jaeger; one at a time: ARGS="-n 0"
	$(BIN)/python -m pytest -n 2 -p no:benchmark $(ARGS)

e2e: .venv/developed ## only the tests that start the real system
	$(BIN)/python -m pytest -m e2e

chaos: .venv/installed ## faults under load, on a system of its own: what clients notice, how long until all is back
	@$(BIN)/python -m deploy.chaos $(ARGS)

goodput: .venv/installed ## overload on a system of its own: answers in time, refusals, recovery (needs two cores)
	@$(BIN)/python -m deploy.goodput $(ARGS)

reload: .venv/developed ## models come and go under load: does a request fail, does memory come back?
	@$(BIN)/python -m deploy.reload $(ARGS)

headofline: .venv/installed ## whether a quick model keeps its p99 while 200 requests wait for a slow one
	@$(BIN)/python -m deploy.headofline $(ARGS)

shadow: .venv/installed ## whether a shadow version makes the requests that it mirrors slower
	@$(BIN)/python -m deploy.shadow $(ARGS)

restarts: .venv/installed ## the metrics before and after 200 killed workers: right, and no larger?
	@$(BIN)/python -m deploy.restarts $(ARGS)

fuzz: .venv/installed ## every route by its own description, for a minute, on a system of its own
	@$(BIN)/python -m deploy.fuzz $(ARGS)

tensors: .venv/installed ## 5 and 50 MB through REST and gRPC on a system of its own: MB/s, copies in memory
	@$(BIN)/python -m deploy.tensors $(ARGS)

screenshots: .venv/developed ## photograph the console in light and dark into docs/console (needs chromium)
	@$(BIN)/python -m tests.e2e.screenshots $(or $(ARGS),docs/console)

bench: .venv/developed ## ours against a FastAPI monolith, about 7 minutes; options: make bench ARGS="--quick"
	@$(BIN)/python -m deploy.bench compare $(ARGS)

bench-peers: .venv/developed ## the same with mosec, Triton, LitServe and MLServer, about 25 minutes
	@$(BIN)/python -m deploy.bench compare --peers all $(ARGS)

bench-hop: .venv/developed ## what a call from gateway to worker costs, in microseconds
	@$(BIN)/python -m pytest tests/bench/hop.py --benchmark-columns=min,median,iqr,rounds $(ARGS)

cost: .venv/developed ## what tracing, metrics and logs cost, off against on, about 8 minutes
	@$(BIN)/python -m deploy.bench cost $(ARGS)

soak: .venv/developed ## ten minutes at 80 % of the capacity: does memory or latency grow?
	@$(BIN)/python -m deploy.bench soak $(ARGS)

proto: .venv/developed ## generate proto/inference_pb from proto/*.proto
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iinference_pb=proto \
	  --python_out=proto --pyi_out=proto --grpc_python_out=proto --mypy_grpc_out=quiet:proto \
	  inference_pb/inference.proto inference_pb/open_inference.proto

lock: .venv/developed ## resolve the dependencies of pyproject.toml anew (needs uv)
	uv pip compile pyproject.toml --extra install --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --quiet -o deploy/requirements.lock
	uv pip compile pyproject.toml --extra install --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --quiet -c deploy/requirements.lock -o deploy/requirements-dev.lock

.venv/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed: apt-get install python3 python3-venv, then try again."; exit 1; }
	@echo "Creating .venv with $(PYTHON) ..."
	@$(PYTHON) -m venv .venv && touch $@

.venv/installed: .venv/python deploy/requirements.lock pyproject.toml
	@echo "Installing the pinned dependencies (about a minute the first time) ..."
	@$(PIP) install --require-hashes -r deploy/requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e . && touch $@

.venv/developed: .venv/installed deploy/requirements-dev.lock
	@echo "Installing what the tests and checks need ..."
	@$(PIP) install --require-hashes -r deploy/requirements-dev.lock && touch $@
