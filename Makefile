# "make" or "make help" lists the targets. Needs Go (the version in go.mod) and
# a POSIX shell; lint installs its tools under .tools.
GOLANGCI_LINT_VERSION = v2.15.0
GOVULNCHECK_VERSION   = v1.9.0

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PORT     ?= 8600
FUZZTIME ?= 10s
SEEDS    ?= 20
BENCH    ?= .
# Packages whose concurrency the race detector looks at in "make test".
RACE     ?= ./cluster/... ./dispatch/... ./fsm/... ./api/... ./config/... ./cmd/internal/node ./cmd/internal/demo/... ./cmd/internal/cli/...
# Without raft itself: its log lines race with changes of members (hashicorp/raft issue 681).
RACEFLAGS = -race -gcflags=github.com/hashicorp/raft=-race=false
TOOLS     = $(CURDIR)/.tools
GENERATED = docs/configuration.md

.PHONY: help build run cluster test interop browser screenshots race sim chaos chaos-smoke mutants figures fuzz bench cover lint generate
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-11s %s\n", $$1, $$2}' Makefile
build: ## build bin/belfry
	go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/belfry ./cmd/belfry
run: build ## one node with a webhook, sample events, and lines to copy (PORT=8600)
	@bin/belfry demo --port $(PORT)
cluster: build ## the same with three nodes (PORT=8600)
	@bin/belfry demo --nodes 3 --port $(PORT)
test: ## vet and the whole test suite, then the race detector over the core (about ten minutes)
	go vet ./...
	go vet -tags chaos,interop,browser ./...
	go test -shuffle=on -timeout 10m ./...
	go test $(RACEFLAGS) -short -timeout 10m $(RACE)
	$(MAKE) chaos-smoke
	$(MAKE) interop
	$(MAKE) browser
interop: ## webhooks against a real nginx, OpenSSL and OAuth server, installed under .tools (part of test)
	go test -tags interop -run Interop -count=1 -timeout 10m ./dispatch/webhook
browser: ## the console in a headless Chromium, installed from Debian when missing (part of test)
	go test -tags browser -run Browser -parallel 4 -count=1 -timeout 25m ./api/console ./cmd/internal/node
screenshots: ## pictures of the console's screens, light and dark, in docs/screenshots
	BELFRY_SCREENSHOTS=$(CURDIR)/docs/screenshots go test -tags browser -run 'Browser_(screenshots|keyShownOnce)' -parallel 4 -count=1 -timeout 15m ./api/console
race: ## the whole test suite under the race detector
	go test $(RACEFLAGS) -shuffle=on -timeout 30m ./...
sim: ## clusters in virtual time: SEEDS=20 further seeds, or as many as SIM_HOURS=N hours of virtual time take
	BELFRY_SIM_SEEDS=$(SEEDS) go test -count=1 -timeout 60m ./cluster/... ./dispatch/...
	BELFRY_SIM_SEEDS=$(if $(SIM_HOURS),0,$(SEEDS)) BELFRY_SIM_HOURS=$(SIM_HOURS) GOGC=400 go test -count=1 -timeout 0 -v -run Sim ./cmd/internal/node
chaos: build ## real processes under faults, with reports in chaos-out: eight minutes, or CHAOS_MINUTES=120
	go build -trimpath -o bin/chaos ./chaos/cmd/chaos
	bin/chaos run -binary bin/belfry $(if $(CHAOS_MINUTES),-minutes $(CHAOS_MINUTES)) $(CHAOS)
chaos-smoke: build ## the same for a minute: kill and partition of leaders; judges no times, so that a busy machine cannot fail it
	go build -trimpath -o bin/chaos ./chaos/cmd/chaos
	bin/chaos run -binary bin/belfry -untimed -seed 21 -nodes 3 -nemesis kill-leader,isolate-leader -workload w1,w2,w3,w6 -seconds 16 -longest 4 -out bin/chaos-smoke
mutants: ## bugs on purpose, each of which a checker must find
	go build -trimpath -o bin/chaos ./chaos/cmd/chaos
	bin/chaos mutants $(MUTANTS)
figures: ## real processes, killed under load; prints the figures of BENCH.md
	go test -tags chaos -run Chaos -count=1 -v -timeout 60m ./chaos
fuzz: ## every fuzz target for FUZZTIME=10s
	@set -e; for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	  echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; done; done
bench: ## the benchmarks (BENCH=. selects)
	go test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m ./...
cover: ## coverage of the tests, in cover/index.html
	mkdir -p cover && go test -coverpkg=./... -coverprofile=cover/all ./... && go tool cover -html=cover/all -o cover/index.html && go tool cover -func=cover/all | tail -1
generate: ## write the generated files again
	go generate ./...
lint: $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION) $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION) ## linters, tidy go.mod, generated files, known vulnerabilities
	go mod tidy -diff
	sha256sum $(GENERATED) > $(TOOLS)/generated && $(MAKE) generate && sha256sum --check --quiet $(TOOLS)/generated
	$(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION) run ./...
	go test -count=1 ./cmd/internal/layout
	.ci/vulncheck $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION)
$(TOOLS)/golangci-lint-%:
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$* && mv $(TOOLS)/golangci-lint $@
$(TOOLS)/govulncheck-%:
	GOBIN=$(TOOLS) go install golang.org/x/vuln/cmd/govulncheck@$* && mv $(TOOLS)/govulncheck $@
