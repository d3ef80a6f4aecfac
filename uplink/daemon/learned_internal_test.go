package daemon

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uplinkd/probe"
	"uplinkd/uplink/engine"
)

func TestLearnedOutlivesTheProcess(t *testing.T) {
	dir, now := t.TempDir(), time.Now().Round(0).UTC()
	if all, err := loadLearned(dir, now); err != nil || len(all) > 0 {
		t.Errorf("of no file: %v, %v", all, err)
	}
	good := probe.Character{Spread: 3 * time.Millisecond, Samples: 32, Survived: 2 * time.Second, At: now}
	bad := good
	bad.Survived = 100 * time.Hour
	err := saveLearned(dir, engine.Learned{"eth1": {"192.0.2.1": good, "192.0.2.2": bad}})
	if err != nil {
		t.Fatal(err)
	}
	all, err := loadLearned(dir, now)
	if diff := cmp.Diff(engine.Learned{"eth1": {"192.0.2.1": good}}, all); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	if err := os.WriteFile(learnedPath(dir), []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := loadLearned(dir, now); err == nil || len(all) > 0 {
		t.Errorf("of a torn file: %v, and no error", all)
	}
}
