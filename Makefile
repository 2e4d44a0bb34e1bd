# Targets for people. `make` lists them; VENV= uses the active environment instead of .venv.
STUDY  ?= quick
DEVICE ?= auto
SET    ?=
PORT   ?= 5000
PYTHON ?= python3
VENV   ?= .venv
RAY    ?=
TEAM_FOLDER        ?= team
TEAM_PORT          ?= 5001
TEAM_DATABASE_PORT ?= 5433
TEAM_RAY_PORT      ?= 6379

export MLFLOW_DISABLE_TELEMETRY = true
export DO_NOT_TRACK = true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION = false

ifeq ($(strip $(VENV)),)
  BIN   :=
  READY :=
  TESTS :=
else
  BIN   := $(VENV)/bin/
  READY := $(VENV)/.installed
  TESTS := $(VENV)/.installed-test
endif
RUN    := $(BIN)python
STORE   = $(or $(MLFLOW_TRACKING_URI),sqlite:///mlruns/mlflow.db)
TEAM_OPTIONS = --folder '$(TEAM_FOLDER)' --port $(TEAM_PORT) --database-port $(TEAM_DATABASE_PORT) --ray-port $(TEAM_RAY_PORT)
SETS    = $(foreach pair,$(SET),--set '$(pair)')

.DEFAULT_GOAL := help
.PHONY: help setup benchmark replicate plan status report claims export findings calibrate throughput scaling ui team-up team-down lint test fuzz test-team test-gpu soak contracts clean

help: ## list the targets (this)
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo 'Variables: STUDY=$(STUDY) DEVICE=$(DEVICE) SET="key=value ..." PORT=$(PORT) VENV=$(VENV)'

setup: $(READY) ## create .venv with the pinned requirements (other targets do it themselves)

benchmark: $(READY) ## run STUDY on whatever device there is, write its report, print the report's path
	@$(RUN) -m benchmark run $(STUDY) --device $(DEVICE) $(SETS); code=$$?; \
	  if [ $$code -gt 1 ]; then exit $$code; fi; \
	  $(RUN) -m analysis report $(STUDY) && exit $$code

plan: $(READY) ## show STUDY's trials and the time to expect; trains nothing
	@$(RUN) -m benchmark plan $(STUDY) --device $(DEVICE) $(SETS)

status: $(READY) ## show how far STUDY has come
	@$(RUN) -m benchmark status $(STUDY) $(SETS)

replicate: $(READY) ## run STUDY once more on unused seeds and another split, and print both verdicts of every claim
	@$(RUN) -m benchmark replicate $(STUDY) --device $(DEVICE) $(SETS) && $(RUN) -m analysis replications $(STUDY)

report: $(READY) ## write STUDY's report from what was logged
	@$(RUN) -m analysis report $(STUDY)

claims: $(READY) ## print STUDY's verdicts
	@$(RUN) -m analysis claims $(STUDY)

export: $(READY) ## write STUDY's results into docs/data, as small files that a repository can carry
	@$(RUN) -m analysis export $(STUDY)

findings: $(READY) ## write docs/findings.md and the README's answer from docs/data; trains nothing
	@$(RUN) -m analysis findings --readme README.md

calibrate: $(READY) ## measure the verdict rules' error rates by simulation
	@$(RUN) -m analysis calibrate

throughput: $(READY) ## measure images per second on DEVICE, against the usual script and the machine's limits
	@table=$$($(RUN) -m benchmark throughput --device $(DEVICE) | tee /dev/stderr | tail -n 1) && \
	  $(RUN) -m analysis throughput "$$table"

scaling: $(READY) ## measure how many workers one runner can serve, by workers that only sleep; minutes
	@folder=$$(mktemp -d) && { $(RUN) tests/scaling.py "$$folder"; code=$$?; rm -rf "$$folder"; exit $$code; }

ui: $(READY) ## serve the MLflow UI on 127.0.0.1:PORT
	@store='$(STORE)'; case $$store in http*) echo "MLflow's server is at $$store"; exit;; sqlite:///*) \
	  set -- --artifacts-destination "$$(dirname "$${store#sqlite:///}")/artifacts";; esac; \
	  exec $(RUN) -m mlflow server --backend-store-uri "$$store" "$$@" --host 127.0.0.1 --port $(PORT) --workers 1

team-up: $(TESTS) ## start a team's stores on this machine, in TEAM_FOLDER; RAY=1: a Ray head, too
	@$(RUN) deploy/team.py up $(TEAM_OPTIONS) $(if $(RAY),--ray)

team-down: $(TESTS) ## stop them; what they keep stays
	@$(RUN) deploy/team.py down $(TEAM_OPTIONS)

lint: $(TESTS) ## ruff and mypy
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy

test: $(TESTS) ## the test suite, two tests at a time
	$(RUN) -m pytest -n 2 --dist loadgroup

fuzz: $(TESTS) ## thousands of odd studies, overrides, command lines and folders of images
	$(RUN) -m pytest tests/fuzz --hypothesis-profile=fuzz

test-team: $(TESTS) ## the tests that start servers of their own (PostgreSQL, MLflow's); minutes
	$(RUN) -m pytest -m team

test-gpu: $(TESTS) ## the tests that need a CUDA device, on it; they skip themselves where there is none
	$(RUN) -m pytest -m cuda

soak: $(TESTS) ## attack a study with real faults (ONLY= one kind of them), and print what was lost: under an hour
	$(RUN) -m pytest -q -m soak
	PYTHONPATH=.:tests $(RUN) -m soak $(ONLY)

contracts: $(TESTS) ## the contract tests again, with other kernels of the processor, which round otherwise
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(RUN) -m pytest -n 2 --dist loadgroup tests/test_contracts.py

clean: ## remove caches; never mlruns/
	rm -rf .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# The lock for tests holds every pin of the product's and more, so it serves both.
# An interrupted installation is gone on with even where an earlier one had ended well.
BROKEN := $(if $(wildcard $(VENV)/.installing),repair)
.PHONY: repair

$(VENV)/.installed: requirements.lock $(BROKEN)
	@[ ! -e $(VENV)/.installing ] && [ $(VENV)/.installed-test -nt $@ ] && [ $(VENV)/.installed-test -nt $< ] || $(call install,$<)
	@touch $@

$(VENV)/.installed-test: requirements-test.lock $(BROKEN)
	@$(call install,$<)
	@touch $@ $(VENV)/.installed

# .installing stands while an installation is under way: if one is found, it was interrupted, and the
# environment is made anew.
define install
{ $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || { echo 'error: expected Python 3.11 or newer, found '"$$($(PYTHON) --version 2>&1)"'; set PYTHON=' >&2; exit 2; }; \
  echo 'installing $(1) into $(VENV): minutes the first time, seconds from the cache'; \
  if [ -e $(VENV)/.installing ] || [ ! -x $(VENV)/bin/uv ]; then \
    $(PYTHON) -m venv --clear $(VENV) && touch $(VENV)/.installing && $(VENV)/bin/pip install --quiet uv; \
  fi && touch $(VENV)/.installing \
  && $(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python -r $(1) && rm $(VENV)/.installing; }
endef
