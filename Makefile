# The commands of the checkout. demo and test need root and install what they need, on Debian or Alpine (deploy/lab/setup.sh).
# test installs more on Debian: a browser for the page, and shells for the completion.

bin := .venv/bin
SCENARIO ?= policy

.PHONY: demo test lint bench fuzz platforms dist setup setup-tests clean

demo: setup ## two spokes join, an impostor is refused; KEEP=1 leaves it up, SCENARIO= takes another file of deploy/lab/scenarios
	@PYTHONPATH=deploy/lab $(bin)/python -m dmvpn_lab $(SCENARIO) $(if $(KEEP),--keep)

test: setup-tests lint ## every tier, end to end last
	$(bin)/pytest --ignore=tests/e2e --ignore=tests/bench
	$(bin)/pytest tests/e2e

lint: setup
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	PYTHONPATH=deploy/lab $(bin)/lint-imports --no-logo

bench: setup
	@PYTHONPATH=tests:deploy/lab $(bin)/python -m bench

fuzz: setup ## every reader of input from outside; INPUTS= how many
	@PYTHONPATH=tests $(bin)/python -m fuzz --inputs $(or $(INPUTS),100000)

.PHONY: campaign
campaign: setup ## random worlds: the agent's answers and filters against an oracle written from the RFCs; WORLDS= how many
	@PYTHONPATH=tests $(bin)/python -m campaign --worlds $(or $(WORLDS),200000)

platforms: setup ## the checkout on Debian 12, 13, sid and Alpine, each a root of its own; PLATFORMS= names some of them
	@PYTHONPATH=tests $(bin)/python -m platforms $(PLATFORMS)

dist: ## the release's tarball and the recipe of the Alpine package, in dist/; URL= where the project is
	@sh deploy/apk/dist.sh dist "$(or $(URL),$(shell git config remote.origin.url))" $(if $(MAINTAINER),"$(MAINTAINER)")

setup:
	@sh deploy/lab/setup.sh

setup-tests: setup
	@sh deploy/lab/setup.sh tests

clean:
	rm -rf dist .venv .lab .platforms .pytest_cache .mypy_cache .ruff_cache .hypothesis
