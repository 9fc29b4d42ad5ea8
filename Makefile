# Needs Python 3.11 or newer, and nothing else; everything is installed into .venv.
PYTHON ?= python3.11
BIN := .venv/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-all test-torch test-processes lint format benchmark \
	architectures race race-all clean

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
	$(BIN)/python examples/benchmarks/ig_to_error.py
	$(BIN)/python examples/benchmarks/cost_laws.py
	$(BIN)/python examples/benchmarks/bfloat16.py

# docs/architectures.md: each method on each kind of network; goes on where it was ended.
architectures: .venv/dev
	$(BIN)/python examples/benchmarks/architectures/run.py --page docs/architectures.md

# docs/race.md; environments of its own: one with PyTorch, one with what runs on TensorFlow.
RACE := .venv-race/tensorflow/bin/python examples/benchmarks/race/race.py \
	--torch-python .venv-race/torch/bin/python

race: .venv-race/tensorflow/ready .venv-race/torch/ready
	$(RACE) --models ResNet50 --rounds 2 --masks 128
	$(RACE) --models VGG16 --rounds 2 --works gradient --first --add

race-all: .venv-race/tensorflow/ready .venv-race/torch/ready
	$(RACE) --out build/race-all.md --batches 1 10 32 --rows 10 25 50 --masks 4000 --all-captums \
		--models ResNet50 VGG16 MobileNetV2 efficientnet-lite0 ViT --first-rounds 3 \
		--first-models ResNet50 VGG16 MobileNetV2 efficientnet-lite0 ViT \
		--first gradient ig smoothgrad guided grad_cam occlusion rise

clean:
	rm -rf .venv .venv-race build dist *.egg-info

.venv/bin/pip:
	$(PYTHON) -m venv .venv

# A stamp for each set of extras, made anew when the dependencies change.
.venv/demo .venv/dev: .venv/%: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --editable ".[$*]"
	touch $@

# Xplique asks for an older TensorFlow with CUDA, tf-keras-vis and saliency for packages that only
# their figures need: what they import is named here instead.
.venv-race/tensorflow/ready: pyproject.toml
	$(PYTHON) -m venv .venv-race/tensorflow
	.venv-race/tensorflow/bin/pip install --quiet --editable ".[zoo]"
	.venv-race/tensorflow/bin/pip install --quiet --no-deps saliency==0.2.1 shap==0.51.0 \
		tensorflow-probability==0.25.0 tf-keras-vis==0.8.7 xplique==2.0.2
	.venv-race/tensorflow/bin/pip install --quiet cloudpickle decorator deprecated dm-tree einops \
		imageio numba opencv-python-headless pandas scikit-image scikit-learn slicer \
		"tf-keras>=2.19" tqdm
	touch $@

.venv-race/torch/ready:
	$(PYTHON) -m venv .venv-race/torch
	.venv-race/torch/bin/pip install --quiet captum==0.9.0 torch==2.13.0
	touch $@
