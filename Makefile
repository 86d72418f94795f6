# `make` prints help. Everything here runs on a fresh Debian machine: what is missing is installed first.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

GO ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ERRCHECK := github.com/kisielk/errcheck@v1.20.0
FUZZTIME ?= 30s
ARGS ?=

.PHONY: help
help: ## print this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: run
run: install build ## the whole thing on this machine, until Ctrl-C (ARGS="--rows 100000 --exit": drain, check, exit)
	bin/modulo demo $(ARGS)

.PHONY: test
test: install ## all tests, on real PostgreSQL and real ActiveMQ
	$(GO) test -count 1 -timeout 20m ./... # no cache: it does not see that tests build and run the program; a slow machine takes ten times as long

.PHONY: test-pgbouncer
test-pgbouncer: install ## the tests of store, commands and faults once more, with PgBouncer in front of the database
	MODULO_TEST_PGBOUNCER=1 $(GO) test -count 1 -timeout 20m ./store ./cmd/modulo ./internal/fleet ./internal/chaos

.PHONY: race
race: COMPILER := gcc libc6-dev
race: install ## the tests once more with the race detector: half an hour
	CGO_ENABLED=1 $(GO) test -race -count 1 -p 1 -timeout 30m ./... # one package after the other: all is several times as slow

.PHONY: check
check: install lint test ## what CI runs: lint and test

.PHONY: build
build: ## bin/modulo
	$(GO) build -trimpath -o bin/modulo ./cmd/modulo

.PHONY: install
install: ## install the Debian packages that are missing; no service of theirs is started
	@missing=
	command -v $(GO) >/dev/null || { echo "Go 1.26 or newer is needed: see https://go.dev/dl"; exit 1; }
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=" postgresql"
	test -e /usr/share/activemq/bin/activemq.jar || missing+=" activemq"
	test -z "$(COMPILER)" || echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1 || missing+=" $(COMPILER)"
	command -v javac >/dev/null || missing+=" default-jdk-headless"
	test -e /usr/share/java/postgresql.jar || missing+=" libpostgresql-jdbc-java"
	command -v openssl >/dev/null || missing+=" openssl"
	command -v chromium >/dev/null || missing+=" chromium"
	command -v ip >/dev/null || test -e /usr/sbin/ip || missing+=" iproute2"
	services=; test -e /usr/sbin/pgbouncer || services+=" pgbouncer"
	command -v prometheus >/dev/null && command -v promtool >/dev/null || services+=" prometheus"
	missing+="$$services"
	test -n "$$missing" || exit 0
	echo "installing$$missing"
	as_root=; test "$$(id -u)" = 0 || as_root=sudo
	# Debian's postgresql creates and starts a cluster of its own unless told not to.
	dropin=/etc/postgresql-common/createcluster.d/modulo.conf
	$$as_root mkdir -p "$${dropin%/*}"
	echo 'create_main_cluster = false' | $$as_root tee "$$dropin" >/dev/null
	# Debian's pgbouncer and prometheus start services, and again at each boot, unless told not to.
	policy=/usr/sbin/policy-rc.d
	test ! -e "$$policy" || policy=  # somebody else's
	test -z "$$policy" || printf '#!/bin/sh\nexit 101\n' | $$as_root install -m 755 /dev/stdin "$$policy"
	trap '$$as_root rm -f "$$dropin" $$policy' EXIT
	$$as_root apt-get update -qq
	$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing
	for service in $$services; do
	  ! command -v systemctl >/dev/null || $$as_root systemctl disable --quiet "$$service"
	done

.PHONY: fmt
fmt: ## format the code
	gofmt -w .

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, errcheck, tidy modules
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not formatted: $$unformatted"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	(cd internal/bench/rivals && $(GO) mod tidy -diff && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...)
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(ERRCHECK) -ignoretests -exclude .errcheck ./...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each
	for package in $$($(GO) list ./...); do
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do
	    echo "$$package $$target"
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package
	  done
	done

.PHONY: chaos
chaos: install ## kill, pause and cut everything for some twenty minutes; prints what was delivered
	MODULO_CHAOS=long $(GO) test -count 1 -timeout 60m -v ./internal/chaos
	MODULO_CHAOS=long $(GO) test -count 1 -timeout 30m -parallel 1 -v ./internal/fleet -rate 2000 -storm 5m -decks 10 -change 5s -busy 0
	MODULO_CHAOS=long $(GO) test -count 1 -timeout 30m -v ./internal/failover
	$(GO) test -count 1 -timeout 30m -v -run 'TestHeartbeatAgainstTakeOver|TestAcquireAgainstChange' ./store -races 10000
	MODULO_CHAOS=long $(GO) test -count 1 -timeout 30m -v -run 'TestCutOnActiveMQ|TestKilledBroker|TestZombie' ./broker/stomp
	MODULO_CHAOS=long $(GO) test -count 1 -timeout 30m -v -run TestProtocol ./internal/protocol

# ActiveMQ's client, for the compiler.
CLIENT_JARS := /usr/share/java/activemq-client.jar:/usr/share/java/geronimo-jms_1.1_spec.jar
BENCH_CASES := ceiling,database,modulo,original,plain,river,delayed,latency,memory,idle

.PHONY: bench
bench: install build rivals ## rows/s of Modulo, of broker and database alone, of other programs: some 25 minutes (ARGS="--rounds 1 ...")
	bin/modulo bench --rivals bin/rivals --cases $(BENCH_CASES) --workers 1,2,5,8,16,64 --confirm transaction,receipt \
	  --json-file bin/bench.json $(ARGS)

.PHONY: rivals
rivals: # the programs that Modulo is measured beside; Go's are a module of their own, so that River is no dependency of ours
	@mkdir -p bin/rivals/original
	javac -proc:none -cp $(CLIENT_JARS) -d bin/rivals/original internal/bench/rivals/original/Original.java
	(cd internal/bench/rivals && $(GO) build -trimpath -o $(CURDIR)/bin/rivals/ ./plain ./river)

.PHONY: bench-go
bench-go: install ## Go benchmarks of the parts, on real services
	$(GO) test -run '^$$' -bench . -benchmem ./...
