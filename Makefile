# `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

MODULES := schema reconciler discoveryhttp discoverykube netlinkapply relay cmd/spanctl e2e
PACKAGES := $(MODULES:%=./%/...)
# What `make test` runs: it needs this workspace, Go and a few Debian packages. The mesh comes
# first: its tests mostly wait, while the others are compiled.
TEST_PACKAGES := ./e2e $(addprefix ./e2e/,discovery docs fleet internal/simulated internal/soak internal/trouble internal/walk interop lab load release scenarios trouble) $(patsubst %,./%/...,$(filter-out e2e,$(MODULES)))
# What `make test-all` adds on this machine, beside the guest.
KUBERNETES_PACKAGES := $(addprefix ./e2e/,kubernetes)
HOST_PACKAGES := $(addprefix ./e2e/,etcd packages resolved ssh ui)
TOOLS := .tools/bin
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
STAMP := github.com/spanmesh/span/cmd/spanctl/internal/version
export BUILD := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X $(STAMP).Version=$(VERSION) -X $(STAMP).Commit=$(COMMIT)'
# The architectures of the packages. The first is that of this machine.
PACKAGE_ARCHES := $(shell go env GOARCH)

# The API of the last release, which lint compares with, and the command that prints the present one.
RELEASED_API := tools/proto/released.binpb
PRINT_API := $(TOOLS)/buf build --exclude-source-info -o -\#format=binpb

# Flags for `go test`, such as TESTFLAGS='-run TestTen -v'.
TESTFLAGS ?=
# How many tests of a package run at once. They wait for most of their time.
PARALLEL ?= 8
# The same in each of the two guests, which have one emulated processor each.
GUEST_PARALLEL ?= 2
# How long each fuzz target runs, and which do.
FUZZTIME ?= 10s
FUZZ ?= .
# How often `make bench` runs each benchmark. benchstat needs six for a confidence interval.
BENCHCOUNT ?= 6
BENCH ?= .
# How long `make soak-discovery` runs.
SOAK ?= 20m
# The commit that `make bench-discovery` compares with.
BASE ?= 6d67e6b
BASE_BINARY := .cache/base/spanctl-$(BASE)
# Where the tests write the outcomes of their scenarios.
SCENARIOS := $(CURDIR)/.cache/scenarios
# A program with the race detector sleeps a second at its end unless told otherwise.
export GORACE ?= atexit_sleep_ms=0 halt_on_error=1

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup-demo build ## Show three machines that become a mesh, in namespaces
	@CGO_ENABLED=0 go build -o .cache/demo ./e2e/demo
	@SPANCTL_BINARY=$(CURDIR)/bin/spanctl .cache/demo

RUN_TESTS := SPANCTL_BINARY=$(CURDIR)/bin/spanctl SPANCTL_WIREGUARD=userspace SPANCTL_LIVES=10000 go test -race -count 1 -parallel $(PARALLEL) -timeout 20m

.PHONY: test
test: setup-test build etcd ## Run the tests that need this workspace alone, with WireGuard in userspace
	@mkdir -p $(SCENARIOS)
	@rm -f $(SCENARIOS)/userspace
	SPANCTL_SCENARIOS=$(SCENARIOS)/userspace $(RUN_TESTS) $(TESTFLAGS) $(TEST_PACKAGES)

# Under SPANCTL_TEST_ALL a test fails where it would otherwise be skipped.
.PHONY: test-all
test-all: export SPANCTL_TEST_ALL := 1
test-all: $(TOOLS)/buf test test-nat test-walks test-kubernetes test-host test-guest test-units test-scenarios ## Run all tests: also Kubernetes, packages, ssh, the guest and the units

# By itself, since all its machines meet at once.
.PHONY: test-nat
test-nat: setup-test build ## Run the tests of machines behind each kind of NAT and firewall, each kind with each
	@mkdir -p $(SCENARIOS)
	@rm -f $(SCENARIOS)/userspace-nat
	SPANCTL_SCENARIOS=$(SCENARIOS)/userspace-nat $(RUN_TESTS) $(TESTFLAGS) ./e2e/nat

.PHONY: test-kubernetes
test-kubernetes: setup-kubernetes build etcd kubernetes $(TOOLS)/helm $(TOOLS)/flannel $(TOOLS)/talos-registry ## Run the tests with real API servers, kubeadm, flannel and Talos' registry
	@mkdir -p $(SCENARIOS)
	@rm -f $(SCENARIOS)/userspace-kubernetes
	SPANCTL_SCENARIOS=$(SCENARIOS)/userspace-kubernetes $(RUN_TESTS) $(TESTFLAGS) $(KUBERNETES_PACKAGES)

.PHONY: test-host
test-host: setup-host build etcd packages ## Run the tests of the packages, of ssh, of systemd-resolved, of the page in a browser and of servers that share an etcd
	@mkdir -p $(SCENARIOS)
	@rm -f $(SCENARIOS)/userspace-host
	SPANCTL_SCENARIOS=$(SCENARIOS)/userspace-host $(RUN_TESTS) $(TESTFLAGS) $(HOST_PACKAGES)

# The same test code as in `make test`, in a virtual machine whose kernel has WireGuard.
# There, spanctl fails rather than use the userspace process.
.PHONY: test-guest
test-guest: setup-guest build ## Run the tests of the mesh on the kernel's own WireGuard
	@mkdir -p .cache/guest $(SCENARIOS)
	CGO_ENABLED=0 go test -c -trimpath -o .cache/guest/e2e.test ./e2e
	CGO_ENABLED=0 go test -c -trimpath -o .cache/guest/guest.test ./e2e/guest
	CGO_ENABLED=0 go test -c -trimpath -o .cache/guest/nat.test ./e2e/nat
	CGO_ENABLED=0 go test -c -trimpath -o .cache/guest/netlinkapply.test ./netlinkapply
	@rm -f $(SCENARIOS)/kernel
	@tools/guest-tests $(SCENARIOS)/kernel -parallel $(GUEST_PARALLEL) $(TESTFLAGS)

.PHONY: test-units
test-units: setup-guest packages ## Run the packages' units under systemd, in the guest
	@tools/guest-units

.PHONY: test-scenarios
test-scenarios: ## Check that docs/testing.md has the outcomes of the tests; UPDATE=1 writes it
	@go run ./e2e/scenarios $(if $(UPDATE),-update) docs/testing.md $(SCENARIOS)

.PHONY: test-loaded
test-loaded: ## Run `make test` three times beside two busy loops
	@tools/loaded 3 $(MAKE) test

.PHONY: test-race
test-race: setup-test ## Run the end-to-end tests on a binary with the race detector
	go build -race -o .cache/spanctl-race ./cmd/spanctl
	SPANCTL_BINARY=$(CURDIR)/.cache/spanctl-race go test -race -count 1 -parallel $(PARALLEL) -timeout 20m $(TESTFLAGS) ./e2e ./e2e/discovery

.PHONY: build
build: ## Build bin/spanctl, static, for this machine
	@mkdir -p bin .cache
	$(BUILD) -o bin/spanctl ./cmd/spanctl

.PHONY: etcd
etcd: $(TOOLS)/etcd ## Build the etcd that the tests store affiliates in

.PHONY: kubernetes
kubernetes: $(TOOLS)/kube-apiserver ## Build the control plane, kubeadm and kubectl for the tests

.PHONY: packages
packages: build man $(TOOLS)/nfpm ## Make the .deb, the .rpm and the image, in .cache/packages; PACKAGE_ARCHES="amd64 arm64" for both
	@tools/package $(VERSION) $(PACKAGE_ARCHES)

.PHONY: manifests
manifests: $(TOOLS)/helm ## Make the manifests in deploy/kubernetes from the chart
	@tools/manifests deploy/kubernetes

.PHONY: dashboard
dashboard: ## Make the dashboard in deploy/monitoring
	@cd tools/monitoring && GOWORK=off go run . $(CURDIR)/deploy/monitoring

.PHONY: web
web: ## Bundle the pages that spanctl serves, into their dist directories
	@cd tools/web && GOWORK=off go run . $(CURDIR) $(CURDIR)

# By itself, since what it expects must come true within a minute.
.PHONY: test-walks
test-walks: setup-test build ## Run the walks through random faults that failed once, and a short one
	@mkdir -p $(SCENARIOS)
	@rm -f $(SCENARIOS)/userspace-chaos
	SPANCTL_SCENARIOS=$(SCENARIOS)/userspace-chaos $(RUN_TESTS) $(TESTFLAGS) ./e2e/chaos

# Which fault is planted, and in how many meshes: each has that of the next number. And which walk
# `make test-chaos` makes, and how many faults it has.
SEED ?= 1
ROUNDS ?= 1
STEPS ?= 60

# Its PARALLEL is in how many parts the walk is made at the same time. Each needs about one processor.
.PHONY: test-chaos
test-chaos: PARALLEL = 2
test-chaos: setup-test build ## Walk through STEPS=60 random faults of the walk SEED=n, and expect the mesh to heal; PARALLEL=2 parts at once
	@CGO_ENABLED=0 go test -c -o .cache/chaos ./e2e/chaos
	@cd e2e/chaos && SPANCTL_BINARY=$(CURDIR)/bin/spanctl SPANCTL_WIREGUARD=userspace \
		CHAOS_SEED=$(SEED) CHAOS_STEPS=$(STEPS) CHAOS_LEGS=$(PARALLEL) \
		$(CURDIR)/.cache/chaos -test.run TestWalk -test.parallel $(PARALLEL) -test.timeout 0

.PHONY: trouble
trouble: setup-test build ## Plant a fault in a mesh, and see whether `spanctl status` names it; SEED=n, ROUNDS=100, PLAY=1 to find it yourself
	@CGO_ENABLED=0 go test -c -o .cache/trouble ./e2e/trouble
	@cd e2e/trouble && SPANCTL_BINARY=$(CURDIR)/bin/spanctl SPANCTL_WIREGUARD=userspace $(CURDIR)/.cache/trouble \
		-seed $(SEED) -rounds $(ROUNDS) $(if $(PLAY),-play) -test.parallel $(PARALLEL) -test.timeout 0

.PHONY: setup
setup: setup-all ## Install what all targets need

# `make setup-demo` installs what the demo needs, and so on: tools/setup lists the needs.
setup-%:
	@tools/setup $*

.PHONY: lint
lint: setup-lint lint-go lint-modules lint-generated lint-web lint-alerts lint-vulnerabilities ## Check style, import rules, generated files, alerts and known vulnerabilities

.PHONY: lint-go
lint-go: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint run $(PACKAGES)

# Every module is tidy and builds without the workspace, as its users build it.
.PHONY: lint-modules
lint-modules:
	@for m in $(MODULES); do \
		(cd $$m && GOWORK=off go mod tidy -diff && GOWORK=off go build ./...) || { echo "module $$m: run 'make tidy'"; exit 1; }; \
	done

# The logic of the pages and the hashes of their libraries. lint-generated compares the bundles.
.PHONY: lint-web
lint-web:
	@cd tools/web && GOWORK=off go vet ./... && GOWORK=off go test ./...

.PHONY: lint-generated
lint-generated: $(TOOLS)/buf $(TOOLS)/helm
	PATH=$(CURDIR)/$(TOOLS):$$PATH buf lint
	@$(TOOLS)/buf build -o -#format=binpb | $(TOOLS)/buf breaking -#format=binpb --config buf.yaml --against $(RELEASED_API) || { echo "programs use what the last release has: add fields, and leave the others as they are"; exit 1; }
	@rm -rf .cache/generated
	PATH=$(CURDIR)/$(TOOLS):$$PATH buf generate --output .cache/generated
	go run ./cmd/spanctl/docs reference .cache/generated/docs/reference
	@tools/manifests .cache/generated/deploy/kubernetes
	@cd tools/monitoring && GOWORK=off go run . $(CURDIR)/.cache/generated/deploy/monitoring
	@cd tools/web && GOWORK=off go run . $(CURDIR) $(CURDIR)/.cache/generated
	@cd .cache/generated && find . -type f | while read -r f; do \
		cmp -s "$$f" "$(CURDIR)/$$f" || { echo "$$f is not current: run 'make generate docs manifests dashboard web'"; exit 1; }; \
	done

# Debian's promtool checks the alerts and runs their tests.
.PHONY: lint-alerts
lint-alerts:
	@promtool check rules deploy/monitoring/alerts.yaml
	@promtool test rules deploy/monitoring/alerts_test.yaml

.PHONY: lint-vulnerabilities
lint-vulnerabilities: $(TOOLS)/govulncheck
	@cd cmd/spanctl && $(CURDIR)/tools/vulnerabilities $(CURDIR)/$(TOOLS)/govulncheck ./...

.PHONY: generate
generate: $(TOOLS)/buf ## Make the protocol code from the .proto files
	PATH=$(CURDIR)/$(TOOLS):$$PATH buf generate

.PHONY: docs
docs: ## Make docs/reference from the commands and the schema
	go run ./cmd/spanctl/docs reference docs/reference

.PHONY: man
man: ## Make the man pages, in bin/man
	go run ./cmd/spanctl/docs man bin/man

.PHONY: tidy
tidy: ## Tidy all go.mod files and format the code
	@for m in $(MODULES); do (cd $$m && GOWORK=off go mod tidy); done
	@gofmt -w $(MODULES)

.PHONY: bench
bench: setup-bench build $(TOOLS)/benchstat $(TOOLS)/cue ## Run the benchmarks and summarize them
	@mkdir -p .cache
	SPANCTL_BINARY=$(CURDIR)/bin/spanctl CUE_BINARY=$(CURDIR)/$(TOOLS)/cue go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCHCOUNT) $(TEST_PACKAGES) | tee .cache/bench.txt
	$(TOOLS)/benchstat .cache/bench.txt

.PHONY: bench-discovery
bench-discovery: build etcd $(BASE_BINARY) ## Measure the discovery server under load, beside the commit BASE
	@go build -o .cache/load ./e2e/load
	@.cache/load -binary bin/spanctl -base $(BASE_BINARY) -etcd $(TOOLS)/etcd $(LOADFLAGS)

.PHONY: bench-fleet
bench-fleet: build ## Measure the discovery server and agents in a cluster of 5,000 simulated machines; FLEETFLAGS='-machines 500 -quick'
	@CGO_ENABLED=0 go build -o .cache/fleet ./e2e/fleet
	@.cache/fleet -binary bin/spanctl $(FLEETFLAGS)

$(BASE_BINARY):
	@echo "building spanctl of commit $(BASE), once"
	@rm -rf .cache/base/tree
	@mkdir -p .cache/base/tree
	@git archive $(BASE) | tar -x -C .cache/base/tree
	@cd .cache/base/tree && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o $(CURDIR)/$@ ./cmd/spanctl
	@rm -rf .cache/base/tree

.PHONY: attack-discovery
attack-discovery: build ## Attack the discovery server, and measure its memory; ATTACKFLAGS='-only NAME' for one attack
	@CGO_ENABLED=0 go build -o .cache/attack ./e2e/attack
	@.cache/attack -binary bin/spanctl $(ATTACKFLAGS)

.PHONY: soak-discovery
soak-discovery: build ## Use the discovery server for SOAK=20m under churn, kills and a full disk
	@CGO_ENABLED=0 go build -o .cache/soak ./e2e/soak
	@.cache/soak -binary bin/spanctl -for $(SOAK) $(SOAKFLAGS)

.PHONY: bench-guest
bench-guest: setup-guest ## Run the benchmarks of the kernel's WireGuard in the guest
	@mkdir -p .cache/guest
	CGO_ENABLED=0 go test -c -trimpath -o .cache/guest/netlinkapply.test ./netlinkapply
	@tools/guest '/netlinkapply.test -test.run "^$$" -test.bench Peers -test.benchtime 5x' .cache/guest/netlinkapply.test

.PHONY: bench-mesh
bench-mesh: setup-demo build ## Measure meshes of many machines on this one, and check what users are promised
	@CGO_ENABLED=0 go build -o .cache/benchmesh ./e2e/benchmesh
	@SPANCTL_BINARY=$(CURDIR)/bin/spanctl .cache/benchmesh $(BENCHMESHFLAGS)

.PHONY: bench-paths
bench-paths: setup-demo build ## Measure what TCP reaches directly and through relays, and what a packet costs a relay
	@CGO_ENABLED=0 go build -o .cache/benchmesh ./e2e/benchmesh
	@SPANCTL_BINARY=$(CURDIR)/bin/spanctl .cache/benchmesh -paths 3

.PHONY: bench-ui
bench-ui: setup-host ## Measure how long Chromium takes to draw a matrix of 100 machines
	@go test ./e2e/ui -run '^$$' -bench Matrix -benchtime 3x

.PHONY: fuzz
fuzz: ## Fuzz every parser of untrusted input for FUZZTIME each
	@tools/fuzz $(FUZZTIME) '$(FUZZ)' $(MODULES)

.PHONY: release
release: $(TOOLS)/buf ## Check the tree and tag VERSION=v1.2.3 for every module; pushes nothing
	@$(PRINT_API) | cmp -s - $(RELEASED_API) || { echo "$(RELEASED_API) is not the API of this version: run 'make release-prepare VERSION=$(VERSION)' and commit"; exit 1; }
	@tools/release tag '$(VERSION)' $(MODULES)

.PHONY: release-prepare
release-prepare: $(TOOLS)/buf ## Make the modules require each other at VERSION=v1.2.3, the first version of new settings
	@tools/release prepare '$(VERSION)' $(MODULES)
	@$(PRINT_API) >$(RELEASED_API)
	$(MAKE) docs

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin .cache .tools

# The tools are pinned by the modules in tools/.
$(TOOLS)/golangci-lint $(TOOLS)/govulncheck $(TOOLS)/benchstat: tools/lint/go.mod
	@echo "building the linters, once: some minutes on a new machine"
	cd tools/lint && GOWORK=off GOBIN=$(CURDIR)/$(TOOLS) go install tool
	@touch $(TOOLS)/golangci-lint $(TOOLS)/govulncheck $(TOOLS)/benchstat

$(TOOLS)/etcd: tools/etcd/go.mod
	@echo "building etcd, once"
	@mkdir -p $(TOOLS)
	cd tools/etcd && GOWORK=off go build -o $(CURDIR)/$(TOOLS)/etcd go.etcd.io/etcd/server/v3

KUBERNETES := k8s.io/component-base/version
KUBERNETES_VERSION := $(shell awk '$$1 == "k8s.io/kubernetes" {print $$2}' tools/kubernetes/go.mod)
KUBERNETES_MINOR := $(word 2,$(subst ., ,$(KUBERNETES_VERSION)))

# kubectl fails without a version.
$(TOOLS)/kube-apiserver: tools/kubernetes/go.mod
	@echo "building the control plane of Kubernetes, kubeadm and kubectl, once: some minutes"
	@mkdir -p $(TOOLS)
	cd tools/kubernetes && GOWORK=off go build -trimpath -o $(CURDIR)/$(TOOLS)/ \
		-ldflags "-s -w -X $(KUBERNETES).gitVersion=$(KUBERNETES_VERSION) -X $(KUBERNETES).gitMajor=1 -X $(KUBERNETES).gitMinor=$(KUBERNETES_MINOR)" \
		$(addprefix k8s.io/kubernetes/cmd/,kube-apiserver kube-controller-manager kubeadm kubectl)

# One of its backends is in C. Later versions import a module that the checksum database does
# not know. It is in the module of Kubernetes, as both share most of their code.
$(TOOLS)/flannel: tools/kubernetes/go.mod
	@echo "building flannel, once"
	@mkdir -p $(TOOLS)
	cd tools/kubernetes && GOWORK=off CGO_ENABLED=1 go build -trimpath -ldflags '-s -w' -o $(CURDIR)/$(TOOLS)/flannel github.com/flannel-io/flannel

# The registry is an internal package of Talos, so its program is built in a copy of Talos'
# module. That module requires pkg/machinery at the path where its repository has it.
$(TOOLS)/talos-registry: tools/talos/go.mod tools/talos/registry/main.go
	@echo "building the registry of Talos Linux, once: a minute"
	@mkdir -p $(TOOLS) .cache
	rm -rf .cache/talos
	cd tools/talos && GOWORK=off go mod download
	cp -r "$$(cd tools/talos && GOWORK=off go list -m -f '{{.Dir}}' github.com/siderolabs/talos)" .cache/talos
	chmod -R u+w .cache/talos
	cp -r "$$(cd tools/talos && GOWORK=off go list -m -f '{{.Dir}}' github.com/siderolabs/talos/pkg/machinery)" .cache/talos/pkg/machinery
	chmod -R u+w .cache/talos
	cp -r tools/talos/registry .cache/talos/internal/spanctl
	cd .cache/talos && GOWORK=off go build -trimpath -ldflags '-s -w' -o $(CURDIR)/$(TOOLS)/talos-registry ./internal/spanctl
	rm -rf .cache/talos

HELM_KUBERNETES := helm.sh/helm/v3/pkg/chartutil

$(TOOLS)/helm: tools/helm/go.mod
	@echo "building helm, once: a minute"
	@mkdir -p $(TOOLS)
	cd tools/helm && GOWORK=off go build -trimpath -o $(CURDIR)/$(TOOLS)/helm \
		-ldflags "-s -w -X $(HELM_KUBERNETES).k8sVersionMajor=1 -X $(HELM_KUBERNETES).k8sVersionMinor=$(KUBERNETES_MINOR)" helm.sh/helm/v3/cmd/helm

$(TOOLS)/nfpm: tools/packages/go.mod $(wildcard tools/packages/image/*.go)
	@echo "building nfpm and the image builder, once"
	@mkdir -p $(TOOLS)
	cd tools/packages && GOWORK=off go build -trimpath -o $(CURDIR)/$(TOOLS)/ github.com/goreleaser/nfpm/v2/cmd/nfpm ./image

$(TOOLS)/cue: tools/cue/go.mod
	@echo "building cue, once"
	cd tools/cue && GOWORK=off GOBIN=$(CURDIR)/$(TOOLS) go install tool
	@touch $(TOOLS)/cue

$(TOOLS)/buf: tools/proto/go.mod
	@echo "building the protocol tools, once"
	cd tools/proto && GOWORK=off GOBIN=$(CURDIR)/$(TOOLS) go install tool
	@touch $(TOOLS)/buf
