# Needs Python 3.11 or newer, and nothing else; everything is installed into .venv.
PYTHON ?= python3.11
BIN := .venv/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-all test-torch test-processes lint format benchmark clean

demo: .venv/demo
	$(BIN)/tfxai demo --out demo

test: .venv/dev
	$(BIN)/pytest

# With the tests that are marked thorough: more cases of what `make test` has some of.
test-all: .venv/dev
	$(BIN)/pytest -m ""

# Fresh exports from PyTorch, which is several GB on most machines.
test-torch: .venv/dev
	$(BIN)/pip install --quiet torch==2.13.0 onnxscript
	$(BIN)/pytest tests/exports

# Tests that start processes of their own, and kill some; one by one, so that all cores are theirs.
test-processes: .venv/dev
	$(BIN)/pytest --numprocesses=0 tests/processes

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: .venv/dev
	$(BIN)/pip install --quiet scikit-learn
	$(BIN)/python examples/benchmarks/path_rules.py
	$(BIN)/python examples/benchmarks/peak_memory.py
	$(BIN)/python examples/benchmarks/pattern_fit.py
	$(BIN)/python examples/benchmarks/sampling_error.py
	$(BIN)/python examples/benchmarks/noise_on_weights.py
	$(BIN)/python examples/benchmarks/caso.py
	$(BIN)/python examples/benchmarks/igos.py
	$(BIN)/python examples/benchmarks/ray_workers.py

clean:
	rm -rf .venv build dist *.egg-info

.venv/bin/pip:
	$(PYTHON) -m venv .venv

# A stamp for each set of extras, made anew when the dependencies change.
.venv/demo .venv/dev: .venv/%: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --editable ".[$*]"
	touch $@
