package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
	"uplinkd/uplink/preflight"
)

// well is a host where nothing is wrong.
func well() symptoms {
	return symptoms{
		now: time.Unix(1_700_000_000, 0), check: checkAnswer{Config: defaultConfig},
		status: &api.Snapshot{Uplinks: []api.Uplink{
			{Name: "isp1", Interface: "eth1", Family: "ipv4", State: api.Up, Active: true},
			{Name: "isp2", Interface: "eth2", Family: "ipv4", State: api.Up, Active: true},
		}},
		ways: []explanation{{To: netip.MustParseAddr("1.1.1.1"), Verdict: "uplink", Uplink: "isp1"}},
	}
}

// Each trouble is named, with the command that helps, and on a host where all is well nothing is.
func TestDiagnose(t *testing.T) {
	if s := well(); len(diagnose(&s)) != 0 || doctorText(nil, 0) != "nothing is wrong\n" {
		t.Errorf("where all is well: %+v", diagnose(&s))
	}
	died := time.Unix(1_699_999_900, 0)
	down := func(s *symptoms, cause api.Cause) {
		s.status.Uplinks[1].State, s.status.Uplinks[1].Reason = api.Down, "the gateway does not answer"
		s.switches = []api.Switch{{
			Uplink: "isp2", Family: "ipv4", To: api.Down, At: died, Cause: cause, Evidence: []string{"eth2: 48 packets out and 0 in"},
		}}
	}
	for name, tt := range map[string]struct {
		make                func(*symptoms)
		severity            preflight.Severity
		what, because, next string
	}{
		"no daemon": {
			func(s *symptoms) { s.status, s.silent = nil, control.ErrNotRunning }, preflight.Problem,
			"no daemon runs", "no daemon is running", "systemctl status uplinkd",
		},
		"mistakes": {
			func(s *symptoms) { s.check.Errors = []string{"f.yaml:3:1: uplinks: bad"} }, preflight.Problem,
			"the configuration in the file has mistakes", "f.yaml:3:1", "uplinkd check",
		},
		"trial": {func(s *symptoms) { s.status.Daemon.Trial = &api.Trial{By: "root"} }, preflight.Warning, "on trial", "root", "uplinkd confirm"},
		"not in force": {
			func(s *symptoms) { s.status.Daemon.ConfigError = "state_dir has changed" }, preflight.Problem,
			"not that of the file", "state_dir", "uplinkd check",
		},
		"silent":     {func(s *symptoms) { down(s, api.CauseProbes) }, preflight.Problem, "isp2 is down (ipv4)", "48 packets out", "uplinkd ping isp2"},
		"no carrier": {func(s *symptoms) { down(s, api.CauseLink) }, preflight.Problem, "isp2 is down", "", "ip link show eth2"},
		"no lease":   {func(s *symptoms) { down(s, api.CauseAddress) }, preflight.Problem, "isp2 is down", "", "ip address show dev eth2"},
		"none":       {func(s *symptoms) { s.status.Uplinks = s.status.Uplinks[1:]; down2(s) }, preflight.Problem, "no uplink works in ipv4", "", "uplinkd status -v"},
		"doubtful": {
			func(s *symptoms) { s.status.Uplinks[0].State, s.status.Uplinks[0].Reason = api.Doubtful, "late" }, preflight.Warning,
			"isp1 answers late", "late", "uplinkd status -v",
		},
		"fight": {
			func(s *symptoms) {
				s.status.Kernel.Fights = []api.Fight{{Object: "route default", By: "dhclient (pid 7)", Remedy: "stop it", Repairs: 9}}
			},
			preflight.Problem, "dhclient (pid 7) undoes route default", "put back 9 times", "journalctl -u uplinkd -x",
		},
		"conflict": {
			func(s *symptoms) {
				s.status.Kernel.Conflicts = []api.Conflict{{Have: "default via 10.0.0.1", Remedy: "remove it"}}
			},
			preflight.Problem, "default via 10.0.0.1", "remove it", "ip route show table all",
		},
		"refused": {func(s *symptoms) { s.status.Kernel.LastError = "no buffer space" }, preflight.Problem, "refuses", "no buffer space", "uplinkd plan"},
		"drained": {
			func(s *symptoms) { s.status.Uplinks[0].Order = &api.Order{State: api.AdminDrained, By: "uid 1000"} }, preflight.Warning,
			"isp1 is drained by order", "uid 1000", "uplinkd enable isp1",
		},
		"elsewhere": {
			func(s *symptoms) {
				s.ways[0].Verdict, s.ways[0].Why = "elsewhere", "a route of this host's own says so"
			}, preflight.Problem,
			"what goes to 1.1.1.1 does not leave by an uplink", "of this host's own", "uplinkd explain 1.1.1.1",
		},
		"flaps": {func(s *symptoms) {
			for range 3 {
				s.switches = append(s.switches, api.Switch{Uplink: "isp1", Family: "ipv4", To: api.Down, At: died})
			}
		}, preflight.Warning, "isp1 has gone down 3 times", "hold_down", "uplinkd drain isp1 --family ipv4"},
		"lossy": {
			func(s *symptoms) { s.status.Uplinks[0].Probes = []api.Probe{{Target: "gateway", Loss: 12}} }, preflight.Warning,
			"isp1 loses 12%", "max_loss", "uplinkd ping isp1",
		},
		"unmeasured": {func(s *symptoms) { s.status.Daemon.MeterErrors = []string{"flows: no"} }, preflight.Warning, "cannot be measured", "flows", "uplinkd status -v"},
		"host": {func(s *symptoms) {
			s.check.Findings = []preflight.Finding{{Severity: preflight.Warning, Uplink: "isp1", What: "another client", Remedy: "stop it"}}
		}, preflight.Warning, "isp1: another client", "stop it", "uplinkd check"},
		"lease":       {func(s *symptoms) { down(s, api.CauseAddress); s.status.Uplinks[1].DHCP = &api.DHCP{} }, preflight.Problem, "isp2 is down", "", "uplinkd renew isp2 --family ipv4"},
		"may not ask": {func(s *symptoms) { s.status, s.silent = nil, fs.ErrPermission }, preflight.Warning, "was not asked", "permission", "sudo uplinkd doctor"},
		"hangs":       {func(s *symptoms) { s.status, s.silent = nil, context.DeadlineExceeded }, preflight.Problem, "does not answer", "deadline", "systemctl status uplinkd"},
		"unseen":      {func(s *symptoms) { s.unseen = []string{"be root"} }, preflight.Warning, "not all of this host", "be root", "sudo uplinkd doctor"},
		"only one flaps": {func(s *symptoms) {
			s.status.Uplinks = s.status.Uplinks[:1]
			for range 3 {
				s.switches = append(s.switches, api.Switch{Uplink: "isp1", Family: "ipv4", To: api.Down, At: died})
			}
		}, preflight.Warning, "isp1 has gone down 3 times", "", "uplinkd ping isp1"},
	} {
		s := well()
		tt.make(&s)
		list := diagnose(&s)
		if len(list) == 0 {
			t.Errorf("%s: nothing is found", name)
			continue
		}
		d := list[0]
		if d.Severity != tt.severity || !strings.Contains(d.What, tt.what) || !strings.Contains(strings.Join(d.Because, "\n"), tt.because) || d.Next != tt.next {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func down2(s *symptoms) { s.status.Uplinks[0].State = api.Down }

// Of many findings five are told, problems before warnings, and that there are more; what follows from an
// uplink's being down is not told twice.
func TestDoctorIsShort(t *testing.T) {
	s := well()
	s.status.Uplinks[1].State = api.Down
	s.check.Findings = []preflight.Finding{{Severity: preflight.Problem, Uplink: "isp2", What: "no interface eth2", Remedy: "plug it in"}}
	for range 8 {
		s.check.Findings = append(s.check.Findings, preflight.Finding{Severity: preflight.Warning, What: "odd", Remedy: "look"})
	}
	list := diagnose(&s)
	if len(list) != 9 || list[0].Severity != preflight.Problem || !strings.Contains(strings.Join(list[0].Because, "\n"), "plug it in") {
		t.Fatalf("%+v", list)
	}
	var out bytes.Buffer
	c := &common{stdio: stdio{out: &out}}
	if err := c.tell(list); err == nil {
		t.Error("a problem is no failure")
	}
	if text := out.String(); strings.Count(text, "next: ") != 5 || !strings.HasSuffix(text, "and 4 more: uplinkd status, uplinkd check\n") {
		t.Errorf("%s", text)
	}
}

// What is masked is each address in every notation and place, and nothing else; what is equal stays equal.
func TestMask(t *testing.T) {
	m := &mask{names: map[string]string{}, host: "gate.example"}
	for text, want := range map[string]string{
		"gateway 203.0.113.1: late.":         "gateway IPV4-1: late.",
		"203.0.113.1:53 and 203.0.113.1/24.": "IPV4-1:53 and IPV4-1/24.", "at 12:03:04.120 on 2026-11-27T12:03:04.120Z": "at 12:03:04.120 on 2026-11-27T12:03:04.120Z",
		"127.0.0.1 0.0.0.0/0 255.255.255.0 ::1 ::/0": "127.0.0.1 0.0.0.0/0 255.255.255.0 ::1 ::/0", "v1.2.3 1.25.0": "v1.2.3 1.25.0",
		`"a\n203.0.113.1: late"`: `"a\nIPV4-1: late"`, `\u003c203.0.113.1\u003e`: `\u003cIPV4-1\u003e`, "_203.0.113.1_": "_IPV4-1_",
		"on gate.example": "on HOST", "host_name: gate": "host_name: HOST", "mark 0x97/0xff": "mark 0x97/0xff", "999.1.2.3": "999.1.2.3", "std::string": "std::string",
	} {
		m.names = map[string]string{"203.0.113.1": "IPV4-1"}
		if got := string(m.apply([]byte(text))); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	m.names = map[string]string{}
	got := string(m.apply([]byte("52:54:00:AB:cd:ef 2001:db8:1::5/64 [2001:DB8:1::5]:443 2001:db8:1::5: fe80::1%eth1 52:54:00:ab:CD:EF 00:03:00:01:52:54:00:ab:cd:ef")))
	if want := "LINK-1 IPV6-3/64 [IPV6-3]:443 IPV6-3: IPV6-4%eth1 LINK-1 LINK-2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// In the lab: all well; an outage, with what to type; and a report whose addresses are masked.
func TestDoctor(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), normalProbe)
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(12*time.Second, "down", "up")
	out, err := b.program("doctor", "-c", b.config, "--json").Output()
	var exit *exec.ExitError
	if !asExit(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("exit of a problem: %v", err)
	}
	var answer struct {
		Findings []diagnosis
		More     int
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if first := answer.Findings[0]; !strings.HasPrefix(first.What, "isp1 is down (ipv4)") || first.Next != "uplinkd ping isp1 -c "+b.config ||
		!strings.Contains(strings.Join(first.Because, "\n"), "missed in a row since") || len(answer.Findings) > diagnosesMost {
		t.Errorf("%+v", answer)
	}
	path := filepath.Join(t.TempDir(), "report.tar.gz")
	if out, err := b.run("doctor", "-c", b.config, "--bundle", path, "--mask"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := b.run("doctor", "-c", b.config, "--bundle", path); err == nil {
		t.Errorf("a file was written over: %s", out)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	pages := unpack(t, path)
	address := b.world.ISPs[0].Static.Addr().String()
	for _, name := range []string{"doctor.txt", "status.json", "events.json", "switches.json", "uplinkd.yaml", "ip-rule.txt", "ip-route.txt", "check.json"} {
		text := pages["uplinkd-report/"+name]
		if len(text) < 20 || strings.Contains(text, "not had") {
			t.Errorf("%s: %.200s", name, text)
		}
	}
	for name, text := range pages {
		if strings.Contains(text, address) {
			t.Errorf("%s names %s", name, address)
		}
	}
	if !strings.Contains(pages["uplinkd-report/ip-rule.txt"], "from IPV4-") {
		t.Errorf("rules: %s", pages["uplinkd-report/ip-rule.txt"])
	}
}

func asExit(err error, to **exec.ExitError) bool {
	exit, ok := err.(*exec.ExitError) //nolint:errorlint // as it came from Output
	*to = exit
	return ok
}

func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]string{}
	for archive := tar.NewReader(zipped); ; {
		header, err := archive.Next()
		if err == io.EOF { //nolint:errorlint // tar returns it as it is
			return pages
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		pages[header.Name] = string(text)
	}
}
