# Two commands: `make demo` trains the default recipe, `make test` runs the tests. Both make .venv if need be.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# A .venv that no longer runs (a moved folder, another Python) is as good as none.
ifneq ($(shell $(BIN)/python -c 'import surgrad' 2> /dev/null && echo whole),whole)
$(shell rm -f $(READY))
endif

NATIVE := $(wildcard src/surgrad/kernels/lif/native/*.cpp src/surgrad/kernels/lif/native/*.h)

.PHONY: demo test lint bench gpu-test gpu-bench clean

demo: $(READY)
	$(BIN)/surgrad train

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A file whose presence says that .venv is whole: it goes first and comes back last, so that after an attempt that broke
# off .venv is made from nothing. Where only those files changed, it is brought up to date.
$(READY): pyproject.toml constraints.txt setup.py tests/peers.txt $(NATIVE)
	@command -v $(PYTHON) > /dev/null || { echo "no $(PYTHON) here; name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "surgrad needs Python 3.11 or newer, and $(PYTHON) is older; make PYTHON=python3.12 ..."; exit 1; }
	test -f $(READY) || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	rm -f $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/peers.txt
	touch $(READY)

# Against other libraries, in an environment of its own: their versions shall not touch ours. WHAT picks parts
# (layer step memory scaling) and options.
bench: .venv-bench/.ready
	.venv-bench/bin/python -m bench $(WHAT)

.venv-bench/.ready: bench/requirements.txt bench/peers.txt constraints.txt setup.py $(NATIVE)
	rm -rf .venv-bench && $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-r bench/requirements.txt -e .
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r bench/peers.txt
	touch $@

# On a machine with CUDA, with its own torch, triton, numpy and pytest; nothing is installed.
gpu-test:
	PYTHONPATH=src $(PYTHON) -m pytest --noconftest -o addopts= -k "test_triton or cuda" \
		tests/test_triton.py tests/contracts/test_kernels.py

gpu-bench:
	PYTHONPATH=src $(PYTHON) bench/gpu.py --out records/gpu

clean:
	rm -rf $(VENV) .venv-bench build dist src/*.egg-info
	rm -f src/surgrad/kernels/lif/native/*.so src/surgrad/kernels/lif/native/*.dylib
