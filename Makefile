# Each target first makes the environment .venv from requirements.txt, with Python 3.11 or newer.
# `make test PYTHON=/path/to/python3.12` chooses the Python, when .venv does not exist yet.
BIN := .venv/bin
READY := .venv/.ready
# On Linux, memory in pages of 2 MB: a fifth of a training step on a CPU. Elsewhere it has no effect.
LARGE_PAGES := GLIBC_TUNABLES=glibc.malloc.hugetlb=1
PYTHON ?=
# The floor of coverage in percent; processes that tests start are not counted.
COVERAGE := 95
KERNEL := {"name": "python3", "display_name": "Python 3", "language": "python"}
CANDIDATES := $(or $(PYTHON),python3.11 python3.12 python3 python3.13 python)

.PHONY: demo test test-all lint docs notebooks
.DEFAULT_GOAL := test

# Repeated, it goes on where it was interrupted, or prints the results again.
demo: $(READY)  ## pre-training and fine-tuning on the built-in images, and the same network without pre-training
	$(LARGE_PAGES) $(BIN)/python -m jaxcaps.train --stage=ssl --task=inpaint --preset=demo --out=runs/demo-ssl
	$(LARGE_PAGES) $(BIN)/python -m jaxcaps.train --stage=finetune --out=runs/demo-random
	$(LARGE_PAGES) $(BIN)/python -m jaxcaps.train --stage=finetune --restore=runs/demo-ssl --out=runs/demo-finetune
	$(BIN)/python -m jaxcaps.report --restore=runs/demo-finetune --compare runs/demo-random

test: $(READY)  ## the tests of every behaviour, in minutes
	$(BIN)/python -m pytest --durations=20

test-all: $(READY)  ## those and the slow ones: whole runs, networks of full size, real images; and their coverage
	$(BIN)/python -m pytest --durations=20 --cov --cov-report=
	$(BIN)/python -m pytest -m slow --durations=20 --cov --cov-append --cov-report=
	$(BIN)/coverage report --skip-covered --fail-under=$(COVERAGE)

lint: $(READY)  ## style, types and the rule of dependence
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: $(READY)  ## the documentation site, in site/; a broken link or a page that is not in the menu is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

notebooks: $(READY)  ## the notebooks, from their pages
	$(BIN)/jupytext --quiet --to ipynb --update --update-metadata '{"kernelspec": $(KERNEL)}' $(wildcard docs/notebooks/*.md)

# A candidate must run, not only exist: a version manager's shim of a Python that is not selected fails.
$(READY): requirements.txt pyproject.toml
	@if [ ! -x $(BIN)/pip ]; then \
	  for python in $(CANDIDATES); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then break; fi; \
	    python=; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "No Python 3.11 or newer found (tried: $(CANDIDATES))." >&2; \
	    echo "Install one, or name it: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3.11" >&2; \
	    exit 2; \
	  fi; \
	  echo "Making .venv with $$($$python --version)"; \
	  $$python -m venv --clear .venv; \
	fi
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
