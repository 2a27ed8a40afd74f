# Every target sets up what it needs. Bare `make` prints this help.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
STATE ?= lookout-state
SERVICES ?= lookout-services
MINIO_PORT ?= 9000
ETCD_PORT ?= 2379
FTP_PORT ?= 8021
SFTP_PORT ?= 8022
CAMERAS ?= tls
OVERLAY ?= k8s/overlays/production
MINUTES ?= 60
UPGRADE ?=
SEED ?= 1
# Two processes of tests a core, as half of their time they wait; PARALLEL= for all in one, as a debugger needs it.
PARALLEL ?= --numprocesses $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN)))) --maxprocesses 8 --dist worksteal
BIN := .venv/bin
# What pytest and the processes of tests compile is kept, whatever the shell says: each worker would compile it again.
export PYTHONDONTWRITEBYTECODE :=

help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/run.stamp: requirements/run.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the locked dependencies (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
	@$(BIN)/python -m compileall -q lookout stages event_sources
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	@echo "installing the locked tools for tests and checks"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

setup: .venv/run.stamp ## Make the environment in .venv

run: .venv/run.stamp ## Take the sample photographs through all stages
	@$(BIN)/lookout run examples/photos --state $(STATE) --rules examples/rules

test: .venv/dev.stamp ## Set up and pass the tests; needs no server
	$(BIN)/python -m pytest $(PARALLEL) -m "not browser and not slow and not services and not cluster" --ignore=tests/services --ignore=tests/cluster

test-page: .venv/dev.stamp ## Test the page in headless Chromium (installs Chromium by apt where it is missing and may)
	@bash scripts/chromium.sh
	$(BIN)/python -m pytest -m browser

test-long: .venv/dev.stamp ## The long forms of the kill and property tests
	$(BIN)/python -m pytest $(PARALLEL) -m "slow and not services and not cluster"

nats-server: servers
	@$(PYTHON) scripts/servers.py nats-server

test-services: .venv/dev.stamp nats-server ## Test on real MinIO, etcd and NATS, which each test starts and stops by itself
	@bash scripts/clients.sh
	$(BIN)/python -m pytest $(PARALLEL) -m "services and not slow"

test-services-long: .venv/dev.stamp nats-server ## The long forms of the tests on real servers
	$(BIN)/python -m pytest -m "services and slow"

test-storm: .venv/dev.stamp servers ## Storms for MINUTES=60 in all from seed SEED=1 on, half of them on servers (as root; docs/reliability.md)
	$(BIN)/python -m tests.storm --both --whole --minutes $(MINUTES) --first-seed $(SEED)

servers: ## Build MinIO and etcd from their Go modules into ~/.cache/lookout (minutes the first time, then instant)
	@$(PYTHON) scripts/servers.py

services: .venv/run.stamp servers ## Start MinIO and etcd on this machine, and say how to use them
	@$(BIN)/python -m devkit.servers up --folder $(SERVICES) --minio-port $(MINIO_PORT) --etcd-port $(ETCD_PORT) --cameras $(CAMERAS) --ftp-port $(FTP_PORT) --sftp-port $(SFTP_PORT)

services-down: .venv/run.stamp ## Stop them; what they hold stays in lookout-services
	@$(BIN)/python -m devkit.servers down --folder $(SERVICES)

cluster-servers: servers
	@$(PYTHON) scripts/servers.py --group cluster

cluster: .venv/run.stamp cluster-servers ## Bring up a Kubernetes of one node on this machine, with Argo and Lookout (as root; docs/cluster.md)
	@$(BIN)/python -m k8s.local up

cluster-images: .venv/run.stamp cluster-servers ## Build the images that changed, and hand them to the cluster
	@$(BIN)/python -m k8s.local images

cluster-down: .venv/run.stamp ## End the cluster and all that it kept
	@$(BIN)/python -m k8s.local down

test-cluster: .venv/dev.stamp cluster ## Test on the local cluster, which it brings up (as root; minutes)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup -m "cluster and not slow" tests/cluster
	$(BIN)/python -m pytest -m "cluster and not slow" tests/bench

test-cluster-long: .venv/dev.stamp cluster ## The long forms: the cluster goes down and comes up again, empty
	$(BIN)/python -m pytest -m "cluster and slow"

deploy: ## Bring Lookout into the cluster that kubectl speaks to: make deploy OVERLAY=... (docs/kubernetes.md)
	@$(PYTHON) -m k8s.deploy $(OVERLAY)

check: .venv/dev.stamp ## Style, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/docstrings.py
	$(BIN)/python scripts/functions.py

audit: .venv/dev.stamp ## Known vulnerabilities in the locked dependencies; fails also where some cannot be looked up
	@$(BIN)/python scripts/audit.py

audit-versions: .venv/dev.stamp ## Each locked dependency, whether it is the newest, and why it is not
	@$(BIN)/python scripts/audit.py --versions

bench: .venv/dev.stamp ## Measure speed; prints a table (docs/benchmarks.md)
	$(BIN)/python -m bench

bench-services: .venv/dev.stamp servers ## Measure speed on real MinIO and etcd, which it starts by itself
	$(BIN)/python -m bench --services

bench-cluster: .venv/dev.stamp ## Measure speed in the cluster of make cluster, which has to be up
	$(BIN)/python -m bench --cluster

bench-events: .venv/dev.stamp ## Measure a burst of uploads in the cluster of make cluster, which has to be up
	$(BIN)/python -m bench cluster-events

lock: .venv/dev.stamp ## Lock the dependencies anew; UPGRADE=--upgrade for the newest versions
	@bash scripts/lock.sh $(UPGRADE)

messages: .venv/dev.stamp ## Generate the messages of etcd from lookout/ledger/etcd/messages/etcd.proto
	@bash scripts/messages.sh lookout/ledger/etcd/messages

clean: ## Remove the environment and the sample state
	rm -rf .venv $(STATE) build *.egg-info

.PHONY: help setup run test test-page test-long test-services test-services-long test-storm servers nats-server services services-down cluster-servers cluster cluster-images cluster-down test-cluster test-cluster-long deploy check audit audit-versions bench bench-services bench-cluster bench-events lock messages clean
