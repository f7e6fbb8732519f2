# `make` without a target lists all targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
# Use the programs of .venv, whatever environment is active: `mlflow run` looks for `python` on the PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# With its default of 7, `mlflow run` waits four minutes for a server that is down.
export MLFLOW_HTTP_REQUEST_MAX_RETRIES ?= 2
RUN = mlflow run . --env-manager local
READY = .venv/ready
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check
# Compiled, since a process that may not write bytecode would else need ten seconds more to import TensorFlow and MLflow.
UV = .venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python
HOST = 127.0.0.1
PORT = 5000

# Make ignores unknown variables, so `make tune experiment=NAME` would tune everything.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
KNOWN := ARGS HOST PORT PYTHON KILLS WORKERS MLFLOW_HTTP_REQUEST_MAX_RETRIES
UNKNOWN := $(filter-out $(KNOWN),$(GIVEN))
ifneq ($(UNKNOWN),)
# Of the targets with ARGS, the others give parameters of their own, which `mlflow run` takes only once.
LINE := $(if $(filter tune report,$(MAKECMDGOALS)),; type: make $(MAKECMDGOALS) ARGS="$(foreach name,$(UNKNOWN),-P $(name)=$($(name)))")
$(error $(UNKNOWN)=... is not accepted; accepted: ARGS="-P NAME=VALUE ...", HOST=, PORT=, PYTHON=, KILLS=, WORKERS=$(LINE))
endif
ifneq ($(and $(filter ARGS,$(GIVEN)),$(filter-out demo tune report notebooks,$(MAKECMDGOALS))),)
$(error ARGS=... is not accepted with $(filter-out demo tune report notebooks,$(MAKECMDGOALS)); accepted: demo, tune, report, notebooks)
endif

.PHONY: help setup demo tune report notebooks ui cluster tables docs test torture bench lint lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

setup: $(READY) ## create the environment in .venv with the locked versions

# uv installs in less than a minute, pip in several. Where uv does not reach the packages, pip does it, by the user's own settings.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) "$$(grep ^uv== requirements.lock)"
	$(UV) --no-deps -r requirements.lock -e . || $(PIP) --no-deps -r requirements.lock -e .
	@touch $@

demo: $(READY) ## run the whole pipeline on small synthetic data (ten minutes with the setup)
	$(RUN) -P data=synthetic -P budget_minutes=1 $(ARGS)

tune: $(READY) ## tune all experiments on the real data (75 minutes); ARGS="-P experiment=fashion-mnist-cnn" for one
	$(RUN) -e tune $(ARGS)

report: $(READY) ## compare the registered models: reports/index.html
	$(RUN) -e report $(ARGS)

notebooks: $(READY) ## execute all experiments as notebooks in experiments/notebooks/ (8 to 10 minutes a model)
	$(RUN) -e notebook -P "experiment=*" -P output=experiments/notebooks $(ARGS)

ui: $(READY) ## show runs, comparisons and models at http://127.0.0.1:5000; PORT=5001 if port 5000 is in use, HOST=0.0.0.0 for access from the network
	mlproject ui --host $(HOST) --port $(PORT)

cluster: $(READY) ## add Ray to the environment, for several workers, machines or GPUs (80 MB)
	$(UV) -c requirements.lock -e ".[cluster]" || $(PIP) -c requirements.lock -e ".[cluster]"

tables: $(READY) ## write the generated tables, of options and of the published study, into README.md and docs/
	cog -r -P -I docs $(shell grep -rl --include='*.md' '\[\[\[cog' README.md docs)

docs: $(READY) ## build the documentation into site/ (open site/index.html); `mkdocs serve` shows it while you write
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

# By default, xdist sorts files by their number of tests. Files with few but long tests would come last, and one core would be idle.
test: $(READY) ## run the tests
	pytest -n 2 --dist loadfile --no-loadscope-reorder

torture: $(READY) ## kill a search 50 times at random moments and check that nothing is lost (15 minutes); KILLS=200 for more; WORKERS=2 with Ray
	python tests/torture.py --kills $(or $(KILLS),50) --workers $(or $(WORKERS),1)

bench: $(READY) ## measure throughput, tracking overhead, feature cache, memory, and accuracy beside other tools (2 hours); see bench/README.md
	@for bench in throughput tracking features memory peers; do echo "$$bench"; python bench/$$bench.py || exit 1; done

lint: $(READY) ## check style, formatting and types
	ruff check . && ruff format --check . && mypy

lock: $(READY) ## update requirements.lock from the ranges in pyproject.toml
	uv pip compile --universal --extra dev --no-emit-index-url pyproject.toml -o requirements.lock

clean: ## remove the environment and the caches; keep runs, models, reports and the state of searches
	rm -rf .venv .cache .pytest_cache .ruff_cache .mypy_cache
