package reconcile_test

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/routes"
	"uplinkd/routes/reconcile"
	"uplinkd/routes/routestest"
)

// A lateWitness is a kernel whose events, which say who has changed what, come after what they tell of can be read.
type lateWitness struct {
	*routestest.Fake

	mu    sync.Mutex
	since time.Time // when it knows
	never bool
}

func (w *lateWitness) WhoChanged(routes.Key) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.never || time.Now().Before(w.since) {
		return ""
	}
	return "ip (pid 4711)"
}

// The journal and the count of repairs name a program whose event comes after its change was seen, and repaired. From
// a failure of TestRepairNamesWho: the default route was put back within a millisecond, "by=unknown". Who stays
// unknown is told so, soon and at the end.
func TestRepairIsNamedLate(t *testing.T) {
	for name, tt := range map[string]struct {
		late  time.Duration
		never bool
		ends  bool // before it is known
		want  string
	}{
		"at once":             {want: "ip"},
		"late":                {late: 10 * time.Millisecond, want: "ip"},
		"never":               {never: true, want: "unknown"},
		"the daemon is ended": {late: 10 * time.Millisecond, ends: true, want: "unknown"},
	} {
		bubble.Test(t, func(t *testing.T) {
			var journal strings.Builder // written by Run alone
			w := &lateWitness{Fake: routestest.ThreeLinks(), never: tt.never}
			r := reconcile.New(w, slog.New(slog.NewTextHandler(&journal, nil)), func(routes.Applied) {})
			ctx, end := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- r.Run(ctx) }()
			r.Want(routestest.Set(true, routestest.One))
			time.Sleep(time.Second) // no gap between reads holds it back
			w.mu.Lock()
			w.since = time.Now().Add(tt.late)
			w.mu.Unlock()
			w.Edit(func(s *routes.State) {
				s.Rules = slices.DeleteFunc(s.Rules, func(r routes.Rule) bool { return r.Mark == 1 })
			})
			r.Wake()
			time.Sleep(3 * time.Millisecond)
			if rules := w.State().Rules; !slices.ContainsFunc(rules, func(r routes.Rule) bool { return r.Mark == 1 }) {
				t.Errorf("%s: the repair waits to be named", name)
			}
			if !tt.ends {
				time.Sleep(time.Second)
			}
			end()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if got := r.RepairsBy(); len(got) != 1 || got[tt.want] != 1 {
				t.Errorf("%s: repairs by %v, want one by %s", name, got, tt.want)
			}
			if text := journal.String(); strings.Count(text, "put back") != 1 || !strings.Contains(text, tt.want) {
				t.Errorf("%s: the journal says\n%s", name, text)
			}
		})
	}
}

// Who may miss what a pass has done counts the networks that the site was given by a number. From a failure of
// TestIPv6FlowsBeforeThePrefix: two passes followed each other, and the engine saw the second alone.
func TestNetworksOfTheSiteAreCounted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l := start(t)
		l.fake.Edit(func(s *routes.State) { s.Links = append(s.Links, routes.Link{Name: "lan0", Index: 9, Up: true}) })
		set := routestest.Set(true, routestest.One)
		set.Observe, set.Inside = append(set.Observe, "lan0"), []string{"lan0"}
		l.Want(set)
		if n := l.applied().NetsPut; n != 0 {
			t.Errorf("%d networks, and the site has none", n)
		}
		lan := routes.Address{
			Interface: "lan0", Prefix: netip.MustParsePrefix("2001:db8:1:101::1/64"), Protocol: 201, NoDAD: true,
			Until: time.Now().Add(time.Hour),
		}
		set.Addresses = append(slices.Clip(set.Addresses), lan)
		l.Want(set)
		l.applied()
		l.Want(set) // another pass
		if n := l.applied().NetsPut; n != 1 {
			t.Errorf("%d networks, want one", n)
		}
		lan.Until = lan.Until.Add(time.Hour)
		set.Addresses = append(slices.Clone(set.Addresses[:len(set.Addresses)-1]), lan)
		l.fake.Ops()
		l.Want(set)
		if n := l.applied().NetsPut; n != 1 || len(l.fake.Ops()) != 1 {
			t.Errorf("%d networks after one was lent for longer", n)
		}
	})
}
