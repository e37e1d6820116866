# SPDX-License-Identifier: GPL-2.0-or-later
# What a person types.  `make` alone lists it.  Everything is built in $(VENV); nothing else on the machine is changed,
# except that a root user gets the Debian packages named below where they are missing.

VENV ?= .venv
FLOOR_VENV ?= .venv-floor
# The first of these that exists and is a Python we run on (pyproject.toml: requires-python).
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && exit; done)
# The oldest one, for `make floor`.
FLOOR_PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$p && exit; done)

CAPTURES := $(wildcard captures/*.tar.zst)
# What booting a kernel needs, as program:package.  The shell finds the programs, apt-get the packages.
GUEST_PROGRAMS := qemu-system-x86_64:qemu-system-x86 busybox:busybox-static trace-cmd:trace-cmd

PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test check fix guest bench mutants conformance docs floor clean guest-programs
.DELETE_ON_ERROR:

help:
	@echo 'make demo    replay a real kernel with the model: needs python3 and network, no QEMU (one minute)'
	@echo 'make test    all tests; they boot kernels in QEMU'
	@echo 'make check   lint and types only'
	@echo 'make fix     lint and format, mending what can be mended'
	@echo 'make guest   only the tests that boot a kernel'
	@echo 'make bench   speed, printed'
	@echo 'make mutants seed faults into the model and see whether the checker catches them (four minutes)'
	@echo 'make conformance  boot every kernel with every workload and score the model (hours; goes on where it was ended)'
	@echo 'make docs    the documentation, in build/docs'
	@echo 'make floor   the quick tests on the oldest dependencies that pyproject.toml allows'
	@echo 'make clean   remove what was built, the environments too'

# --- environments -----------------------------------------------------------------------------------------------------

# Debian's python3 comes without what `-m venv` needs.
$(VENV)/bin/python:
	@test -n '$(PYTHON)' || { echo 'make: no Python from 3.11 to 3.13 here; name one: make PYTHON=/path/to/python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(call install,python3-venv)
	$(PYTHON) -m venv --clear $(VENV)

# Each stamp is newer than what it was made from, so a changed pyproject.toml installs again and nothing else does.
$(VENV)/run.stamp: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable .
	@echo 'compiling the search engine, once'
	@$(VENV)/bin/python -m pagelab.check.engine_code
	@touch $@

# Dependency groups: pip knows them since 25.1, Debian 12 has 23.0.
$(VENV)/dev.stamp: pyproject.toml $(VENV)/run.stamp
	$(PIP) install 'pip>=25.1'
	$(PIP) install --group dev
	@touch $@

$(VENV)/docs.stamp: pyproject.toml $(VENV)/dev.stamp
	$(PIP) install --group docs
	@touch $@

# $(call install,PACKAGES): a shell command that installs Debian packages as root, or says who has to.
install = { \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing:" $(1); \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends -y $(1) </dev/null >/dev/null; \
	else \
		echo "make: missing on this machine:" $(1) >&2; \
		echo "  hint: as root, on Debian: apt-get install --no-install-recommends" $(1) "; then make again" >&2; \
		exit 1; \
	fi; }

guest-programs:
	@missing=; for pair in $(GUEST_PROGRAMS); do \
		command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair#*:}"; done; \
	test -z "$$missing" || $(call install,$$missing)

# --- what it is for ---------------------------------------------------------------------------------------------------

demo: $(VENV)/run.stamp
	@test -n '$(CAPTURES)' || { echo 'make: captures/ holds no capture: this checkout is not complete' >&2; exit 1; }
	@set -e; for capture in $(CAPTURES); do $(VENV)/bin/pagelab replay "$$capture"; done
	@echo
	@echo 'What to try next:'
	@echo '  $(VENV)/bin/pagelab show 6.1 rmqueue_bulk       the model, a procedure of it'
	@echo '  $(VENV)/bin/pagelab replay $(firstword $(CAPTURES)) --json'
	@echo '  make test                                   all tests; as root it installs the QEMU that the rest needs'
	@echo '  $(VENV)/bin/pagelab record --kernel 6.1 --workload churn --cpus 2 --seed 1 -o runs/1'
	@echo '  $(VENV)/bin/pagelab replay runs/1               a kernel that you recorded, predicted page by page'

test: $(VENV)/dev.stamp guest-programs
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/dev.stamp
	$(VENV)/bin/python -m pytest -q tests/test_lint.py

fix: $(VENV)/dev.stamp
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

guest: $(VENV)/dev.stamp guest-programs
	$(VENV)/bin/python -m pytest -m guest $(PYTEST_ARGS)

bench: $(VENV)/dev.stamp
	@set -e; for bench in benchmarks/bench_*.py; do echo "== $$bench"; $(VENV)/bin/python "$$bench"; done

mutants: $(VENV)/run.stamp
	$(VENV)/bin/python tools/mutants.py $(MUTANTS)

# CONFORMANCE takes options, such as '--kernel 6.1 --seeds 10'.
conformance: $(VENV)/run.stamp guest-programs
	$(VENV)/bin/python tools/conformance.py --page docs/reference/conformance.md $(CONFORMANCE)

docs: $(VENV)/docs.stamp
	$(VENV)/bin/sphinx-build --fail-on-warning --keep-going --quiet -b html docs build/docs
	@echo build/docs/index.html

# Minutes of our own code, which no release of a dependency changes; `make test` runs them.
FLOOR_SKIPS := --ignore tests/check/test_mutants.py --ignore tests/check/test_kernel.py --ignore tests/check/test_offlining_ends.py \
	--ignore tests/linux/test_native.py --ignore tests/linux/test_modern_kernels.py --ignore tests/linux/test_older_kernels.py

# The lower bounds of pyproject.toml, pinned, on the oldest Python; the tests' own tools may be as new as they like.
floor: pyproject.toml
	@test -n '$(FLOOR_PYTHON)' || { echo 'make: no Python 3.11 here; name one: make floor FLOOR_PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(FLOOR_PYTHON) -c 'import ensurepip' 2>/dev/null || $(call install,python3-venv)
	@mkdir -p build
	$(FLOOR_PYTHON) tools/floor.py pyproject.toml > build/floor.txt
	$(FLOOR_PYTHON) -m venv --clear $(FLOOR_VENV)
	$(FLOOR_VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(FLOOR_VENV)/bin/python -m pip install --quiet --constraint build/floor.txt --editable . --group test
	$(FLOOR_VENV)/bin/python -m pytest -m 'not guest' --ignore tests/test_lint.py $(FLOOR_SKIPS) $(PYTEST_ARGS)

clean:
	rm -rf build dist $(VENV) $(FLOOR_VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks tools docs -name __pycache__ -type d -prune -exec rm -rf {} +
