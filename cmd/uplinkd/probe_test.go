package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab"
)

// One check for a script: over an uplink, or by the host's own way, through danted too. Its
// exit code is the answer.
func TestProbeCommand(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), "")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	tcp := fmt.Sprintf("tcp://198.18.0.53:%d", lab.Port)
	socket := "--socket=" + b.dir + "/sock"
	check := func(want int, text string, args ...string) {
		t.Helper()
		out, err := b.run(append([]string{"probe", socket, "-w", "500ms"}, args...)...)
		if code := exitCode(err); code != want || !strings.Contains(out, text) {
			t.Errorf("probe %v: exit code %d, %q; want %d, %q", args, code, out, want, text)
		}
	}
	check(0, "by isp1: answered in", tcp, "--via", "isp1")
	check(0, "by isp2: answered in", "gateway", "--via", "isp2")
	check(0, "answered in", "198.18.0.53")
	check(1, "refused", "tcp://198.18.0.53:1", "--via", "isp1")
	check(1, "no uplink", tcp, "--via", "isp9")
	check(2, "must be", "tcp://nobody")
	check(2, "--via", "gateway")
	check(2, "timeout", tcp, "-w", "-1s")
	if exec.Command("sh", "-c", "command -v danted").Run() == nil && lab.AsRoot() { // danted wants to be root
		b.danted()
		through := "socks5://192.168.77.1:1080/198.18.0.53:"
		check(0, "answered in", through+fmt.Sprint(lab.Port))
		check(1, "refused", through+"1")
		check(1, "refused", fmt.Sprintf("socks5://192.168.77.1:1/198.18.0.53:%d", lab.Port))
	}
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(5*time.Second, "down", "up")
	began := time.Now()
	check(1, "", tcp, "--via", "isp1")
	if took := time.Since(began); took > 2*time.Second*slowFactor {
		t.Errorf("no answer after %v, with a timeout of 500ms", took)
	}
	check(0, "by isp2: answered in", tcp, "--via", "isp2")
	out, err := b.run("probe", socket, "--json", "-w", "300ms", tcp, "--via", "isp1")
	var answer struct {
		Uplink   string
		Answered bool
		Error    string
	}
	if json.Unmarshal([]byte(out), &answer) != nil || answer.Uplink != "isp1" || answer.Answered || answer.Error == "" || exitCode(err) != 1 {
		t.Errorf("in JSON, without an answer: %s, %v", out, err)
	}
}

// exitCode returns that of a command that has run.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// import prints what check accepts, says what to look at, and refuses what it does not know.
func TestImportCommand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("uplinks", "IFACE_DEVICE=(eth1 eth2)\nIFACE_IPS=(203.0.113.5 dhcp)\nIFACE_NMS=(24)\nIFACE_GWS=(203.0.113.1)\nip rule add x\n")
	write("broken", "IFACE_DEVICE=(eth1 eth1)\n")
	b := &bench{T: t}
	out, err := b.run("import", "if-up-script", filepath.Join(dir, "uplinks"))
	if err != nil || !strings.Contains(out, "interface: eth2\n    address: dhcp") || !strings.Contains(out, "ip rule add x") {
		t.Errorf("import: %v\n%s", err, out)
	}
	write("made.yaml", out)
	if out, err := b.run("check", "-c", filepath.Join(dir, "made.yaml")); strings.Contains(out, "made.yaml:") {
		t.Errorf("check of what was made: %v\n%s", err, out)
	}
	for _, tt := range []struct {
		code int
		text string
		args []string
	}{
		{3, "look at this before it is used", []string{"if-up-script", filepath.Join(dir, "broken")}},
		{1, "no such file", []string{"mwan3", filepath.Join(dir, "none")}},
		{1, "this is no configuration of mwan3", []string{"mwan3", filepath.Join(dir, "uplinks")}},
		{2, "must be one of if-up-script, mwan3, netplan, networkd", []string{"opnsense", dir}},
		{2, "", []string{"netplan"}},
	} {
		out, err := b.run(append([]string{"import"}, tt.args...)...)
		if exitCode(err) != tt.code || !strings.Contains(out, tt.text) {
			t.Errorf("import %v: exit code %d, %s; want %d, %q", tt.args, exitCode(err), out, tt.code, tt.text)
		}
	}
}
