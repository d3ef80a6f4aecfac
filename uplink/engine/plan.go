package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// A Forecast is what another configuration would do.
type Forecast struct {
	Plan    routes.Plan
	Effects []api.Effect
	Login   *api.Login // nil: not asked about
}

// Plan returns what would be done under another configuration, as far as that follows from
// what is known now, and what becomes of connections, among them one that somebody works
// by; nil: nobody asks. It asks the kernel, and blocks until that has answered, or until
// ctx ends.
func (e *Engine) Plan(ctx context.Context, c configs.Config, login *api.Login) (Forecast, error) {
	now := time.Now()
	before := e.now().state
	after := uplink.Step(before, uplink.Reloaded{Config: c}, now)
	have, err := e.reconciler.Read(ctx, planScope(&before, &after))
	if err != nil {
		return Forecast{}, err
	}
	effects := uplink.Effects(&before, &after)
	f := Forecast{Plan: uplink.Plan(before, uplink.Reloaded{Config: c}, have, now), Effects: e.count(ctx, effects)}
	if login == nil {
		return f, nil
	}
	if family := uplink.FamilyOf(login.Local.Addr()); !before.Has(family) && !after.Has(family) {
		other := *login // of a family that is none of ours
		f.Login = &other
	} else {
		found := *login
		way, err := e.wayOf(ctx, login)
		found.Uplink, found.Why = uplink.Concerned(&before, &after, effects, login.Local.Addr(), way)
		if err != nil && found.Uplink == "" {
			found.Why = fmt.Sprintf("which way its answers take is not known: %v", err)
		}
		found.Ends = found.Why != ""
		f.Login = &found
	}
	return f, nil
}

// wayOf returns the way that the answers to a login take.
func (e *Engine) wayOf(ctx context.Context, login *api.Login) (routes.Way, error) {
	if e.deps.Explain == nil {
		return routes.Way{}, errors.New("nobody can tell")
	}
	return e.deps.Explain(ctx, routes.Packet{
		From: login.Local.Addr(), To: login.Peer.Addr(), Protocol: protocolTCP,
		SPort: login.Local.Port(), DPort: login.Peer.Port(),
	})
}

// protocolTCP is its number in IP (RFC 9293).
const protocolTCP = 6

// count says how many connections each effect concerns, as far as the kernel can tell.
func (e *Engine) count(ctx context.Context, effects []uplink.Effect) []api.Effect {
	list := make([]api.Effect, len(effects))
	for i, effect := range effects {
		list[i] = api.Effect{
			Uplink: effect.Uplink, Ends: effect.Ends, Why: effect.Why,
			Sockets: countOf(ctx, e.deps.Meters.Sockets, effect.Addresses),
			Flows:   countOf(ctx, e.deps.Meters.Flows, effect.Addresses),
		}
	}
	return list
}

func countOf(
	ctx context.Context, read func(context.Context, []netip.Addr) (map[netip.Addr]int, error), of []netip.Prefix,
) api.Figure[int] {
	if read == nil {
		return api.Figure[int]{}
	}
	list := make([]netip.Addr, len(of))
	for i, a := range of {
		list[i] = a.Addr()
	}
	counts, err := read(ctx, list)
	if err != nil {
		return api.Figure[int]{}
	}
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return api.Known(sum)
}

// planScope returns what must be known of the kernel to plan a change to another
// configuration: what that may want at all, what leases ask for, and what is to go.
func planScope(before, after *uplink.State) routes.Scope {
	scope := routes.ScopeOf(uplink.Watched(after.Config))
	scope.Settings = append(scope.Settings, routes.ScopeOf(uplink.Desired(after)).Settings...)
	for i := range before.Uplinks {
		scope.Links = append(scope.Links, before.Uplinks[i].Config.Interface)
	}
	return scope
}
