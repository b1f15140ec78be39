# Two commands: `make demo` trains the default recipe, `make test` runs the tests. Both make .venv if need be.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# A .venv that no longer runs (a moved folder, another Python) is as good as none.
ifneq ($(shell $(BIN)/python -c 'import surgrad' 2> /dev/null && echo whole),whole)
$(shell rm -f $(READY))
endif

.PHONY: demo test lint clean

demo: $(READY)
	$(BIN)/surgrad train

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A file whose presence says that .venv is whole: it goes first and comes back last, so that after an attempt that broke
# off .venv is made from nothing. Where only pyproject.toml or constraints.txt changed, it is brought up to date.
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "no $(PYTHON) here; name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "surgrad needs Python 3.11 or newer, and $(PYTHON) is older; make PYTHON=python3.12 ..."; exit 1; }
	test -f $(READY) || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	rm -f $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) build src/*.egg-info
