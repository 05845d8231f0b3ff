# What one types: make demo, make test. Both install what they need into .venv, once.
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_RUN ?= runs/demo
export VENV

.PHONY: demo test check fix build clean

demo:  ## run the whole pipeline on the sample corpus and print the report
	@tools/install.sh demo
	@$(BIN)/hfembed run --preset instant --corpus sample --run $(DEMO_RUN) --until export
	@$(BIN)/python bench/human.py hfembed/sample --finished $(DEMO_RUN)
	@$(BIN)/hfembed compare sentence-transformers/all-MiniLM-L6-v2 $(DEMO_RUN) --corpus $(DEMO_RUN) -k 3 \
		--query "no lights, no volts anywhere in the box, and full sun won't bring it back"

test:  ## lint, types and every test
	@tools/install.sh dev
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m pytest -n 2 --dist worksteal

check:
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

fix:  ## format, and mend what can be mended by a tool
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

build:  ## the wheel, in dist/
	@tools/install.sh dev
	@$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf $(VENV) dist runs .pytest_cache .mypy_cache .ruff_cache
