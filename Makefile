# make demo   install and run the main job on examples/      make test   set up and run the tests
# make check  what CI runs: format, lint, types, imports, tests
# make faults break a scaled deployment in every way, with real servers (ten minutes)
BIN := .venv/bin

.PHONY: demo test faults check format lint types imports clean

demo: .venv/.installed
	$(BIN)/percel demo

# Two processes, for the two cores that CI has; threads of one that have nothing to do leave the cores to the other.
test: .venv/.installed
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -q -n 2 --dist worksteal

faults: .venv/.installed
	PERCEL_TEST_SERVERS=1 PERCEL_TEST_FAULTS=1 $(BIN)/python -m pytest -q tests/e2e/scaled

check: format lint types imports test

format: .venv/.installed
	$(BIN)/ruff format --check .

lint: .venv/.installed
	$(BIN)/ruff check .

types: .venv/.installed
	$(BIN)/mypy

imports: .venv/.installed
	$(BIN)/lint-imports --no-cache

.venv/.installed: pyproject.toml bin/setup
	bin/setup

clean:
	rm -rf .venv bench/out *.egg-info
