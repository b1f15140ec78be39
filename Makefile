# `make demo` trains the default recipe, `make test` runs all tests, `make test-fast` all but the slow ones.
# Each creates .venv if it does not exist.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OUT    ?= gpu
# One process per core, each with one thread.
PARALLEL := -n auto --dist worksteal

# Treat a .venv that no longer runs (a moved folder, another Python) as missing.
ifneq ($(shell $(BIN)/python -c 'import surgrad' 2> /dev/null && echo whole),whole)
$(shell rm -f $(READY))
endif

NATIVE := $(wildcard src/surgrad/kernels/lif/native/*.cpp src/surgrad/kernels/lif/native/*.h)

.PHONY: demo test test-fast lint bench cuda-check gpu gpu-test clean

demo: $(READY)
	$(BIN)/surgrad train

test: $(READY)
	$(BIN)/python -m pytest $(PARALLEL)

# The inner loop: no test marked slow. About 90 seconds on two cores.
test-fast: $(READY)
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# This file marks a complete .venv. It is removed first and created last, so that .venv is built from scratch after an
# aborted attempt, and updated where only the files below changed.
$(READY): pyproject.toml constraints.txt setup.py tests/peers.txt $(NATIVE)
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) was not found; name a Python: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "surgrad needs Python 3.11 or newer, $(PYTHON) is older; use make PYTHON=python3.12 ..."; exit 1; }
	test -f $(READY) || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	rm -f $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/peers.txt
	touch $(READY)

# Benchmark against other libraries, in a separate environment, so that their dependencies do not change ours. WHAT selects
# parts (layer step memory scaling levels) and options.
bench: .venv-bench/.ready
	.venv-bench/bin/python -m bench $(WHAT)

.venv-bench/.ready: bench/requirements.txt bench/peers.txt constraints.txt setup.py $(NATIVE)
	rm -rf .venv-bench && $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-r bench/requirements.txt -e .
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r bench/peers.txt
	touch $@

# Compile the kernels for GPUs, on a machine without one, and write records/gpu/compiled.json.
cuda-check: $(READY)
	$(BIN)/python scripts/check_cuda.py --write

# On a machine with CUDA that has torch, triton, numpy, pytest and pytest-xdist; installs nothing.
gpu-test:
	PYTHONPATH=src $(PYTHON) -m pytest -n auto --noconftest -o addopts= -k "test_triton or test_gpu or (triton and cuda)" \
		tests/test_gpu.py tests/test_triton.py tests/contracts/test_kernels.py

# Tests, benchmarks and a training on such a machine, in a quarter of an hour; results in OUT. DATA is where CIFAR-10 is; ONLY
# names parts (tests kernels step loop levels ranks-1 ranks-2 training).
gpu:
	PYTHONPATH=src:. $(PYTHON) -m bench.gpu_all --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(ONLY),--only $(ONLY))

clean:
	rm -rf $(VENV) .venv-bench build dist src/*.egg-info
	rm -f src/surgrad/kernels/lif/native/*.so src/surgrad/kernels/lif/native/*.dylib
