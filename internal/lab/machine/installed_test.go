package machine_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/internal/lab/machine"
	"uplinkd/uplink/api"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// suites are the Debians that are tried: those whose trees were made (make test-systemd makes two).
func suites(t *testing.T) map[string]string {
	t.Helper()
	dir := os.Getenv("UPLINKD_ROOTS")
	if dir == "" {
		dir = "../../../bin/roots"
	}
	made, err := filepath.Glob(filepath.Join(dir, "*.made"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range made {
		tree, err := filepath.Abs(strings.TrimSuffix(m, ".made"))
		if err != nil {
			t.Fatal(err)
		}
		found[filepath.Base(tree)] = tree
	}
	return found
}

// A host is a machine with uplinks to the lab's providers, as a person at its terminal has it before him.
type host struct {
	*testing.T
	*machine.Machine
	world *lab.World
	suite string
	aside time.Duration   // spent on what no new user does
	said  strings.Builder // what was typed and answered
}

// typed runs a command in /root as a person would, and notes what it answers, or what is left of that.
func (h *host) typed(command string, shown ...string) {
	h.Helper()
	line := "cd; " + command
	if command == "uplinkd init" { // at a terminal, where Enter takes each guess
		line = "cd; for n in 1 2 3 4 5; do sleep 0.3; echo; done | script -qec 'uplinkd init' /dev/null | tr -d '\\r'"
	}
	out, err := h.Do("bash", "-o", "pipefail", "-c", line)
	if err != nil {
		h.Fatalf("%s: %v\n%s", command, err, out)
	}
	if len(shown) > 0 {
		cmd := exec.Command("sh", "-c", shown[0])
		cmd.Stdin = strings.NewReader(out)
		text, err := cmd.Output()
		if err != nil {
			h.Fatal(err)
		}
		out = "...\n" + string(text)
		if strings.HasPrefix(shown[0], "head") {
			out = string(text) + "...\n"
		}
	}
	fmt.Fprintf(&h.said, "# %s\n%s", command, out)
}

// quietly runs a command that belongs to the test alone.
func (h *host) quietly(command string) string {
	h.Helper()
	out, err := h.Do("sh", "-c", command)
	if err != nil {
		h.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(out)
}

func (h *host) until(what string, limit time.Duration, met func() bool) {
	h.Helper()
	for began := time.Now(); !met(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > limit {
			journal, _ := h.Do("journalctl", "-u", "uplinkd", "--no-pager", "-n", "60")
			h.Fatalf("not within %s: %s\n%s", limit, what, journal)
		}
	}
}

func (h *host) status() (s api.Snapshot, ok bool) {
	out, err := h.Command("uplinkd", "status", "--json").Output()
	return s, err == nil && json.Unmarshal(out, &s) == nil
}

// states waits until the uplinks are in these states.
func (h *host) states(limit time.Duration, want ...api.OperState) {
	h.Helper()
	h.until(fmt.Sprint("states ", want), limit, func() bool {
		s, ok := h.status()
		for i := range want {
			if !ok || len(s.Uplinks) != len(want) || s.Uplinks[i].State != want[i] {
				return false
			}
		}
		return true
	})
}

// traffic opens connections until it is stopped, and tells how many there were and how many failed.
func (h *host) traffic() (stop func() (failed, all int)) {
	end := make(chan struct{})
	var done sync.WaitGroup
	failed, all := 0, 0
	done.Go(func() {
		for {
			select {
			case <-end:
				return
			case <-time.After(10 * time.Millisecond):
			}
			all++
			if _, err := h.world.Dial(all, time.Second); err != nil {
				failed++
				h.Logf("connection %d: %v", all, err)
			}
		}
	})
	over := sync.OnceFunc(func() { close(end); done.Wait() })
	h.Cleanup(over) // also where what happens meanwhile ends the test
	return func() (int, int) {
		over()
		return failed, all
	}
}

// unharmed has something happen under traffic, none of which fails.
func (h *host) unharmed(what string, do func()) {
	h.Helper()
	stop := h.traffic()
	do()
	time.Sleep(300 * time.Millisecond)
	failed, all := stop()
	h.Logf("%s: %d of %d connections failed", what, failed, all)
	if failed > 0 || all < 20 {
		h.Errorf("%s: %d of %d connections failed", what, failed, all)
	}
}

// kernel is what the kernel holds of routing.
func (h *host) kernel() string {
	return h.quietly("ip -4 rule; ip -6 rule; ip route show table all | grep -v " +
		"'^broadcast\\|^local\\|^multicast' | sort; " +
		"ip -o -4 addr | sed 's/ valid_lft.*//'; nft list tables; sysctl -n net.ipv4.fib_multipath_hash_policy " +
		"net.ipv4.conf.eth1.rp_filter")
}

// files are all there are, but for what is dpkg's, the journal's and systemd's own.
func (h *host) files() string {
	return h.quietly("find / -xdev ! -path '/var/lib/dpkg*' ! -path '/var/lib/apt*' ! -path '/var/log*' ! -path " +
		"'/var/cache*' ! -path '/proc*' ! -path '/run*' " +
		"! -path '/var/lib/systemd*' ! -path '/root*' ! -path '/tmp*' ! -name '*-' ! -path '/etc/.pwd.lock' | " +
		"sort; cut -d: -f1 /etc/passwd /etc/group")
}

// As a new user would, on a bare Debian: the package, a configuration by init, check, apply --confirm, an uplink that
// dies and returns, what else befalls a daemon, an upgrade, and purge.
func TestInstalled(t *testing.T) {
	labtest.NeedRoot(t, "unshare", "nsenter")
	found := suites(t)
	if len(found) == 0 {
		labtest.Skip(t, "needs a bare Debian: make test-systemd makes two, as root")
	}
	for suite, tree := range found {
		t.Run(suite, func(t *testing.T) { install(t, suite, tree) })
	}
}

func install(t *testing.T, suite, tree string) {
	t.Helper()
	h := &host{T: t, suite: suite}
	file := packageFile(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if h.world, err = lab.NewWorld(3); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.world.Close)
	for _, isp := range h.world.ISPs {
		if err := isp.StartDHCP(time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if h.Machine, err = machine.New(tree); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	if err := h.Put("/root/"+filepath.Base(file), text, 0o644); err != nil {
		t.Fatal(err)
	}
	kernel, files := h.kernel(), h.files()
	began := time.Now()
	h.install(filepath.Base(file), kernel)
	h.configure()
	h.live()
	h.Logf("from the package to a guarded host that has lived through an outage: %s",
		(time.Since(began) - h.aside).Round(time.Second))
	h.befalls()
	h.services()
	h.reboots()
	h.purges(kernel, files)
}

// install puts the package in place: nothing that routes has begun.
func (h *host) install(file, kernel string) {
	h.Helper()
	h.typed("apt-get install -qy ./"+file, "tail -2")
	if now := h.kernel(); now != kernel {
		h.Errorf("the installation has changed the kernel:\n%s", now)
	}
	if out, err := h.Do("systemctl", "is-active", "uplinkd"); err == nil {
		h.Errorf("after the installation uplinkd is %s", out)
	}
	if out, err := h.Do("systemctl", "start", "uplinkd"); err == nil {
		h.Errorf("it has started without a configuration: %s", out)
	}
	time.Sleep(2 * time.Second)
	if out := h.quietly("systemctl show -P NRestarts uplinkd"); out != "0" {
		h.Errorf("without a configuration it was started %s times again", out)
	}
}

// configure makes the first configuration, and starts on trial: without confirm all goes back.
func (h *host) configure() {
	h.Helper()
	h.typed("uplinkd init") // and Enter at each question
	if out, err := h.Do("uplinkd", "init", "--yes"); err == nil || !strings.Contains(out, "not written over") {
		h.Errorf("a second init: %v\n%s", err, out)
	}
	h.typed("uplinkd check")
	h.typed("uplinkd plan", "head -3")
	before := h.kernel()
	h.typed("uplinkd apply --confirm 10s")
	h.states(10*time.Second, api.Up, api.Up, api.Up)
	h.until("without confirm it is stopped", 15*time.Second, func() bool {
		out, _ := h.Do("systemctl", "is-active", "uplinkd", "uplinkd-first-trial.service", "uplinkd-first-trial.timer")
		return strings.TrimSpace(out) == "inactive\ninactive\ninactive"
	})
	if now := h.kernel(); now != before {
		h.Fatalf("without confirm the kernel is not as it was:\n%s", labtest.LineDiff(before, now))
	}
	began := time.Now()
	h.rejects(before)
	h.aside = time.Since(began)
	h.typed("uplinkd apply --confirm 60s")
	h.typed("uplinkd confirm")
	if out := h.quietly("systemctl is-enabled uplinkd"); out != "enabled" {
		h.Errorf("after confirm it is %s", out)
	}
	h.states(10*time.Second, api.Up, api.Up, api.Up)
	h.typed("uplinkd status")
}

// rejects ends trials by what is not their time: an order, a start that fails, and a file that has a mistake by then.
func (h *host) rejects(before string) {
	h.Helper()
	gone := func(after string) {
		h.Helper()
		out, _ := h.Do("systemctl", "is-active", "uplinkd", "uplinkd-first-trial.timer")
		if out != "inactive\ninactive\n" && out != "failed\ninactive\n" {
			h.Errorf("after %s: %s", after, out)
		}
		if now := h.kernel(); now != before {
			h.Errorf("after %s the kernel is not as it was:\n%s", after, labtest.LineDiff(before, now))
		}
	}
	h.quietly("uplinkd apply --confirm 60s && uplinkd confirm --reject")
	gone("confirm --reject")

	h.quietly("mkdir -p /run/systemd/system/uplinkd.service.d && printf " +
		"'[Service]\\nExecStart=\\nExecStart=/bin/false\\n' " +
		">/run/systemd/system/uplinkd.service.d/fails.conf && systemctl daemon-reload")
	if out, err := h.Do("uplinkd", "apply", "--confirm", "60s"); err == nil {
		h.Errorf("a start that fails is no error: %s", out)
	}
	gone("a start that failed")
	h.quietly("rm /run/systemd/system/uplinkd.service.d/fails.conf && systemctl daemon-reload; systemctl " +
		"reset-failed uplinkd || :")

	h.quietly("cp -p /etc/uplinkd/uplinkd.yaml /root/good && uplinkd apply --confirm 10s && echo nonsense: 1 " +
		">>/etc/uplinkd/uplinkd.yaml")
	if out, err := h.Do("uplinkd", "apply", "/root/good"); err == nil || !strings.Contains(out, "on trial") {
		h.Errorf("another configuration is applied during the trial: %v %s", err, out)
	}
	h.until("the trial is over, with a mistake in the file", 20*time.Second, func() bool {
		out, _ := h.Do("systemctl", "is-active", "uplinkd", "uplinkd-first-trial.timer")
		return !strings.Contains("\n"+out, "\nactive") && h.kernel() == before
	})
	h.quietly("cat /root/good >/etc/uplinkd/uplinkd.yaml")

	h.quietly("uplinkd apply --confirm 60s")
	h.restart()
	if out, _ := h.Do("systemctl", "is-active", "uplinkd"); out != "inactive\n" {
		h.Errorf("after a start of the machine in the trial the daemon is %s", out)
	}

	h.quietly("systemctl start uplinkd")
	h.states(10*time.Second, api.Up, api.Up, api.Up)
	h.quietly("systemctl stop uplinkd") // what it has put into the kernel stays
	out, err := h.Do("uplinkd", "apply", "--confirm", "10s")
	if err == nil || !strings.Contains(out, "systemctl start uplinkd") {
		h.Errorf("a trial is begun over what another daemon left: %v %s", err, out)
	}
	h.quietly("uplinkd cleanup")
	gone("cleanup")
}

// restart has the machine power off and start again.
func (h *host) restart() {
	h.Helper()
	if err := h.Stop(); err != nil {
		h.Fatal(err)
	}
	h.forget()
	if err := h.Start(); err != nil {
		h.Fatal(err)
	}
}

// live has an uplink die and return, and looks at what the journal says of it.
func (h *host) live() {
	h.Helper()
	isp := h.world.ISPs[0]
	if err := isp.Silence(true); err != nil {
		h.Fatal(err)
	}
	h.states(15*time.Second, api.Down, api.Up, api.Up)
	h.unharmed("beside a dead uplink", func() { time.Sleep(time.Second) })
	h.typed("uplinkd status")
	if err := isp.Silence(false); err != nil {
		h.Fatal(err)
	}
	h.states(30*time.Second, api.Up, api.Up, api.Up)
	h.typed("uplinkd events", "tail -4")
	h.watches()
	line := h.quietly("journalctl -u uplinkd -o json UPLINK=isp1 STATE=down " +
		"--output-fields=UPLINK,STATE,REASON,SWITCH_ID,MESSAGE_ID | head -1")
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil || fields["REASON"] == nil ||
		fields["SWITCH_ID"] == nil || fields["MESSAGE_ID"] == nil {
		h.Errorf("the journal has no fields: %v: %s", err, line)
	}
	if out := h.quietly("journalctl -x -u uplinkd UPLINK=isp1 STATE=down | head -20"); !strings.Contains(out,
		"uplinkd events") {
		h.Errorf("journalctl -x explains nothing:\n%s", out)
	}
}

// watches looks at the uplinks live, on a terminal of 80 columns.
func (h *host) watches() {
	h.Helper()
	out, err := h.Do("sh", "-c", "export TERM=xterm; script -qec 'stty cols 80 rows 24; timeout --foreground -s "+
		"INT 3 uplinkd watch' /dev/null </dev/null")
	if !strings.Contains(out, "isp1") || !strings.Contains(out, "isp3") {
		h.Errorf("watch shows no uplinks: %v\n%s", err, out)
	}
}

// befalls is what a daemon must live through, none of it felt by a connection.
func (h *host) befalls() {
	h.Helper()
	again := func(pid string) func() bool {
		return func() bool {
			s, ok := h.status()
			return ok && fmt.Sprint(s.Daemon.PID) != pid
		}
	}
	pid := func() string { return h.quietly("systemctl show -P MainPID uplinkd") }
	h.unharmed("reload", func() {
		h.quietly("sed -i 's/weight: 1/weight: 3/' /etc/uplinkd/uplinkd.yaml && systemctl reload uplinkd")
		h.until("the new weights", 3*time.Second, func() bool {
			s, ok := h.status()
			return ok &&
				s.Uplinks[0].Weight == 3
		})
	})
	h.unharmed("a bad file", func() {
		h.quietly("cp /etc/uplinkd/uplinkd.yaml /root/good && echo 'nonsense: 1' >>/etc/uplinkd/uplinkd.yaml")
		if out, err := h.Do("systemctl", "reload", "uplinkd"); err == nil {
			h.Errorf("a bad file was taken: %s", out)
		}
		if s, ok := h.status(); !ok || !strings.Contains(s.Daemon.ConfigError, "nonsense") {
			h.Errorf("status does not name the mistake: %+v", s.Daemon)
		}
		h.quietly("cat /root/good >/etc/uplinkd/uplinkd.yaml && systemctl reload uplinkd")
	})
	for what, command := range map[string]string{
		"restart": "systemctl restart uplinkd", "killed": "systemctl kill -s KILL uplinkd",
		"upgrade": "dpkg -i /root/*.deb",
	} {
		h.unharmed(what, func() {
			old := pid()
			h.quietly(command)
			h.until("another daemon after "+what, 10*time.Second, again(old))
			h.states(10*time.Second, api.Up, api.Up, api.Up)
		})
	}
	h.unharmed("it hangs", func() {
		old := pid()
		h.quietly("systemctl kill -s STOP uplinkd")
		h.until("the watchdog has another started", 30*time.Second, again(old))
		h.states(10*time.Second, api.Up, api.Up, api.Up)
	})
}

// reboots starts the machine again: what is enabled starts, and what waits for the network finds it.
func (h *host) reboots() {
	h.Helper()
	h.quietly("mkdir -p /etc/systemd/system && cat >/etc/systemd/system/late.service " +
		"<<'U'\n[Unit]\nAfter=network-online.target\nWants=network-online.target\n" +
		"[Service]\nType=oneshot\nExecStart=sh -c 'ip route show default " +
		">/root/late'\n[Install]\nWantedBy=multi-user.target\nU\nsystemctl enable late")
	h.restart()
	h.states(15*time.Second, api.Up, api.Up, api.Up)
	if late := h.quietly("cat /root/late"); strings.Count(late, "nexthop") != 3 {
		h.Errorf("after network-online.target the default route was %q", late)
	}
	h.quietly("systemctl disable late && rm /etc/systemd/system/late.service /root/late")
}

// forget has the kernel be as after a boot: the lab's network outlives the machine.
func (h *host) forget() {
	h.Helper()
	if err := forget(); err != nil {
		h.Fatal(err)
	}
}

// purges stops it, which traffic does not feel, and takes the package away: what was before is there again.
func (h *host) purges(kernel, files string) {
	h.Helper()
	h.keepsLogins()
	h.unharmed("stopped", func() { h.quietly("systemctl stop uplinkd"); time.Sleep(time.Second) })
	h.typed("apt-get purge -qy uplinkd", "tail -1")
	if now := h.kernel(); now != kernel {
		h.Errorf("after purge the kernel holds\n%s\nand not\n%s", now, kernel)
	}
	if now := h.files(); now != files {
		h.Errorf("after purge: %s", labtest.LineDiff(files, now))
	}
	if h.suite == "trixie" {
		h.told()
	}
}

// keepsLogins tries to remove the package while somebody is logged in over an uplink; then without purge, and
// installs it again.
func (h *host) keepsLogins() {
	h.Helper()
	// What counts is a process of that name with a connection.
	peer := fmt.Sprintf("%s/%d", lab.Somewhere(9), lab.Port)
	h.quietly("cp /bin/bash /root/sshd && (/root/sshd -c 'exec 3<>/dev/tcp/" + peer +
		"; sleep 60; true' >/dev/null 2>&1 &) && sleep 1")
	out, err := h.Do("apt-get", "remove", "-qy", "uplinkd")
	if err == nil || !strings.Contains(out, "is logged in from "+lab.Somewhere(9).String()) {
		h.Errorf("the package is removed under a login (%v):\n%s", err, out)
	}
	h.states(5*time.Second, api.Up, api.Up, api.Up)
	if out := h.quietly("systemctl is-enabled uplinkd"); out != "enabled" {
		h.Errorf("after a removal that was refused it is %s", out)
	}
	h.quietly("pkill -x sshd; rm /root/sshd")
	h.quietly("apt-get remove -qy uplinkd")
	if now := h.quietly("ip route show proto 201 table all; ip rule | grep '^2[0-9]*:' || :"); now != "" {
		h.Errorf("after remove the kernel holds %s", now)
	}
	h.quietly("cd && apt-get install -qy ./*.deb && systemctl enable --now uplinkd")
	h.states(10*time.Second, api.Up, api.Up, api.Up)
}

// told holds docs/install.md to what was typed: the commands, for what they answer differs in times and numbers.
// UPLINKD_UPDATE=1 writes both.
func (h *host) told() {
	h.Helper()
	const file, begin, end = "../../../docs/install.md", "```text\n", "```\n"
	page, err := os.ReadFile(file)
	if err != nil {
		h.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	shown, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		h.Fatal(file + " has no place for it")
	}
	commands := func(text string) (list []string) {
		for line := range strings.SplitSeq(text, "\n") {
			if strings.HasPrefix(line, "# ") {
				list = append(list, line)
			}
		}
		return list
	}
	if os.Getenv("UPLINKD_UPDATE") != "" {
		shown = h.said.String()
		text := []byte(before + begin + shown + end + after)
		if err := os.WriteFile(file, text, 0o644); err != nil { //nolint:gosec // everybody may read it
			h.Fatal(err)
		}
	}
	if got, want := commands(shown), commands(h.said.String()); !slices.Equal(got, want) {
		h.Errorf("docs/install.md has %q, and typed was %q: UPLINKD_UPDATE=1 writes it", got, want)
	}
}
