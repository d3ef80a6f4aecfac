package routes

import (
	"slices"

	"uplinkd/routes/firewall"
)

// Equal reports whether two Sets want the same, in the same order.
func (s *Set) Equal(other *Set) bool {
	return s.Owner == other.Owner && s.Prune == other.Prune && s.Leave == other.Leave &&
		s.IPv6 == other.IPv6 &&
		slices.Equal(s.Observe, other.Observe) && slices.Equal(s.Inside, other.Inside) &&
		slices.Equal(s.Links, other.Links) &&
		slices.Equal(s.Settings, other.Settings) && slices.EqualFunc(s.Addresses, other.Addresses, equalAddresses) &&
		slices.EqualFunc(s.Tables, other.Tables, identical) && slices.Equal(s.Rules, other.Rules) &&
		firewall.Equal(s.Firewall, other.Firewall) && slices.EqualFunc(s.Default, other.Default, identical) &&
		slices.Equal(s.Endpoints, other.Endpoints)
}

func equalAddresses(a, b Address) bool {
	return a.same(b) && a.Protocol == b.Protocol &&
		a.NoPrefixRoute == b.NoPrefixRoute && a.NoDAD == b.NoDAD && a.Until.Equal(b.Until) &&
		a.Preferred.Equal(b.Preferred)
}

// identical reports whether two routes are the same to the letter.
func identical(a, b Route) bool {
	return a.RouteKey == b.RouteKey && a.Type == b.Type && a.Options == b.Options && a.Protocol == b.Protocol &&
		slices.Equal(a.NextHops, b.NextHops)
}
