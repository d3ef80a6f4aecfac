# Everything here sets itself up on a fresh Debian machine with Go.
#
#   make demo    the daemon at work in a lab of three ISPs, without root
#   make test    all tests; as root it installs the servers they run against
#   make bench   the promised figures, measured
#   make soak    all that may happen to a gateway, at random: SOAK=10m, SEED= to repeat one
#   make test-kernels  Debian's kernels, each under QEMU: KERNELS="bullseye bookworm trixie"
#   make fuzz    each parser of what comes from outside: FUZZTIME=30s
#   make build   bin/uplinkd, its manual pages, completions and schema
#   make lint    the linters of tools/go.mod
#   make install what was built, into DESTDIR, with the unit file
#   make deb     packages, for ARCHES="amd64 arm64"; likewise make rpm, make tarball and make sbom
#   make test-systemd  installed on bare Debian with a real systemd, SUITES="bookworm trixie"

# The version and its day stand in CHANGELOG.md alone.
VERSION ?= $(shell awk '/^.. [0-9]/ {print $$2; exit}' CHANGELOG.md)
DATE     = $(shell awk '/^.. [0-9]/ {print substr($$3, 2, 10); exit}' CHANGELOG.md)
COMMIT  ?= $(shell git describe --match=none --always --abbrev=40 --dirty 2>/dev/null)
PREFIX  ?= /usr
ARCH     = $(shell go env GOARCH 2>/dev/null || dpkg --print-architecture)
ARCHES   = amd64 arm64
MANUAL   = bin/manual
NFPM     = go tool -modfile=tools/go.mod nfpm
# What the tests run against: a compiler for the race detector, ip and nft, real
# DHCP servers, a real SOCKS server, systemd-analyze, a bus for systemd-resolved, UPnP's two
# ends, what makes one of two gateways, and who else writes rules.
PACKAGES = gcc libc6-dev git curl iproute2 nftables conntrack iperf3 dnsmasq-base kea-dhcp4-server kea-dhcp6-server dante-server mptcpize systemd dbus-daemon \
           miniupnpd-nftables miniupnpc keepalived haproxy conntrackd \
           mmdebstrap lintian prometheus chromium tmux docker.io firewalld isc-dhcp-client iptables bird2 frr network-manager
# systemd-resolved is unpacked here and not installed: that would change whom this machine asks.
RESOLVED = $(CURDIR)/bin/resolved
LAB      = ./cmd/uplinkd
LANES    = lab-0 lab-1 lab-2 lab-3 lab-4 lab-5
MACHINE  = ./internal/lab/machine
SUITES   = trixie
KERNELS  = bullseye bookworm trixie
SOAK     = 10m
FUZZTIME = 30s
VET      = go vet ./...
RACE     = command -v gcc >/dev/null && echo -race
SKIPPED  = $(CURDIR)/bin/skipped
OTHERS   = $(shell go list ./... | grep -v -e /cmd/ -e /lab/machine)

export UPLINKD_RESOLVED = $(RESOLVED)/lib/systemd/systemd-resolved

.PHONY: FORCE installed bare build manual deb rpm tarball sbom test-systemd demo test $(LANES) test-kernels bench soak fuzz lint deps install clean

build: bin/$(ARCH)/uplinkd manual
	ln -sf $(ARCH)/uplinkd bin/uplinkd

# Two builds of one commit are the same: no path, no time and no id of a build is in it.
bin/%/uplinkd: FORCE
	CGO_ENABLED=0 GOARCH=$* go build -trimpath -buildvcs=false -ldflags '-s -w -buildid= -X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o $@ ./cmd/uplinkd

manual:
	CGO_ENABLED=0 go run -trimpath ./cmd/uplinkd manual --date $(DATE) $(MANUAL)
	tools/package/changelog <CHANGELOG.md >$(MANUAL)/changelog.Debian
	cp CHANGELOG.md $(MANUAL)/changelog
	cd $(MANUAL) && for f in *.[578] changelog changelog.Debian; do gzip -9nc $$f >$$f.gz; done

# All packages hold what tools/package/nfpm.yaml lists; the archive is what is in the deb.
deb rpm: manual
	@for arch in $(ARCHES); do $(MAKE) --no-print-directory bin/$$arch/uplinkd && \
		ARCH=$$arch VERSION=$(VERSION) SOURCE_DATE_EPOCH=$$(date -u -d $(DATE) +%s) $(NFPM) package -f tools/package/nfpm.yaml -p $@ -t bin/ || exit 1; done

tarball: deb
	@for arch in $(ARCHES); do dpkg-deb --fsys-tarfile bin/uplinkd_$(VERSION)-1_$$arch.deb | gzip -9n >bin/uplinkd-$(VERSION)-linux-$$arch.tar.gz; done

sbom:
	go tool -modfile=tools/go.mod cyclonedx-gomod app -json -licenses -noserial -main cmd/uplinkd -output bin/uplinkd-$(VERSION).cdx.json .
	sed -i 's/"timestamp": "[^"]*"/"timestamp": "$(DATE)T00:00:00Z"/' bin/uplinkd-$(VERSION).cdx.json

FORCE:

demo: build
	bin/uplinkd demo

# The lab runs for itself: it measures times. Most of its tests wait, and so three sixths of them run at
# once, which keep one processor busy; those that measure what the daemon costs, or keep the
# processors busy, run alone.
ALONE = ^Test(Faults|IPv6Troubles|Failover|TimeTo.*|Idle|Busy|ProcessorsTaken|MarksCostLittle|ManyForeignRoutes|ManyFlowsHoldUpNothing|SwitchOfMany)$$

test: deps bare
	$(VET)
	@command -v gcc >/dev/null || echo "no C compiler: tests run without the race detector"
	@rm -f $(SKIPPED); mkdir -p $(dir $(SKIPPED))
	UPLINKD_SKIPPED=$(SKIPPED) go test $$($(RACE)) -timeout 5m -count=1 $(OTHERS)
	UPLINKD_SKIPPED=$(SKIPPED) go test $$($(RACE)) -timeout 8m -count=1 -run '$(ALONE)' $(LAB)
	@$(MAKE) --no-print-directory -j3 -Otarget installed $(LANES)
	@if [ -s $(SKIPPED) ]; then echo "skipped on this machine:"; sort -u $(SKIPPED) | sed 's/^/  /'; \
		else echo "nothing was skipped"; fi

# Every sixth test of the lab: where one takes long, others are taken meanwhile.
$(LANES):
	UPLINKD_SKIPPED=$(SKIPPED) go test $$($(RACE)) -timeout 12m -count=1 -skip '$(ALONE)' -run "^($$(grep -ho '^func Test[A-Z][A-Za-z0-9]*' \
		$(LAB)/*_test.go | cut -c6- | sort -u | awk 'NR % 6 == $(@:lab-%=%)' | paste -sd'|'))$$" $(LAB)

# A real systemd on a bare Debian, in the lab's network: it waits for the most part, too.
installed:
	UPLINKD_SKIPPED=$(SKIPPED) go test -timeout 10m -count=1 $(MACHINE)

# What that starts from: a package, and the trees. Only root can make and start them.
bare:
	@if [ "$$(id -u)" = 0 ] && command -v mmdebstrap >/dev/null; then \
		$(MAKE) --no-print-directory deb ARCHES=$(ARCH) && internal/lab/machine/root bin/roots $(SUITES); fi

test-systemd: SUITES = bookworm trixie
test-systemd: deps bare
	go test -timeout 10m -count=1 -v $(MACHINE)

bench: export UPLINKD_BENCH = 1
bench: deps
	go test -run '^$$' -bench . -benchmem $(OTHERS)
	go test -timeout 14m -count=1 -v -run 'Figures|Failover|Spread|Cleanup|Killed|Idle|Busy|LeaseToDefaultRoute|Danted' $(LAB) \
		| grep -E '^(---|ok|FAIL)| (connections|idle|busy|from the)|    ---'
	UPLINKD_FLOWS=1000000 go test -timeout 5m -count=1 -v -run 'ManyFlows|FightOver|ExitZero' $(LAB) | grep -E '^(---|ok|FAIL)|_test.go'
	UPLINKD_RUNS=50 go test -timeout 30m -count=1 -v -run TimeTo $(LAB) | grep -E '^(---|ok|FAIL)|_test.go'
	UPLINKD_RUNS=20 UPLINKD_WATCH=10m go test -timeout 60m -count=1 -v -run 'Starlink|OneWay|CarrierAfter' $(LAB) \
		| grep -E '^(---|ok|FAIL)|_test.go'
	UPLINKD_ROUTES=1000000 go test -timeout 5m -count=1 -v -run ManyForeignRoutes $(LAB) | grep -E '^(---|ok|FAIL)|_test.go'
	UPLINKD_RUNS=10 go test -timeout 15m -count=1 -v -run 'TwoGateways|TwoHosts|OutliveTheir' $(LAB) | grep -E '^(---|ok|FAIL)|_test.go'
	UPLINKD_RUNS=100 go test -timeout 5m -count=1 -v -run 'MPTCP|DantedPair' $(LAB) | grep -E '^(---|ok|FAIL)|_test.go'
	UPLINKD_RUNS=9 go test -timeout 5m -count=1 -v -run 'MarksCost|Flows|SwitchOf' $(LAB) | grep -E '^(---|ok|FAIL)|_test.go'
	go test -timeout 5m -count=1 -v -run 'BusyLink|ManyTargets|TimeToDown|ManyPrefixes' ./dhcp ./probe ./routes/kernel \
		| grep -E '^(---|ok|FAIL)|_test.go'
	UPLINKD_RUNS=20 UPLINKD_WATCH=10m go test -timeout 60m -count=1 -v -run Faults $(LAB) | grep -vE '^(===|time=)'

test-kernels: deps
	internal/lab/kernels/run $(KERNELS)

# The same things at random, again and again; then lists of a few, each on its own.
soak: deps
	UPLINKD_SOAK=$(SOAK) UPLINKD_SEED=$(or $(SEED),$(shell date +%s)) go test -timeout 120m -count=1 -v -run TestSoak $(LAB)
	UPLINKD_SEQUENCES=$(or $(SEQUENCES),100) UPLINKD_SEED=$(or $(SEED),$(shell date +%s)) go test -timeout 120m -count=1 -v \
		-run TestPromisesInTheKernel $(LAB) | grep -E '^(---|ok|FAIL)|_test.go'

# One parser after the other. What breaks one is kept below its testdata, and tried by
# every test from then on.
fuzz:
	@for file in $$(grep -rl '^func Fuzz' --include=*_test.go .); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\).*/\1/p' $$file); do \
			echo "$$name in $$(dirname $$file)"; \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$(dirname $$file) || exit 1; \
		done; done

lint:
	go tool -modfile=tools/go.mod golangci-lint run ./...

# Only what is missing is installed, each by itself, for no Debian has them all (Debian 13
# has no dante-server), and no server is started: policy-rc.d says
# so to Debian's packages.
deps:
	@missing=; for p in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "not root, or no apt: tests that need one of these are skipped:$$missing"; exit 0; fi; \
	if [ ! -e /usr/sbin/policy-rc.d ]; then \
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; \
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT; fi; \
	apt-get update -q; for p in $$missing; do \
		DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$p || \
		echo "not installed: $$p: tests that need it are skipped"; done
	@if [ -e $(UPLINKD_RESOLVED) ] || [ -e /usr/lib/systemd/systemd-resolved ] || [ "$$(id -u)" != 0 ] || \
		! command -v apt-get >/dev/null; then exit 0; fi; \
	mkdir -p $(RESOLVED)/download && cd $(RESOLVED)/download && \
	{ apt-get download -q systemd-resolved || { apt-get update -q && apt-get download -q systemd-resolved; }; } && \
	for p in systemd-resolved_*.deb; do dpkg-deb -x $$p $(RESOLVED); done; rm -rf $(RESOLVED)/download; \
	[ -e $(UPLINKD_RESOLVED) ] || [ ! -e $(RESOLVED)/usr/lib/systemd ] || ln -s usr/lib $(RESOLVED)/lib; \
	[ -e $(UPLINKD_RESOLVED) ] || echo "no systemd-resolved: tests that need it are skipped"

# Only what has been built is put in place: root need have no Go.
install:
	@test -x bin/uplinkd || { echo "bin/uplinkd is not there: run make build first, as whoever has Go"; exit 1; }
	tools/package/install "$(DESTDIR)" "$(PREFIX)"

clean:
	rm -rf bin
