.DELETE_ON_ERROR:
.PHONY: help mnist quick test jax engines check

PYTHON ?= python3
comma := ,
STAMP := .venv/.installed
TESTING := .venv/.testing
# uv, where it is there, installs several times as fast as pip; where it has no way to the packages,
# which pip's own settings may name, pip does it. Both take the lock as it is.
install = { command -v uv >/dev/null && uv pip install --quiet --python .venv/bin/python \
	--constraint requirements.lock --editable $(1); } || .venv/bin/python -m pip install --quiet \
	--disable-pip-version-check --constraint requirements.lock --editable $(1)
# What runs on JAX too: the trainers' contract, and what only the compiled programs can break.
ON_JAX := (test_contract and stack) or (follows_keras and nesterov) or diverging_neighbour or compiles

help:  ## list the targets
	@grep -hE '^[a-z.]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

.venv: $(STAMP)  ## the virtual environment, rebuilt only when the lock changes
	@:

# The lock constrains, pyproject.toml chooses: one file pins every extra on every platform.
$(STAMP): requirements.lock
	@echo "Installing into .venv; about 740 MB are downloaded, most of it TensorFlow."
	$(PYTHON) -m venv --clear .venv
	$(call install,.)
	touch $@

# What only tests and checks need, JAX among it, waits until they are asked for.
$(TESTING): $(STAMP)
	@echo "Installing what the tests need; about 220 MB are downloaded."
	$(call install,'.[test$(comma)jax]')
	touch $@

mnist: $(STAMP)  ## search, prove and report the best MNIST network
	.venv/bin/python -m search.run --study mnist

quick: $(TESTING)  ## run the tests that need no TensorFlow, PostgreSQL or browser
	.venv/bin/python -m pytest --quick --numprocesses 4 --dist worksteal

test: $(TESTING)  ## run all tests
	.venv/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations=15
	KERAS_BACKEND=jax .venv/bin/python -m pytest tests/trainers/test_contract.py tests/lanes/test_lanes.py \
		--numprocesses 2 --dist loadfile -k '$(ON_JAX)'

jax: $(TESTING)  ## run on JAX what people bring: their arrays and models
	KERAS_BACKEND=jax .venv/bin/python -m pytest tests/acceptance/test_field_data.py \
		tests/acceptance/test_field_models.py tests/trainers/test_outputs.py \
		tests/trainers/test_own.py tests/trainers/test_rehearsal.py --numprocesses 2 --dist worksteal

engines: $(TESTING)  ## run deploy/ on the engines of clusters that are installed here
	.venv/bin/python -m pytest --engines tests/engines

check: $(TESTING)  ## format, lint and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
