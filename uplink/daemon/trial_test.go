package daemon_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
	"uplinkd/uplink/daemon"
)

// A rig is a daemon with its files.
type rig struct {
	*testing.T
	file, other, state string
	d                  *daemon.Daemon
	kill               func()
}

const tried = `
uplinks:
  - {name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, weight: 7}
`

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{T: t, file: filepath.Join(dir, "u.yaml"), other: filepath.Join(dir, "new.yaml"), state: filepath.Join(dir, "state")}
	r.put(r.file, 2)
	r.run()
	t.Cleanup(func() { r.kill() })
	return r
}

// text is a configuration with that weight.
func (r *rig) text(weight int) string {
	return "state_dir: " + r.state + strings.Replace(tried, "weight: 7", "weight: "+string(rune('0'+weight)), 1)
}

func (r *rig) put(file string, weight int) {
	r.Helper()
	if err := os.WriteFile(file, []byte(r.text(weight)), 0o640); err != nil {
		r.Fatal(err)
	}
}

// run starts a daemon, as after a kill.
func (r *rig) run() {
	r.Helper()
	if r.kill != nil {
		r.kill()
	}
	loaded, err := daemon.LoadToRun(r.file)
	if err != nil {
		r.Fatal(err)
	}
	r.d, r.kill = startKillable(r.T, r.file, loaded)
}

func (r *rig) apply(file string, weight int, length time.Duration) api.Trial {
	r.Helper()
	trial, err := r.d.Apply(r.Context(), file, []byte(r.text(weight)), api.Apply{For: length, By: "test"})
	if err != nil {
		r.Fatal(err)
	}
	r.want(weight)
	return trial
}

func (r *rig) want(weight int) {
	r.Helper()
	if got := r.d.Status().Uplinks[0].Weight; got != weight {
		r.Fatalf("weight %d in force, want %d", got, weight)
	}
}

func (r *rig) recorded() bool {
	_, err := os.Stat(filepath.Join(r.state, "trial.json"))
	return err == nil
}

// What is not confirmed goes back: from another file, and from the daemon's own, where it
// stays so over any number of restarts until somebody decides.
func TestGoesBack(t *testing.T) {
	for _, own := range []bool{false, true} {
		r := newRig(t)
		file := r.other
		if own {
			file = r.file
		}
		r.put(file, 7)
		r.apply(file, 7, time.Second)
		if s := r.d.Status().Daemon; s.Trial == nil || s.Trial.By != "test" || s.Trial.Text != nil {
			t.Errorf("status says %+v of the trial", s.Trial)
		}
		for range 40 {
			if r.d.Status().Daemon.Trial == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		r.want(2)
		if s := r.d.Status().Daemon; s.Trial != nil || (s.ConfigError != "") != own {
			t.Errorf("own file %v: trial %+v, error %q", own, s.Trial, s.ConfigError)
		}
		if !own { // a client that confirms too late may have put it there
			r.put(r.file, 7)
		}
		for range 2 {
			r.run()
			r.want(2)
			if !r.recorded() {
				t.Error("what keeps the file from being taken is gone")
			}
		}
		if !own {
			r.put(r.file, 2)
			r.run()
			r.want(2)
			if r.recorded() {
				t.Error("the record outlives what it is about")
			}
		}
		if err := r.d.Reload(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		if own { // who orders that file to be read wants it
			r.want(7)
			r.run()
			r.want(7)
		}
	}
}

// Killed during the trial, or the host restarted: the next start goes back.
func TestGoesBackAfterAKill(t *testing.T) {
	for _, own := range []bool{false, true} {
		r := newRig(t)
		file := r.other
		if own {
			file = r.file
		}
		r.put(file, 7)
		r.apply(file, 7, time.Hour)
		r.run()
		r.want(2)
		if err := r.d.Confirm("x", "test"); !errors.Is(err, control.ErrNoTrial) {
			t.Errorf("confirmed after the restart: %v", err)
		}
		if own {
			r.put(file, 5) // the file is put right
			r.run()
			r.want(5)
			if r.recorded() {
				t.Error("the record outlives the file that it is about")
			}
		}
	}
}

// Confirmed in time it stays, over a restart; rejected it goes back at once. Meanwhile
// nothing else may be put in force.
func TestConfirmAndReject(t *testing.T) {
	r := newRig(t)
	r.put(r.file, 7)
	trial := r.apply(r.file, 7, 3*time.Second)
	if err := r.d.Reload(t.Context(), "test"); !errors.Is(err, control.ErrOnTrial) {
		t.Errorf("a reload during the trial: %v", err)
	}
	if _, err := r.d.Apply(t.Context(), r.file, []byte(r.text(3)), api.Apply{For: time.Minute}); !errors.Is(err, control.ErrOnTrial) {
		t.Errorf("a second trial: %v", err)
	}
	if err := r.d.Confirm("another", "test"); !errors.Is(err, control.ErrNoTrial) {
		t.Errorf("another confirmed: %v", err)
	}
	if err := r.d.Confirm(trial.SHA256, "test"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3500 * time.Millisecond)
	r.want(7)
	r.run()
	r.want(7)
	r.apply(r.other, 4, time.Minute)
	if err := r.d.Reject(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	r.want(7)
	r.run()
	r.want(7)
	if r.recorded() {
		t.Error("the record outlives what it is about")
	}
}

// Two trials, one after the other, refuse both: a restart took the first again (review).
func TestEarlierTrialsStayRefused(t *testing.T) {
	for _, killed := range []bool{false, true} {
		r := newRig(t)
		r.put(r.file, 7)
		r.apply(r.file, 7, time.Hour)
		if err := r.d.Reject(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		r.put(r.other, 5)
		r.apply(r.other, 5, time.Hour)
		if !killed {
			if err := r.d.Reject(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
		}
		r.run()
		r.want(2)
	}
	// What was only edited is no more in force than what was tried.
	r := newRig(t)
	r.put(r.file, 9)
	r.put(r.other, 5)
	r.apply(r.other, 5, time.Hour)
	r.run()
	r.want(2)
}

// After a kill in the middle of a trial the file may be half edited, or gone: what was
// before is there (review).
func TestFileBreaksDuringTheTrial(t *testing.T) {
	for _, damage := range []func(*rig) error{
		func(r *rig) error { return os.Remove(r.file) },
		func(r *rig) error {
			return os.WriteFile(r.file, []byte("state_dir: "+r.state+"\nuplinks:\n  - {name: a, inter"), 0o600)
		},
		func(r *rig) error {
			return os.WriteFile(r.file, []byte("state_dir: "+r.state+"\nuplinks: []\n"), 0o600)
		},
	} {
		r := newRig(t)
		r.put(r.file, 7)
		r.apply(r.file, 7, time.Hour)
		r.kill()
		if err := damage(r); err != nil {
			t.Fatal(err)
		}
		loaded, err := daemon.LoadToRun(r.file)
		switch _, gone := os.Stat(r.file); {
		case gone != nil: // then where the state is cannot be known, unless it is the default
			if err == nil {
				t.Error("a file that is not there was read")
			}
		case err != nil || loaded.PassedOver == "" || loaded.Config.Uplinks[0].Weight != 2:
			t.Errorf("%v, %q", err, loaded.PassedOver)
		}
	}
}

// What is hard to write down comes back as it was (review): text that JSON makes longer, or
// cannot hold.
func TestTrialKeepsEveryText(t *testing.T) {
	r := newRig(t)
	before := r.text(2) + "# " + strings.Repeat("<", 900_000) + "\xff\xfe\n"
	if err := os.WriteFile(r.file, []byte(r.text(2)+"# "+strings.Repeat("<", 900_000)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.d.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	before = strings.Replace(before, "\xff\xfe", "", 1)
	r.put(r.file, 7)
	trial := r.apply(r.file, 7, time.Hour)
	if string(trial.Before) != before {
		t.Errorf("%d bytes to go back to, want %d", len(trial.Before), len(before))
	}
	r.run()
	r.want(2)
}

// A record that cannot be read is kept, for it may be read again; one that a confirmation
// has removed without being sure of it is written anew when the trial goes back (review).
func TestRecordIsKept(t *testing.T) {
	r := newRig(t)
	r.put(r.file, 7)
	r.apply(r.file, 7, time.Hour)
	path := filepath.Join(r.state, "trial.json")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := r.d.Reject(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.want(2)
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.run()
	if !r.recorded() {
		t.Error("a record that cannot be read was removed")
	}
}

// What to go back to cannot be kept, as on a full disk: nothing changes. A record that is
// torn, or no record at all, keeps nobody from starting.
func TestTrialRecord(t *testing.T) {
	r := newRig(t)
	if err := os.MkdirAll(filepath.Join(r.state, "trial.json.new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := r.d.Apply(t.Context(), r.other, []byte(r.text(7)), api.Apply{For: time.Minute}); err == nil ||
		!strings.Contains(err.Error(), "nothing has changed") {
		t.Errorf("applied without a record: %v", err)
	}
	r.want(2)
	if err := os.Remove(filepath.Join(r.state, "trial.json.new")); err != nil {
		t.Fatal(err)
	}
	r.put(r.file, 7)
	r.apply(r.file, 7, time.Hour)
	whole, err := os.ReadFile(filepath.Join(r.state, "trial.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, torn := range [][]byte{nil, whole[:1], whole[:len(whole)/2], whole[:len(whole)-1], []byte("{}")} {
		if err := os.WriteFile(filepath.Join(r.state, "trial.json"), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if loaded, err := daemon.LoadToRun(r.file); err != nil || loaded.PassedOver != "" {
			t.Errorf("%q: %+v, %v", torn, loaded.PassedOver, err)
		}
	}
}
