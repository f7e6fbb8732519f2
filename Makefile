# `make` alone lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
# Only the environment's own programs, whatever is active outside: `mlflow run` looks for `python` on the PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
RUN = mlflow run . --env-manager local
READY = .venv/ready
HOST = 127.0.0.1
PORT = 5000

.PHONY: help setup demo tune report notebooks ui test torture bench lint lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

setup: $(READY) ## make the environment in .venv from the locked versions

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: $(READY) ## the whole main job on small synthetic data, which needs no download (ten minutes with the setup)
	$(RUN) -P data=synthetic -P budget_minutes=1

tune: $(READY) ## tune all experiments on the real data (75 minutes); ARGS="-P experiment=fashion-mnist-cnn" for one
	$(RUN) -e tune $(ARGS)

report: $(READY) ## compare the registered models: reports/index.html
	$(RUN) -e report

notebooks: $(READY) ## run all experiments as notebooks, 8 to 10 minutes a model, into experiments/notebooks/
	$(RUN) -e notebook -P "experiment=*" -P output=experiments/notebooks $(ARGS)

ui: $(READY) ## look at runs, comparisons and models on http://127.0.0.1:5000; PORT=5001 if that is taken, HOST=0.0.0.0 for the network
	mlflow ui --host $(HOST) --port $(PORT) --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}

# Reordered by their number of tests, the files with few and long ones would come last, and one core would wait for them.
test: $(READY) ## run the tests
	pytest -n 2 --dist loadfile --no-loadscope-reorder

torture: $(READY) ## kill a search 50 times at all moments and check that nothing is lost (15 minutes); KILLS=200 for more
	python tests/torture.py --kills $(or $(KILLS),50)

bench: $(READY) ## how fast it trains, against peers, what tracking costs, how much memory (2 hours); see bench/ for each
	@for bench in throughput tracking features memory peers; do echo "$$bench"; python bench/$$bench.py || exit 1; done

lint: $(READY) ## check style, formatting and types
	ruff check . && ruff format --check . && mypy

lock: $(READY) ## renew requirements.lock from the ranges in pyproject.toml
	uv pip compile --universal --extra dev --no-emit-index-url pyproject.toml -o requirements.lock

clean: ## remove the environment and the caches; runs, models, reports and what searches go on from stay
	rm -rf .venv .cache .pytest_cache .ruff_cache .mypy_cache
