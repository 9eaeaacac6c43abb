.DELETE_ON_ERROR:
.PHONY: help mnist test check

PYTHON ?= python3
STAMP := .venv/.installed

help:  ## list the targets
	@grep -hE '^[a-z.]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

.venv: $(STAMP)  ## the virtual environment, rebuilt only when the lock changes
	@:

# The lock constrains, pyproject.toml chooses: one file pins every extra on every platform.
$(STAMP): requirements.lock
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint requirements.lock --editable '.[test]'
	touch $@

mnist: $(STAMP)  ## search, prove and report the best MNIST network
	.venv/bin/python -m search.run --study mnist

test: $(STAMP)  ## run all tests
	.venv/bin/python -m pytest --numprocesses auto --dist worksteal

check: $(STAMP)  ## format, lint and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
