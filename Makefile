# Everything on a fresh machine: needs Python 3.10 to 3.13 with venv, and a package index for pip.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint docs dist clean

demo: .venv/installed
	$(BIN)/vtg ground examples/example.mp4 "a cat" "a cup of coffee" "a rocket on the launch pad" --top-k 3

# One process per core, with one thread each. Compiled modules are kept, because the tests start hundreds of processes.
test: .venv/installed
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site, in site/; a broken link is an error.
docs: .venv/installed
	$(BIN)/zensical build --strict --clean

# The same commit gives the same bytes.
dist: .venv/installed
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation

clean:
	rm -rf .venv dist site

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@
