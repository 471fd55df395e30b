# Every target makes its environment by itself when it is missing or older than the files that define it.
# VERSIONS=newest takes the newest releases instead of those in constraints.txt (torch stays), in an environment of its own.
PYTHON ?= python3
VERSIONS ?= pinned
WORKERS ?= 2
VENV := .venv$(if $(filter newest,$(VERSIONS)),-newest)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
PINS := $(if $(filter newest,$(VERSIONS)),$(VENV)/torch.txt,constraints.txt)
INSTALL := $(BIN)/python -m pip install --quiet --constraint $(PINS)

.PHONY: docs demo demo-real test test-slow check format pins clean help

help:
	@echo "make demo       train the small built-in world, unlearn, audit; prints the table, writes demo/report.html"
	@echo "make demo-real  the same on a pre-trained model, which is fetched: says what it takes here, and can be stopped"
	@echo "make test       the whole test suite"
	@echo "make check      ruff, ruff format, mypy"
	@echo "make test-slow  the tests that take minutes (real text, long simulations)"
	@echo "make docs       the documentation as a site, into build/site"
	@echo "make format     let ruff rewrite the files"
	@echo "make pins       constraints.txt from the newest releases; then run make test"
	@echo "VERSIONS=newest with any of them: the newest releases of all packages but torch"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	grep "^torch==" constraints.txt > $(VENV)/torch.txt
	$(INSTALL) --upgrade "pip>=25.3"

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) torch
	$(INSTALL) --build-constraint $(PINS) --group dev --editable .
	touch $@

$(DOCS_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --group docs
	touch $@

demo: $(STAMP)
	$(BIN)/leakatk demo --out demo

demo-real: $(STAMP)
	$(BIN)/leakatk demo --real --out demo-real

test: $(STAMP)
	$(if $(filter newest,$(VERSIONS)),LEAKATK_DEPRECATIONS=error) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pins:
	rm -rf .venv-newest
	$(MAKE) VERSIONS=newest .venv-newest/.installed
	{ sed -n "/^#/p" constraints.txt; .venv-newest/bin/python -m pip freeze --all --exclude-editable --exclude torch; \
	  cat .venv-newest/torch.txt; } > .venv-newest/constraints.txt
	mv .venv-newest/constraints.txt constraints.txt

clean:
	rm -rf .venv .venv-newest build dist .pytest_cache .mypy_cache .ruff_cache
