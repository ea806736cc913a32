# make demo   builds bin/nimbus and launches two machines that configure themselves
# make test   installs what the tests need and runs all of them

export CGO_ENABLED = 0
GO ?= go
LINKS = cloud-client.sh cloud-client ctx-broker ctx-agent launch.sh

# Go refuses to build where git does: in a clone that belongs to somebody else.
# There the program does not know its commit.
VCS = $$(git rev-parse HEAD >/dev/null 2>&1 || echo -buildvcs=false)

.PHONY: build release demo man install uninstall test namespaces lint test-deps bench fuzz test-acme test-vms test-systemd test-cloud-init picture clean
build:
	$(GO) build -trimpath $(VCS) -ldflags="-s -w" -o bin/nimbus .
	@for link in $(LINKS); do ln -sfn nimbus bin/$$link; done

# All platforms, for a broker to hand out, or to be unpacked somewhere: programs,
# their sums, and install.sh. The same commit makes the same files.
PLATFORMS = linux-amd64 linux-arm64 linux-armv7 linux-riscv64 linux-ppc64le linux-s390x darwin-amd64 darwin-arm64
RELEASE = bin/release
release:
	@rm -rf $(RELEASE)
	@mkdir -p $(RELEASE)
	@for platform in $(PLATFORMS); do \
		arch=$${platform#*-}; \
		case $$arch in armv7) arch=arm ;; esac; \
		echo "$(RELEASE)/nimbus-$$platform"; \
		GOOS=$${platform%-*} GOARCH=$$arch GOARM=7 $(GO) build -trimpath $(VCS) -ldflags="-s -w" -o $(RELEASE)/nimbus-$$platform . || exit 1; \
	done
	@cp -L install.sh $(RELEASE)/install.sh
	@cd $(RELEASE) && { if command -v sha256sum >/dev/null; then sha256sum -- *; else shasum -a 256 -- *; fi; } >.sums && mv .sums SHA256SUMS
	@echo "To hand them out: cp $(RELEASE)/* DATA/downloads/ (the broker's data directory), or nimbus broker --downloads $(RELEASE)."
	@echo "To install from there: $(RELEASE)/install.sh agent, or broker, or client."

demo: build
	bin/cloud-client.sh --run --cluster samples/hello-cluster.xml --hours 1

# Manual pages out of the help texts.
man: build
	rm -rf bin/man
	bin/nimbus man bin/man

# The program, the names it has, manual pages and completions; DESTDIR is for
# packages. (An agent is installed by "nimbus agent install", a broker by "nimbus
# broker install".)
PREFIX ?= /usr/local
DESTDIR ?=
install: build
	bin/nimbus install --root "$(DESTDIR)/" --prefix "$(PREFIX)"

uninstall: build
	bin/nimbus install --uninstall --root "$(DESTDIR)/" --prefix "$(PREFIX)"

test-deps:
	sh scripts/test-deps.sh

# The packages with the race detector; the sessions of the root package with the
# static program that users run, as its own keeper, sandbox and agent.
test: test-deps namespaces
	CGO_ENABLED=1 $(GO) test -race -timeout 10m $$($(GO) list ./... | grep -v '^nimbus$$')
	$(GO) test -timeout 10m .

# The sessions launch real sandboxes.
namespaces:
	@[ "$$(uname)" != Linux ] || unshare --net --mount true 2>/dev/null || \
		{ echo "make test needs the right to make namespaces: run it as root on Linux (sudo make test)" >&2; exit 1; }

lint: test-deps
	test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) vet -tags vm ./scripts/vm
	$(GO) tool staticcheck -tags vm ./scripts/vm
	GOOS=darwin $(GO) vet ./...
	shellcheck client/completion/nimbus.bash
	shellcheck client/deploy/userdata.sh
	shellcheck -e SC2034,SC2154 cloud/ssh/sh/*.sh # they are one program with common.sh
	shellcheck scripts/vm/*.sh scripts/vm/light-init samples/clouds/*.sh cloud/command/testdata/*.sh
	shellcheck install.sh install/boot/launch.sh install/boot/sysv scripts/*.sh $$(find ctxscripts -type f ! -name '*.go' ! -name '*.md')

bench: build
	$(GO) test -run '^$$' -bench . -benchtime 3x ./bench ./broker

# Each fuzz target for FUZZTIME.
FUZZTIME ?= 30s
fuzz:
	sh scripts/fuzz.sh $(FUZZTIME)

# A public certificate from a real ACME server on loopback.
test-acme:
	PEBBLE=$$(sh scripts/pebble.sh) && PEBBLE=$$PEBBLE $(GO) test -tags acme -run TestACME -v ./broker

# Real virtual machines, emulated: light ones, started in ten seconds; and
# systemd with cloud-init, which takes minutes. The first time, and after
# changes in scripts/vm, an image is built for them (a minute or two).
test-vms: test-deps
	sh scripts/vm/deps.sh
	$(GO) test -tags vm -count 1 -timeout 30m -v -skip 'TestCloudInit|TestSystemd' ./scripts/vm

test-systemd: test-deps
	sh scripts/vm/deps.sh
	$(GO) test -tags vm -count 1 -timeout 20m -v -run TestSystemd ./scripts/vm

test-cloud-init: test-deps
	sh scripts/vm/deps.sh
	$(GO) test -tags vm -count 1 -timeout 40m -v -run TestCloudInit ./scripts/vm

# docs/live.svg, from a real launch in a terminal.
picture: test-deps
	sh scripts/picture.sh

clean:
	rm -rf bin
