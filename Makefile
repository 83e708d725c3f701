# Every target sets up what it needs; run any of them again at any time.
PYTHON ?= python3
SEED ?= 20261121
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo console train test check lint types imports format hooks search clean

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: $(INSTALLED) ## Install everything into .venv (the other targets do it by themselves)

# The stamp is written last: an interrupted install starts again.
$(INSTALLED): pyproject.toml constraints.txt scripts/setup
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup
	@touch $(INSTALLED)

demo: $(INSTALLED) ## Walk the four journeys and write a weekly report (DEMO_CATALOGUE=path for your own products)
	@$(BIN)/python -m demo

console: $(INSTALLED) ## After the demo: search its shop with and without UniECS, in a browser
	@exec env CATALOGUE=$${CATALOGUE:-.demo/shop} PICTURE_ROOT=$${PICTURE_ROOT:-.demo/shop:.demo/pictures} $(BIN)/python -m recall_plugin console

train: $(INSTALLED) ## Make the demo's encoder again (about half an hour on two cores)
	@$(BIN)/python -m demo train

test: $(INSTALLED) ## Run all tests, in the order and with the chance of SEED (another: make test SEED=7)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --randomly-seed=$(SEED)

check: lint types imports ## Everything but the tests

lint: $(INSTALLED) ## Style and spelling
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/codespell

types: $(INSTALLED) ## Types
	@$(BIN)/mypy

imports: $(INSTALLED) ## Doors between rooms
	@$(BIN)/lint-imports

format: $(INSTALLED) ## Put the code in order
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

hooks: $(INSTALLED) ## Check every commit before it is made
	@$(BIN)/pre-commit install

clean: ## Remove what the demo left
	@rm -rf .demo
