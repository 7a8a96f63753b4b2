# make demo: everything from an empty machine to a GPT that writes.  make test: the whole test suite.
PYTHON ?= python3
# An environment that is active already is used; otherwise .venv is made.
VENV := $(or $(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.gpt-research-installed
WITH_EVAL := $(VENV)/.gpt-research-eval-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-faults check format install clean

install: $(INSTALLED)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Torch comes first and pinned, so that no other package can bring another build of it.
$(INSTALLED): $(BIN)/python requirements.txt constraints.txt pyproject.toml
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $(INSTALLED)

# lm-eval brings 450 MB, so only the whole suite has it: to hold our benchmark scores against its own.
$(WITH_EVAL): $(INSTALLED)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev,eval]"
	@touch $(WITH_EVAL)

demo: $(INSTALLED)
	$(BIN)/python demo.py

test: $(WITH_EVAL)
	$(BIN)/python -m pytest

test-faults: $(INSTALLED)
	$(BIN)/python -m pytest -m "faults or not faults" tests/faults tests/training tests/test_checkpoint.py tests/data/test_shards.py \
		tests/data/test_executors.py

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -m "not slow and not faults"

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
