package routes

import "fmt"

// A Kind is a kind of object in the kernel.
type Kind uint8

// The kinds of objects that are ours.
const (
	KindLink Kind = iota
	KindSetting
	KindAddress
	KindRoute
	KindRule
	KindTable // of nft
	KindEndpoint
	kinds
)

// Kinds is how many there are.
const Kinds = kinds

// String returns the word that ip(8), sysctl(8) or nft(8) has.
func (k Kind) String() string {
	return [...]string{"link", "setting", "address", "route", "rule", "nft table", "mptcp endpoint"}[k]
}

// A Key names one object in the kernel, whatever it holds. It can be compared.
type Key struct {
	Kind  Kind
	V6    bool
	Table uint32 // of a route; 0 for all else
	ID    string // what tells it from others of its kind, family and table
}

// String returns the key as people name the object: "rule pref 20100 …".
func (k Key) String() string {
	text := k.Kind.String() + " " + k.ID
	if k.Kind == KindRoute {
		text += " table " + tableName(k.Table)
	}
	return text
}

func linkKey(name string) Key { return Key{Kind: KindLink, ID: name} }

func tableKey(name string) Key { return Key{Kind: KindTable, ID: "inet " + name} }

// Key names the setting.
func (s Setting) Key() Key { return Key{Kind: KindSetting, ID: s.ID()} }

// KeyOf names the object that an operation changes.
func KeyOf(op Op) Key { return op.key() }

// Key names the address: the kernel tells addresses apart by interface and prefix.
func (a Address) Key() Key {
	return Key{Kind: KindAddress, V6: !a.Prefix.Addr().Is4(), ID: a.Prefix.String() + " dev " + a.Interface}
}

// Key names the route.
func (r Route) Key() Key {
	id := dstName(r.Dst)
	if r.Metric != 0 {
		id += fmt.Sprintf(" metric %d", r.Metric)
	}
	return Key{Kind: KindRoute, V6: r.v6(), Table: r.Table, ID: id}
}

// Key names the rule. All that it matches is part of it: another match is another
// rule.
func (r Rule) Key() Key { return Key{Kind: KindRule, V6: r.V6, ID: r.matchText()} }

func (o SetLinkUp) key() Key      { return linkKey(o.Interface) }
func (o SetLinkDown) key() Key    { return linkKey(o.Interface) }
func (o WriteSetting) key() Key   { return o.Setting.Key() }
func (o RestoreSetting) key() Key { return o.Saved.Key() }
func (o PutAddress) key() Key     { return o.Address.Key() }
func (o DeleteAddress) key() Key  { return o.Address.Key() }
func (o AddRoute) key() Key       { return o.Route.Key() }
func (o ReplaceRoute) key() Key   { return o.Route.Key() }
func (o DeleteRoute) key() Key    { return o.Route.Key() }
func (o AddRule) key() Key        { return o.Rule.Key() }
func (o DeleteRule) key() Key     { return o.Rule.Key() }
func (o PutFirewall) key() Key    { return tableKey(o.Firewall.Name) }
func (o DeleteFirewall) key() Key { return tableKey(o.Table) }
func (o PutEndpoint) key() Key    { return o.Endpoint.Key() }
func (o DeleteEndpoint) key() Key { return o.Endpoint.Key() }
