# Trademk1. `make` alone lists what there is.
.DEFAULT_GOAL := help
SHELL := bash
PY := .venv/bin/python
STAMP := .venv/.installed

PROCESSES ?= $(shell nproc)
AT_ONCE = $$(( $(PROCESSES) < 4 ? $(PROCESSES) : 4 ))
COMPILE := .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header

.PHONY: help setup up check test simulate defects faults compose-test chaos flood docs docs-serve lock fmt clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv and install the pinned requirements

$(STAMP): requirements/dev.txt requirements/uv.txt pyproject.toml
	@bash tools/setup.sh

up: setup ## start everything: servers, paper broker, API and engine; prints where to look
	@exec .venv/bin/oms up

check: setup ## the quick one: format, lint, types, imports, unit tests
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo 2>&1 | tail -n 30
	@.venv/bin/pytest -q tests/unit -n $(AT_ONCE) --dist loadfile

# In as many processes as there are cores (at most four: each has its servers), a file's tests in one; then what the paper broker answered in all of them.
JUDGE := tests/acceptance/openapi/test_every_answer.py
test: check ## every test, on real servers that the tests start themselves
	@answers=$$(mktemp) && trap 'rm -f "$$answers"' EXIT && \
	.venv/bin/pytest -q tests --ignore=tests/unit --ignore=tests/compose --timeout=600 --answers "$$answers" \
	  -n $(AT_ONCE) --dist loadfile --no-loadscope-reorder --durations=25 && \
	.venv/bin/pytest -q $(JUDGE) --answers "$$answers"

faults: setup ## the fault matrix: kills, cuts and lost answers on real processes; ROWS="5 16" for some of them
	@$(PY) -m tests.faults $(ROWS)

SEEDS ?= 300
FIRST ?= 0
simulate: setup ## the deterministic simulation: SEEDS=20000 FIRST=0 PROCESSES=2; its last line is the figure
	@$(PY) -m tests.simulation --seeds $(SEEDS) --first $(FIRST) --processes $(PROCESSES)

defects: setup ## plant deliberate defects one by one: the simulation must catch each; prints how many seeds each took
	@$(PY) -m tests.simulation.defects --processes $(PROCESSES)

compose-test: setup ## every docker command of the guide, where a Docker engine answers (else skipped, saying so)
	@! $(PY) -m tests.compose.docker || .venv/bin/pytest -q tests/compose --timeout=1800

chaos: setup ## kill and freeze parts at random while signals flow: MINUTES=30 [SEED=n]; the last line has the figures
	@$(PY) -m tests.chaos --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

docs: setup ## build the documentation into site/, every link and anchor in it checked
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
	@echo "Built: site/index.html"

docs-serve: setup ## the documentation at http://127.0.0.1:8200, built again at each change; Ctrl-C stops it
	@NO_MKDOCS_2_WARNING=1 exec .venv/bin/mkdocs serve --strict --dev-addr 127.0.0.1:8200

flood: setup ## bad input at full rate while good signals flow: SECONDS=60; the last line has the figures
	@$(PY) -m tests.flood --seconds $(or $(SECONDS),60)

fmt: setup ## format and mend what can be mended by itself
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

lock: setup ## pin the dependencies anew, with hashes
	@$(COMPILE) pyproject.toml -o requirements/app.txt
	@$(COMPILE) -c requirements/app.txt --extra dev --extra docs pyproject.toml -o requirements/dev.txt
	@printf '%s\n' pytest pytest-asyncio pytest-timeout | $(COMPILE) -c requirements/dev.txt pyproject.toml - -o requirements/container.txt
	@echo hatchling | $(COMPILE) -c requirements/dev.txt - -o requirements/build.txt
	@echo 'uv==0.13.9' | $(COMPILE) - -o requirements/uv.txt
	@printf '%s\n' alpaca-mcp-server==2.4.0 openapi-core schemathesis | $(COMPILE) - -o requirements/clients-openapi.txt
	@echo 'alpaca-trade-api==3.2.0' | $(COMPILE) - -o requirements/clients-legacy.txt

clean: ## remove what make made (the data folder stays)
	@rm -rf site .venv .venv-clients .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
