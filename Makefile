# make demo: everything from an empty machine to a GPT that writes.  make test: the whole test suite.
PYTHON ?= python3
# An environment that is active already is used; otherwise .venv is made.
VENV := $(or $(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
# Where torch comes from, if not from pip's usual index: https://download.pytorch.org/whl/cu126 for an older NVIDIA
# driver or a card before Turing, .../cpu for a machine without a card. `gpt-research doctor` names the one to take.
TORCH_INDEX ?=
TORCH_FROM := $(VENV)/.gpt-research-torch-index
INSTALLED := $(VENV)/.gpt-research-installed
WITH_DOCS := $(VENV)/.gpt-research-docs-installed
WITH_EVAL := $(VENV)/.gpt-research-eval-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
# One process a core; each needs about 2 GB. `make test WORKERS=1` runs the tests one after another.
WORKERS ?= logical
ON_ALL_CORES := -n $(WORKERS) --maxprocesses 8 --dist worksteal

.PHONY: demo test test-faults test-clusters test-gpu test-traced check format docs install clean force

install: $(INSTALLED)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Torch comes first and pinned, so that no other package can bring another build of it. From TORCH_INDEX comes torch
# itself, although another build of its version may be there; what it needs may come from both indexes.
$(INSTALLED): $(BIN)/python requirements.txt constraints.txt pyproject.toml $(if $(TORCH_INDEX),$(TORCH_FROM))
ifneq ($(TORCH_INDEX),)
	$(PIP) install --quiet --constraint constraints.txt --force-reinstall --no-deps --index-url $(TORCH_INDEX) torch
endif
	$(PIP) install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev,serve]"
	@touch $(INSTALLED)

# It changes only if another index is named, and then torch is installed again.
$(TORCH_FROM): force | $(BIN)/python
	@echo '$(TORCH_INDEX)' | cmp -s - $@ || echo '$(TORCH_INDEX)' > $@

$(WITH_DOCS): $(INSTALLED)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev,serve,docs]"
	@touch $(WITH_DOCS)

# lm-eval brings 450 MB, so only the whole suite has it: to hold our benchmark scores against its own. It also has
# spaCy, whose words datatrove's filters count.
$(WITH_EVAL): $(WITH_DOCS)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev,serve,docs,eval,peers]"
	@touch $(WITH_EVAL)

demo: $(INSTALLED)
	$(BIN)/gpt-research demo

test: $(WITH_EVAL)
	$(PYTEST) $(ON_ALL_CORES) -m "not faults and not alone and not clusters"
	$(PYTEST) -m "alone and not faults and not clusters" $$(grep -rl --include=*.py pytest.mark.alone tests)

test-faults: $(INSTALLED)
	$(PYTEST) -o faulthandler_timeout=1900 -m "faults or not faults" tests/faults tests/training tests/test_checkpoint.py tests/data/test_shards.py \
		tests/preprocessing/test_executors.py

# The tests that need a card, or two. GPT_RESEARCH_TEST_DEVICE=cpu runs what a CPU can run of them.
test-gpu: $(INSTALLED)
	$(PYTEST) -o faulthandler_timeout=1900 tests/gpu

# Starts a real Slurm of two virtual nodes (Debian: apt-get install slurm-wlm munge) and Ray. The tests mostly wait,
# so those of training and of preprocessing run side by side, each on a Slurm of its own.
test-clusters: $(INSTALLED)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev,cluster]" || echo "Ray cannot be installed: its test is skipped."
	$(PYTEST) -n 2 --dist loadfile -m clusters tests/clusters

# Inductor writes an H100's code here, and no card is needed. The environment is one of its own, because torch is the
# CUDA build (=== leaves out builds with a suffix). NVIDIA's libraries, several gigabytes, are replaced by empty ones.
TRACED := .venv-traced
TORCH_VERSION = $(shell sed -n s/^torch==//p constraints.txt)
$(TRACED)/.installed: Makefile requirements.txt constraints.txt tests/traced/build_card.py tests/traced/card.c
	$(PYTHON) -m venv $(TRACED)
	$(TRACED)/bin/pip install --quiet --no-deps torch===$(TORCH_VERSION)
	grep -v ^torch requirements.txt > $(TRACED)/requirements.txt
	$(TRACED)/bin/pip install --quiet --constraint constraints.txt -r $(TRACED)/requirements.txt triton filelock \
		fsspec jinja2 networkx setuptools sympy typing-extensions pytest pytest-timeout hypothesis
	$(TRACED)/bin/python tests/traced/build_card.py
	@touch $@

test-traced: $(TRACED)/.installed
	PYTHONPATH=src $(TRACED)/bin/python -m pytest tests/traced

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -q $(ON_ALL_CORES) -m "not slow and not faults and not alone and not clusters"

# The site works without a network: open site/index.html, or serve it with `python -m http.server -d site`.
docs: $(WITH_DOCS)
	$(BIN)/zensical build --clean --strict

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf site .cache build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
