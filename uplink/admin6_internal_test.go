package uplink

import (
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

// An order about one family changes nothing of the other: `weight isp1 5` after `disable isp1 --family ipv6`
// put IPv4 out, and `disable --family ipv6` after `disable --family ipv4` put IPv4 back.
func TestOrdersOfOneFamily(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	order := func(action api.Action, family string, weight int) api.Command {
		return api.Command{Action: action, Family: family, Weight: weight, By: "root"}
	}
	disable4, disable6 := order(api.Disable, "ipv4", 0), order(api.Disable, "ipv6", 0)
	disable, enable := order(api.Disable, "", 0), order(api.Enable, "", 0)
	enable6, weight5, weight6 := order(api.Enable, "ipv6", 0), order(api.Weight, "", 5), order(api.Weight, "ipv6", 5)
	drain4, noWeight := order(api.Drain, "ipv4", 0), order(api.Weight, "", 0)
	for name, tt := range map[string]struct {
		orders []api.Command
		want   string
		clash  int // the order that is refused, from 1; 0: none
	}{
		"one":                          {[]api.Command{disable6}, "disabled, ipv6 alone", 0},
		"both, one after the other":    {[]api.Command{disable6, disable4}, "disabled", 0},
		"all after one":                {[]api.Command{disable6, disable}, "disabled", 0},
		"one after all":                {[]api.Command{disable, disable6}, "disabled", 2},
		"one of all is back":           {[]api.Command{disable, enable6}, "disabled, ipv4 alone", 0},
		"the other is back":            {[]api.Command{disable4, enable6}, "disabled, ipv4 alone", 0},
		"all is back":                  {[]api.Command{disable4, enable}, "", 0},
		"a weight after one":           {[]api.Command{disable6, weight5}, "disabled, ipv6 alone", 2},
		"a weight of it after one":     {[]api.Command{disable6, weight6}, "disabled, weight 5, ipv6 alone", 0},
		"a weight of one after all":    {[]api.Command{disable, weight6}, "disabled", 2},
		"another state of the other":   {[]api.Command{disable6, drain4}, "disabled, ipv6 alone", 2},
		"a weight is taken back":       {[]api.Command{disable6, weight6, noWeight}, "disabled, ipv6 alone", 0},
		"the state of all, not weight": {[]api.Command{disable6, weight6, enable}, "weight 5, ipv6 alone", 0},
		"one of all with a weight":     {[]api.Command{disable, weight5, enable6}, "disabled, weight 5", 3},
	} {
		var a Admin
		for i, c := range tt.orders {
			if got := a.clashes(c); got != (tt.clash == i+1) {
				t.Errorf("%s: order %d clashes: %v", name, i+1, got)
			} else if !got {
				a = applyCommand(a, c, now)
			}
		}
		if got := a.text(); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// On an uplink of one family, an order about that family is one about the uplink.
func TestOrderOfTheOnlyFamily(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	c, err := configs.Parse(strings.NewReader("uplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}]"), configs.Options{File: "t"})
	if err != nil {
		t.Fatal(err)
	}
	s := New(c, now)
	weight := Commanded{"a", api.Command{Action: api.Weight, Family: "ipv4", Weight: 5, By: "root"}}
	s = Step(s, weight, now)
	if got := s.Uplinks[0].Admin.text(); got != "weight 5" {
		t.Errorf("the order is %q", got)
	}
	if err := s.Refuse(Commanded{"a", api.Command{Action: api.Disable, By: "root"}}); err != nil {
		t.Error(err)
	}
}
