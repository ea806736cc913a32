# make demo   builds bin/nimbus and launches two machines that configure themselves
# make test   installs what the tests need and runs all of them

export CGO_ENABLED = 0
GO ?= go
LINKS = cloud-client.sh cloud-client ctx-broker ctx-agent launch.sh
INSTALLED = cloud-client.sh cloud-client ctx-broker ctx-agent

# Go refuses to build where git does: in a clone that belongs to somebody else.
# There the program does not know its commit.
VCS = $$(git rev-parse HEAD >/dev/null 2>&1 || echo -buildvcs=false)

.PHONY: build demo man install uninstall test namespaces lint test-deps bench fuzz test-acme picture clean
build:
	$(GO) build -trimpath $(VCS) -ldflags="-s -w" -o bin/nimbus .
	@for link in $(LINKS); do ln -sfn nimbus bin/$$link; done

demo: build
	bin/cloud-client.sh --run --cluster samples/hello-cluster.xml --hours 1

# Manual pages out of the help texts.
man: build
	rm -rf bin/man
	bin/nimbus man bin/man

# The program, the names it has, manual pages and completions. (The agent in an
# image is install.sh's.)
PREFIX ?= /usr/local
DESTDIR ?=
BIN = $(DESTDIR)$(PREFIX)/bin
SHARE = $(DESTDIR)$(PREFIX)/share
install: man
	install -d $(BIN) $(SHARE)/man/man1 $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -m 755 bin/nimbus $(BIN)/.nimbus.new
	mv -f $(BIN)/.nimbus.new $(BIN)/nimbus
	for link in $(INSTALLED); do ln -sfn nimbus $(BIN)/$$link; done
	install -m 644 bin/man/*.1 $(SHARE)/man/man1
	bin/nimbus completion bash >$(SHARE)/bash-completion/completions/nimbus
	for link in cloud-client cloud-client.sh; do ln -sfn nimbus $(SHARE)/bash-completion/completions/$$link; done
	bin/nimbus completion zsh >$(SHARE)/zsh/site-functions/_nimbus
	bin/nimbus completion fish >$(SHARE)/fish/vendor_completions.d/nimbus.fish
	for link in cloud-client cloud-client.sh; do ln -sfn nimbus.fish $(SHARE)/fish/vendor_completions.d/$$link.fish; done

uninstall:
	rm -f $(BIN)/nimbus $(SHARE)/man/man1/nimbus.1 $(SHARE)/man/man1/nimbus-*.1 $(SHARE)/zsh/site-functions/_nimbus
	for link in $(INSTALLED); do rm -f $(BIN)/$$link; done
	for name in nimbus cloud-client cloud-client.sh; do rm -f $(SHARE)/bash-completion/completions/$$name $(SHARE)/fish/vendor_completions.d/$$name.fish; done

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
	GOOS=darwin $(GO) vet ./...
	shellcheck client/completion/nimbus.bash
	shellcheck -e SC2034,SC2154 cloud/ssh/sh/*.sh # they are one program with common.sh
	shellcheck install.sh scripts/*.sh $$(find ctxscripts -type f ! -name '*.go' ! -name '*.md')

bench: build
	$(GO) test -run '^$$' -bench . -benchtime 3x ./bench ./broker

# Each fuzz target for FUZZTIME.
FUZZTIME ?= 30s
fuzz:
	sh scripts/fuzz.sh $(FUZZTIME)

# A public certificate from a real ACME server on loopback.
test-acme:
	PEBBLE=$$(sh scripts/pebble.sh) && PEBBLE=$$PEBBLE $(GO) test -tags acme -run TestACME -v ./broker

# docs/live.svg, from a real launch in a terminal.
picture: test-deps
	sh scripts/picture.sh

clean:
	rm -rf bin
