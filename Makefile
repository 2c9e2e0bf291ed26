# `make run` starts Nexus; the rest is for working on it. CONTRIBUTING.md tells more.

# Further arguments for pytest (`make test ARGS="-k sync"`) or for the lock (`make lock ARGS=--upgrade`).
ARGS ?=
# How many processes run the tests; `auto` is one a processor.
JOBS ?= auto

python := .venv/bin/python
as_test := NEXUS_ENV=test DATABASE_URL=sqlite://:memory: $(python)
compile := UV_SYSTEM_CERTS=1 $(python) -m uv pip compile --quiet --python-version 3.11 --generate-hashes \
	--no-header --no-annotate $(ARGS)

checks := lint format types imports migrations openapi secrets

.PHONY: run test check $(checks) bench lock clean

run:
	@.ci/venv runtime
	@exec $(python) manage.py up --demo

# The whole suite on either database. The second run happens even if the first one fails.
test:
	@.ci/venv dev
	@sh tests/provision.sh $(if $(DATABASE_URL),,postgresql) $(if $(REDIS_URL),,redis-server) chromium
	@status=0; \
	for backing in sqlite postgresql; do \
		$(python) -m pytest --backing $$backing -n $(JOBS) $(ARGS) || status=1; \
	done; \
	exit $$status

check: $(checks)

$(checks): .venv/.dev

# Asked each time; the script returns at once when the stamp fits the lock.
.venv/.dev: .FORCE
	@.ci/venv dev

.PHONY: .FORCE
.FORCE:

lint:
	$(python) -m ruff check .

format:
	$(python) -m ruff format --check .

types:
	$(as_test) -m mypy

imports:
	.venv/bin/lint-imports

migrations:
	$(as_test) manage.py makemigrations --check --dry-run

openapi:
	$(as_test) manage.py spectacular --validate --fail-on-warn --file /dev/null

secrets:
	$(python) tests/scan_secrets.py

bench:
	@.ci/venv dev
	@sh tests/provision.sh wrk nginx
	$(python) -m tests.load.bench

# uv keeps the versions that the locks name already. The dev lock is held to the runtime lock, so that
# the tests run what is deployed.
lock:
	@.ci/venv tools
	$(compile) pyproject.toml --output-file requirements.txt
	$(compile) pyproject.toml --extra dev --constraint requirements.txt --output-file requirements-dev.txt
	$(compile) --group tools --output-file requirements-tools.txt

# Leaves var/ alone: it holds the root key, and without it no sealed value opens again.
clean:
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache var-test
	find apps nexus tests -name __pycache__ -type d -prune -exec rm -rf {} +
