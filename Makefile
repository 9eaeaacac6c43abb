.DELETE_ON_ERROR:
.PHONY: help mnist quick test numbers engines check

PYTHON ?= python3
comma := ,
STAMP := .venv/.installed
TESTING := .venv/.testing
# uv, where it is there, installs several times as fast as pip; where it has no way to the packages,
# which pip's own settings may name, pip does it. Both take the lock as it is.
install = { command -v uv >/dev/null && uv pip install --quiet --python .venv/bin/python \
	--constraint requirements.lock --editable $(1); } || .venv/bin/python -m pip install --quiet \
	--disable-pip-version-check --constraint requirements.lock --editable $(1)
# What people bring runs on JAX too: their arrays and models; of the trainers' contract and the lanes,
# what only the compiled programs can break.
# How a file's tests are shared out is in tests/conftest.py.
pytest = .venv/bin/python -m pytest --dist loadfile --no-loadscope-reorder
BROUGHT := $(addprefix tests/,acceptance/test_field_data.py acceptance/test_field_models.py \
	trainers/test_outputs.py trainers/test_own.py trainers/test_rehearsal.py)
ON_JAX := (test_contract and stack) or (follows_keras and nesterov) or diverging_neighbour or compiles

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

test: $(TESTING)  ## test the whole service; `make numbers` has what takes longer
	$(pytest) --numprocesses 4 -m 'not numbers' --durations=15

numbers: $(TESTING)  ## hold each number to plain Keras and scikit-learn, on TensorFlow and on JAX
	$(pytest) --numprocesses 4 -m numbers
	KERAS_BACKEND=jax $(pytest) --dist worksteal --numprocesses 2 $(BROUGHT)
	KERAS_BACKEND=jax $(pytest) --numprocesses 2 tests/trainers/test_contract.py \
		tests/lanes/test_lanes.py -k '$(ON_JAX)'

engines: $(TESTING)  ## run deploy/ on the engines of clusters that are installed here
	.venv/bin/python -m pytest --engines tests/engines

check: $(TESTING)  ## format, lint and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
