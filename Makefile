# `make` prints help. Everything here runs on a fresh Debian machine: what is missing is installed first.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ERRCHECK := github.com/kisielk/errcheck@v1.20.0
FUZZTIME ?= 30s
ARGS ?=

.PHONY: help
help: ## print this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: run
run: install build ## the whole thing on this machine, until Ctrl-C (ARGS="--rows 100000 --exit": drain, check, exit)
	bin/modulo demo $(ARGS)

.PHONY: test
test: install ## all tests, on real PostgreSQL and real ActiveMQ, with the race detector where it matters
	$(GO) test -timeout 10m ./...

.PHONY: check
check: install lint test ## what CI runs: lint and test

.PHONY: build
build: ## bin/modulo
	$(GO) build -trimpath -o bin/modulo ./cmd/modulo

.PHONY: install
install: ## install the Debian packages that are missing, without starting their services
	@scripts/install

.PHONY: fmt
fmt: ## format the code
	gofmt -w .

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, errcheck, tidy modules
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not formatted: $$unformatted"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(ERRCHECK) -ignoretests ./...
