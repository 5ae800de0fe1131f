# `make report` and `make test` set up everything they need in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help report test bench lint format lock references clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# hashes are checked for everything that is installed; the package itself is this folder
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
		sys.exit(not (3, 11) <= v <= (3, 13) and \
		"alliance-meta needs Python 3.11 to 3.13, this is %d.%d; try: make PYTHON=python3.12" % v)'
	@echo "Setting up $(VENV), which takes a minute or two the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

report: $(READY) ## run the shipped review and write reports/synthesis.html
	@$(BIN)/alliance-meta run . --cores $(CORES)

test: $(READY) ## run all tests and checks
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

bench: $(READY) ## measure speed against R (needs R with metafor)
	@$(BIN)/python benchmarks/compare_models.py
	@$(BIN)/python benchmarks/compare_multilevel.py
	@$(BIN)/python benchmarks/compare_permutation.py
	@$(BIN)/python benchmarks/compare_sensitivity.py
	@$(BIN)/python benchmarks/compare_selection.py
	@$(BIN)/python benchmarks/time_multiverse.py

lint: $(READY) ## check style, types and the workflow
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

format: $(READY) ## rewrite code in the house style and remake generated files
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/snakefmt Snakefile workflow
	$(BIN)/python -m alliance_meta.codebook_page > docs/codebook.md
	$(BIN)/python -m alliance_meta.manifest > workflow/library.yaml

references: ## recompute the frozen reference values (needs R with metafor)
	for script in tests/reference/*.R; do Rscript "$$script" > "$${script%.R}.json" || exit 1; done

lock: ## resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --extra test --extra slurm --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --output-file requirements.lock

clean: ## remove results, reports and caches; keep .venv
	find data/extracted results reports -mindepth 1 ! -name README.md -delete
	rm -rf logs .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis
