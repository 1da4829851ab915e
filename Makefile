# csproxy: set up, run, test. Needs Python 3.11 or later; see README.md.
#
#   make demo    the whole system on this machine, explained while it runs
#   make test    install the servers that tests need, then run all tests
#   make check   formatting, style, types, layers
#   make docs    the documentation as HTML; warnings and dead links are errors
#   make linkcheck  ask the web whether the links to it are alive; needs a network, and is no part of .ci/run
#   make man     write the manual pages in packaging/man anew, after a change of a parser or an option
#   make wheel   the package as a file in dist, for other machines
#   make bench   measure side by side with Redis and etcd (QUICK=1: three minutes)
#   make soak    simulate thousands of runs under faults (SEEDS=5000), as many of them with pairs and pools of proxies
#   make pairs   stop, kill and freeze the primary of a pair under 2,000 clients (ROUNDS=10)
#   make pools   kill the member of a pool that has all 5,000 clients (CLIENTS=5000)
#   make fuzz    send mutated frames to a server and a client (FRAMES=5000000)

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Tests of several processes each: more workers than cores only make them slower.
WORKERS ?= 2
SEEDS ?= 1000
FRAMES ?= 1000000
ROUNDS ?= 10
CLIENTS ?= 5000

.PHONY: demo test check docs linkcheck man wheel bench soak pairs fuzz clean pools

demo: $(VENV)/demo.stamp
	$(BIN)/csproxy demo

test: $(VENV)/dev.stamp $(VENV)/system.stamp
	PYTHON=$(BIN)/python WORKERS=$(WORKERS) scripts/run_tests.sh

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check csproxy tests scripts examples benchmarks
	$(BIN)/ruff check csproxy tests scripts examples benchmarks
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/lint-imports

docs: $(VENV)/dev.stamp
	$(BIN)/sphinx-build -E -n -W --keep-going -q -b html docs docs/_build/html

# From the repository's root, so that README.md and CHANGELOG.md are in it; other warnings are those of `make docs`.
linkcheck: $(VENV)/dev.stamp
	$(BIN)/sphinx-build -E -q -b linkcheck -c docs -D root_doc=README -D exclude_patterns=docs/_build \
		-D 'include_patterns=README.md,CHANGELOG.md,docs/**,examples/*/README.md' \
		-D suppress_warnings=toc.not_included,myst.xref_missing . docs/_build/linkcheck

man: $(VENV)/dev.stamp
	$(BIN)/python scripts/generate_man_pages.py

wheel: $(VENV)/demo.stamp
	$(BIN)/pip wheel $(PIP_FLAGS) --no-deps --wheel-dir dist .

bench: $(VENV)/dev.stamp
	scripts/install_system_packages.sh gcc libc6-dev libssl-dev redis-server etcd-server etcd-client
	$(BIN)/pip install $(PIP_FLAGS) --editable '.[bench]'
	$(BIN)/python benchmarks/run.py $(if $(QUICK),--quick)

soak: $(VENV)/dev.stamp
	PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation.run --jobs $(WORKERS) \
		--seeds 0-$$(($(SEEDS) - 1)),100000-$$((100000 + $(SEEDS) - 1))

pairs: $(VENV)/dev.stamp
	$(BIN)/python -m tests.pools.run pair --rounds $(ROUNDS)

pools: $(VENV)/dev.stamp $(VENV)/system.stamp
	$(BIN)/python -m tests.pools.run pool --clients $(CLIENTS)

fuzz: $(VENV)/dev.stamp
	PYTHONHASHSEED=0 $(BIN)/python -m tests.fuzz.run --frames $(FRAMES)
	PYTHONHASHSEED=0 $(BIN)/python -m tests.fuzz.run --frames $(FRAMES) --client
	PYTHONHASHSEED=0 $(BIN)/python -m tests.fuzz.run --frames $$(($(FRAMES) / 25)) --writes

clean:
	rm -rf $(VENV) dist docs/_build htmlcov .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis benchmarks/build

# Debian ships Python without venv; the package is installed when it is missing, and the script says so.
$(VENV)/bin/python:
	@echo "Making a virtual environment in $(VENV)"
	scripts/make_venv.sh "$(PYTHON)" "$(VENV)"

$(VENV)/demo.stamp: pyproject.toml | $(VENV)/bin/python
	@echo "Installing csproxy and the packages that it needs into $(VENV): once, about a minute"
	$(BIN)/pip install $(PIP_FLAGS) --editable '.[daemon]'
	@touch $@

# gssapi is compiled here: there is no wheel of it for Linux.
$(VENV)/dev.stamp: pyproject.toml | $(VENV)/bin/python
	scripts/install_system_packages.sh gcc libc6-dev python3-dev libkrb5-dev
	$(BIN)/pip install $(PIP_FLAGS) --editable '.[dev]'
	@touch $@

# Depends on this file, so that a package which is new in the list is installed where others are already.
$(VENV)/system.stamp: Makefile | $(VENV)/bin/python
	scripts/install_system_packages.sh nodejs npm libssl-dev postgresql slapd freeradius haproxy chromium \
		krb5-kdc krb5-admin-server krb5-user faketime mandoc prometheus systemd
	@touch $@
