# Requires python3 (3.11 or newer) and a package index; make setup installs everything else into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := requirements/dev.txt
PYTEST_ARGS ?=

# INPUTS reaches the demo and the planner unchanged: neither make nor a shell may expand it.
unexport INPUTS FILE OWNER NAME VERSION DIGEST REGISTRY REPOSITORY
# Python compiles each module once, not in each process that tests start.
unexport PYTHONDONTWRITEBYTECODE
PORT ?= 8765
SPEED ?= 15
OPTIONS ?=
LONG ?=

.PHONY: help setup hooks demo sandbox sandbox-check plan adopt release package quick test coverage long browser check format render picture docs lock bench core statistics campaign breaks fuzz mutants e2e clean
help:  ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(VENV)/.installed  ## create .venv with everything that the other targets need

$(VENV)/.installed: $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Coval Gate needs Python 3.11 or newer: make PYTHON=python3.13 setup")'
	@scripts/setup $(PYTHON) $(VENV) $(LOCK)
	@touch $@

hooks: setup  ## make git check a commit's files before each commit
	$(BIN)/pre-commit install

demo: export DEMO_INPUTS = $(value INPUTS)
demo: setup  ## run the action against the local sandbox; INPUTS=nights a week of runs, INPUTS=list all demos, LONG=1 more output
	@$(BIN)/python -m coval_demo $(if $(LONG),--long) $(OPTIONS) || test $$? -eq 1 # 1: the run was red, and the log shows why

sandbox: setup  ## serve the local sandbox and a small GitHub until Ctrl-C; PORT, SPEED and OPTIONS=--help change it
	@$(BIN)/python -m coval_sandbox --history --relay --relay-ca $(VENV)/sandbox-ca.pem --port $(PORT) --speed $(SPEED) $(OPTIONS)

sandbox-check: export PROOF_FILE = $(value FILE)
sandbox-check: setup  ## print where Coval and the sandbox differ; FILE=proof.json, as doctor --launch writes it
	@$(BIN)/python scripts/proofs.py "$$PROOF_FILE"

plan: export PLAN_INPUTS = $(value INPUTS)
plan: setup  ## compute how many test cases a threshold needs; INPUTS="Resolved: rate(YES) >= 90% --truth 97%"
	@$(BIN)/python -m coval_planner

adopt: export ADOPT_OWNER = $(value OWNER)
# Some systems have a variable NAME of their own.
adopt: export ADOPT_NAME = $(if $(findstring command,$(origin NAME)),$(value NAME))
adopt:  ## put your copy's owner into examples and docs, and show how to publish it; OWNER=acme NAME=voice-gate
	@$(PYTHON) scripts/adopt.py

release: export RELEASE_VERSION = $(value VERSION)
release: export RELEASE_DIGEST = $(value DIGEST)
release: export RELEASE_REGISTRY = $(value REGISTRY)
release: export RELEASE_REPOSITORY = $(value REPOSITORY)
release:  ## turn this tree into a release after its image was pushed; VERSION=0.1.0 DIGEST=sha256:... REGISTRY=registry.example
	@$(PYTHON) scripts/release.py

package: setup  ## build wheel, source and locked requirements into dist/, reproducibly for each commit
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/uv build --quiet --no-build-isolation
	$(BIN)/python scripts/locks.py dist

quick: setup  ## run the unit tests
	$(BIN)/python -m pytest -m 'not long' --numprocesses auto --dist worksteal $(PYTEST_ARGS) tests/unit

test: setup  ## run the tests that need neither Docker nor Chromium
	$(BIN)/python -m pytest -m 'not e2e and not browser and not long' --numprocesses auto --dist worksteal $(PYTEST_ARGS)

coverage: PYTEST_ARGS += --cov
coverage: test  ## run make test, and fail if it covers less than 95 % of the branches

long: setup  ## run the long tests, as CI does: two hundred schedules of faults, and all combinations
	$(BIN)/python -m pytest -m long --numprocesses auto --dist worksteal $(PYTEST_ARGS)

browser: setup  ## test the HTML report in Chromium, which scripts/browser finds or installs
	CI=true $(BIN)/python -m pytest -m browser --numprocesses auto tests/browser

e2e: setup  ## build the image and run it in a real workflow (needs Docker)
	$(BIN)/python -m pytest -m e2e --numprocesses 2 --dist loadfile tests/e2e

check: setup  ## format, lint, types, workflows, Dockerfile, generated files
	@BIN=$(BIN) scripts/check

format: setup  ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

render: setup  ## write the files that are generated from the code
	$(BIN)/python scripts/render.py

picture: setup  ## draw the pictures of summaries and of the HTML report (needs Chromium and npm)
	$(BIN)/python scripts/picture.py

campaign: setup  ## check ten thousand schedules of faults and signals; two hundred are part of make long
	@$(BIN)/python tests/campaign --schedules 10000

fuzz: setup  ## search at random for inputs that break a property
	$(BIN)/python -m pytest -m 'hypothesis and not e2e and not browser' --hypothesis-profile random --numprocesses auto --dist worksteal $(PYTEST_ARGS)

breaks: setup  ## show that the campaign catches each of some deliberate mistakes
	@$(BIN)/python tests/campaign/breaks.py

mutants: setup  ## change the code at random, and show the changes that no test notices: make mutants PACKAGES=gate TESTS=tests/unit
	@$(BIN)/python scripts/mutants.py $(or $(PACKAGES),gate) --tests "$(or $(TESTS),tests/unit)" $(MUTANTS_ARGS)

bench: setup  ## measure the figures in docs/figures.md
	@$(BIN)/python -m bench

core: setup  ## print what a plain step loads and runs, file by file
	@$(BIN)/python scripts/core.py

statistics: setup  ## measure how often verdicts with a confidence are wrong, and what they detect (eleven minutes)
	@$(BIN)/python -m bench.noise

docs: setup  ## build the site into site/, with the report of a run against the sandbox, and check its links
	$(BIN)/python scripts/site.py
	$(BIN)/zensical build --clean --strict

lock: setup  ## resolve and lock the dependencies again
	BIN=$(BIN) scripts/lock

clean:  ## remove everything that the other targets created
	rm -rf $(VENV) build site .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
