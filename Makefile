# What can be done here: `make` alone lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

MODULES := schema reconciler discoveryhttp discoverykube netlinkapply cmd/spanctl e2e
PACKAGES := $(MODULES:%=./%/...)
TOOLS := .tools/bin
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
STAMP := github.com/spanmesh/span/cmd/spanctl/internal/version

# Flags for `go test`, such as TESTFLAGS='-run TestTen -v'.
TESTFLAGS ?=
# How many tests that wait for much of their time run at once.
PARALLEL ?= 6
# How long each fuzz target runs.
FUZZTIME ?= 10s
# How often `make bench` runs each benchmark, and what benchstat then compares.
BENCHCOUNT ?= 6
BENCH ?= .
# Where the tests write which scenarios they went through.
SCENARIOS := $(CURDIR)/.cache/scenarios
# A process that looks for races sleeps a second at its end; tests start many.
export GORACE ?= atexit_sleep_ms=0 halt_on_error=1

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup build ## Three machines become a mesh before your eyes, in namespaces
	@go build -o .cache/demo ./e2e/demo
	@SPANCTL_BINARY=$(CURDIR)/bin/spanctl .cache/demo

.PHONY: test
test: test-host test-guest $(if $(TESTFLAGS),,test-units) $(if $(TESTFLAGS),,test-matrix) ## Run all tests: on this machine, and in the guest

.PHONY: test-host
test-host: setup build etcd kubernetes packages $(TOOLS)/helm $(TOOLS)/flannel $(TOOLS)/talos-registry ## Run the tests on this machine, end to end ones included
	@mkdir -p $(SCENARIOS)
	@rm -f $(SCENARIOS)/userspace
	SPANCTL_BINARY=$(CURDIR)/bin/spanctl SPANCTL_WIREGUARD=userspace SPANCTL_SCENARIOS=$(SCENARIOS)/userspace \
		go test -race -count 1 -parallel $(PARALLEL) -timeout 15m $(TESTFLAGS) $(PACKAGES)

# The same test code, in a virtual machine whose kernel has WireGuard. There,
# spanctl fails rather than use the userspace process.
.PHONY: test-guest
test-guest: setup build ## Run the tests of the mesh on the kernel's own WireGuard
	@mkdir -p .cache/guest $(SCENARIOS)
	CGO_ENABLED=0 go test -c -trimpath -o .cache/guest/e2e.test ./e2e
	CGO_ENABLED=0 go test -c -trimpath -o .cache/guest/netlinkapply.test ./netlinkapply
	@rm -f $(SCENARIOS)/kernel
	@tools/guest-tests $(SCENARIOS)/kernel -parallel $(PARALLEL) $(TESTFLAGS)

.PHONY: test-units
test-units: setup packages ## Run the packages' units under systemd, in the guest
	@tools/guest-units

.PHONY: test-matrix
test-matrix: ## Check that docs/testing.md is what the tests said; UPDATE=1 writes it
	@go run ./e2e/matrix $(if $(UPDATE),-update) docs/testing.md $(SCENARIOS)

.PHONY: test-race
test-race: setup ## Run the end to end tests on a binary that looks for data races
	go build -race -o .cache/spanctl-race ./cmd/spanctl
	SPANCTL_BINARY=$(CURDIR)/.cache/spanctl-race go test -race -count 1 -timeout 15m $(TESTFLAGS) ./e2e/...

.PHONY: build
build: ## Build bin/spanctl, static, for this machine
	@mkdir -p bin .cache
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X $(STAMP).Version=$(VERSION) -X $(STAMP).Commit=$(COMMIT)' -o bin/spanctl ./cmd/spanctl

.PHONY: etcd
etcd: $(TOOLS)/etcd ## Build the etcd that tests keep affiliates in

.PHONY: kubernetes
kubernetes: $(TOOLS)/kube-apiserver ## Build the control plane, kubeadm and kubectl that tests work with

.PHONY: packages
packages: build man $(TOOLS)/nfpm ## Make the .deb, the .rpm and the container image, in .cache/packages
	@tools/package $(VERSION)

.PHONY: manifests
manifests: $(TOOLS)/helm ## Make the manifests in deploy/kubernetes out of the chart
	@tools/manifests deploy/kubernetes

.PHONY: setup
setup: ## Install what building and testing need
	@tools/setup

.PHONY: lint
lint: setup lint-go lint-modules lint-generated lint-vulnerabilities ## Check style, arrows, generated files and known vulnerabilities

.PHONY: lint-go
lint-go: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint run $(PACKAGES)

# Every module is tidy and builds without the workspace, as its users build it.
.PHONY: lint-modules
lint-modules:
	@for m in $(MODULES); do \
		(cd $$m && GOWORK=off go mod tidy -diff && GOWORK=off go build ./...) || { echo "module $$m: run 'make tidy'"; exit 1; }; \
	done

.PHONY: lint-generated
lint-generated: $(TOOLS)/buf $(TOOLS)/helm
	PATH=$(CURDIR)/$(TOOLS):$$PATH buf lint
	@rm -rf .cache/generated
	PATH=$(CURDIR)/$(TOOLS):$$PATH buf generate --output .cache/generated
	go run ./cmd/spanctl/docs reference .cache/generated/docs/reference
	@tools/manifests .cache/generated/deploy/kubernetes
	@cd .cache/generated && find . -type f | while read -r f; do \
		cmp -s "$$f" "$(CURDIR)/$$f" || { echo "$$f is not current: run 'make generate docs manifests'"; exit 1; }; \
	done

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
bench: setup build $(TOOLS)/benchstat $(TOOLS)/cue ## Run the benchmarks and summarize them
	@mkdir -p .cache
	SPANCTL_BINARY=$(CURDIR)/bin/spanctl CUE_BINARY=$(CURDIR)/$(TOOLS)/cue go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCHCOUNT) $(PACKAGES) | tee .cache/bench.txt
	$(TOOLS)/benchstat .cache/bench.txt

.PHONY: bench-discovery
bench-discovery: build etcd ## Measure the discovery server under load, on loopback
	@go build -o .cache/load ./e2e/load
	@.cache/load -binary bin/spanctl -etcd $(TOOLS)/etcd $(LOADFLAGS)

.PHONY: bench-guest
bench-guest: setup ## Run the benchmarks of the kernel's side in the guest
	@mkdir -p .cache/guest
	CGO_ENABLED=0 go test -c -trimpath -o .cache/guest/netlinkapply.test ./netlinkapply
	@tools/guest '/netlinkapply.test -test.run "^$$" -test.bench Peers -test.benchtime 5x' .cache/guest/netlinkapply.test

.PHONY: bench-mesh
bench-mesh: setup build ## Measure a mesh of thirty machines on this one
	@go build -o .cache/crowd ./e2e/crowd
	@SPANCTL_BINARY=$(CURDIR)/bin/spanctl .cache/crowd $(CROWDFLAGS)

.PHONY: fuzz
fuzz: ## Fuzz every parser of foreign input for FUZZTIME each
	@tools/fuzz $(FUZZTIME) $(MODULES)

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin .cache .tools

# The tools are pinned by the modules in tools/.
$(TOOLS)/golangci-lint $(TOOLS)/govulncheck $(TOOLS)/benchstat: tools/lint/go.mod
	@echo "building the linters, once; this takes some minutes on a new machine"
	cd tools/lint && GOWORK=off GOBIN=$(CURDIR)/$(TOOLS) go install tool
	@touch $(TOOLS)/golangci-lint $(TOOLS)/govulncheck $(TOOLS)/benchstat

$(TOOLS)/etcd: tools/etcd/go.mod
	@echo "building etcd, once"
	@mkdir -p $(TOOLS)
	cd tools/etcd && GOWORK=off go build -o $(CURDIR)/$(TOOLS)/etcd go.etcd.io/etcd/server/v3

KUBERNETES := k8s.io/component-base/version
KUBERNETES_VERSION := $(shell awk '$$1 == "k8s.io/kubernetes" {print $$2}' tools/kubernetes/go.mod)
KUBERNETES_MINOR := $(word 2,$(subst ., ,$(KUBERNETES_VERSION)))

# Without its version kubectl fails.
$(TOOLS)/kube-apiserver: tools/kubernetes/go.mod
	@echo "building the control plane of Kubernetes, kubeadm and kubectl, once; this takes some minutes"
	@mkdir -p $(TOOLS)
	cd tools/kubernetes && GOWORK=off go build -trimpath -o $(CURDIR)/$(TOOLS)/ \
		-ldflags "-s -w -X $(KUBERNETES).gitVersion=$(KUBERNETES_VERSION) -X $(KUBERNETES).gitMajor=1 -X $(KUBERNETES).gitMinor=$(KUBERNETES_MINOR)" \
		$(addprefix k8s.io/kubernetes/cmd/,kube-apiserver kube-controller-manager kubeadm kubectl)

# One of its backends is in C. Later versions import a module that the checksum database does
# not know. It shares the client of Kubernetes with the above, which is most of it.
$(TOOLS)/flannel: tools/kubernetes/go.mod
	@echo "building flannel, once"
	@mkdir -p $(TOOLS)
	cd tools/kubernetes && GOWORK=off CGO_ENABLED=1 go build -trimpath -ldflags '-s -w' -o $(CURDIR)/$(TOOLS)/flannel github.com/flannel-io/flannel

# The registry is an internal package, so that its program is built in a copy of the module,
# which has another one inside of it.
$(TOOLS)/talos-registry: tools/talos/go.mod tools/talos/registry/main.go
	@echo "building the registry of Talos Linux, once; this takes a minute"
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
	@echo "building helm, once; this takes a minute"
	@mkdir -p $(TOOLS)
	cd tools/helm && GOWORK=off go build -trimpath -o $(CURDIR)/$(TOOLS)/helm \
		-ldflags "-s -w -X $(HELM_KUBERNETES).k8sVersionMajor=1 -X $(HELM_KUBERNETES).k8sVersionMinor=$(KUBERNETES_MINOR)" helm.sh/helm/v3/cmd/helm

$(TOOLS)/nfpm: tools/packages/go.mod $(wildcard tools/packages/image/*.go)
	@echo "building what makes packages, once"
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
