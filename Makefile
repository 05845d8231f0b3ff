# What one types: make demo, make test. Both install what they need into .venv, once.
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo
export VENV

.PHONY: demo test test-long check fix compat build clean

demo:  ## the whole way on the sample corpus, through a Hub on this machine; ends by itself where nobody can press Ctrl-C
	@tools/install.sh demo
	@if [ -t 0 ]; then $(BIN)/hfembed demo --root $(DEMO); else $(BIN)/hfembed demo --root $(DEMO) --exit; fi

test:  ## lint, types and the tests
	@tools/install.sh dev
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not long"

test-long:  ## the tests that repeat on other machines and at other moments what `make test` shows once
	@tools/install.sh dev
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m long

check:
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

fix:  ## format, and mend what can be mended by a tool
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

compat:  ## prove that a published model gives the tuned vectors in every engine and version
	@tools/install.sh dev
	@$(BIN)/python bench/compat.py $(RUN)

build:  ## the wheel, in dist/
	@tools/install.sh dev
	@$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf $(VENV) dist runs .pytest_cache .mypy_cache .ruff_cache .cache
