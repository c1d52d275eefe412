# make demo    compress, build, emulate, report: build/demo/report.json
# make test    every check and test
# make help    the rest
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The newest interpreter the package is tested with; override with PYTHON=...
PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3; do \
    command -v $$p >/dev/null && $$p -c 'import venv, ensurepip' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
EXTRAS := train,boards,tfmot,search,docs,dev
JOBS ?= 2
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help setup demo demo-full wheel test newcomer lint bench bench-methods reproduce bench-callbacks bench-slim docs axe \
    gitlab-ci-local clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: ## .venv with the package and what it needs; system packages through apt
	@.ci/system-packages
	@$(MAKE) --no-print-directory .venv/.done

.venv/.done: pyproject.toml
	@python=$$(for p in $(PYTHON) python3; do command -v $$p && break; done | head -n 1); \
	echo "setting up .venv with $$($$python --version)"; \
	test -x $(BIN)/python || $$python -m venv .venv
	@echo "installing what the extras $(EXTRAS) need: some 3 GB, a minute on a fast line"
	@log=$$(mktemp); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --root-user-action=ignore -e '.[$(EXTRAS)]' >"$$log" 2>&1 & pid=$$!; \
	t=0; while kill -0 $$pid 2>/dev/null; do sleep 1; t=$$((t + 1)); \
	    [ $$((t % 10)) -ne 0 ] || echo "still installing ($$t s)"; done; \
	if wait $$pid; then rm -f "$$log"; else cat "$$log" >&2; rm -f "$$log"; exit 1; fi
	@touch $@

demo: setup ## the keyword spotter: fine-tune, convert, build, emulate, report; two minutes
	$(BIN)/secateur demo

demo-full: setup ## the same with all rounds of fine-tuning: the figures of README.md
	$(BIN)/secateur demo --full

wheel: setup ## the package as dist/*.whl and *.tar.gz, looked over by twine
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[release]'
	rm -rf build/lib build/bdist.*
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*

test: setup ## ruff, mypy and every test
	@mkdir -p build
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(JOBS)

newcomer: setup ## README, quick start and tutorial as a newcomer types them: the wheel in fresh environments
	SECATEUR_NEWCOMER=1 $(BIN)/python -m pytest -n 0 -v tests/newcomer

lint: setup ## ruff and mypy alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## four networks x four encodings x five cores: benchmarks/results/bench.json, docs/break-even.md, cost-model.md, binary.json, few_bits.json, few_bits_trained.json, limits.json
	$(BIN)/python -m benchmarks.bench
	$(BIN)/python -m benchmarks.break_even
	$(BIN)/python -m benchmarks.cost_model
	$(BIN)/python -m benchmarks.binary
	$(BIN)/python -m benchmarks.few_bits
	$(BIN)/python -m benchmarks.few_bits_trained
	$(BIN)/python -m benchmarks.limits

bench-methods: setup ## every method trained and measured on two networks: docs/methods.md
	$(BIN)/python -m benchmarks.methods

reproduce: setup ## Deep Compression on MNIST, trained, converted and counted: docs/reproduction.md
	$(BIN)/python -m benchmarks.reproduce

bench-callbacks: setup ## steps a second of fit, plain and with each callback
	$(BIN)/python benchmarks/callbacks.py

bench-slim: setup ## filters taken out of three networks, trained and measured: docs/slimming.md
	$(BIN)/python -m benchmarks.slim

docs: setup ## the documentation as a site: build/site
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

axe: ## axe-core through npm, for the accessibility test of the HTML report
	npm install --no-save --no-package-lock axe-core

gitlab-ci-local: ## a runner for the GitLab template, through npm; the tests use it if it is there
	npm install --no-save --no-package-lock gitlab-ci-local@4.61.1  # later ones need Node.js 22

clean: ## remove what was built; .venv stays
	rm -rf build .pio .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
