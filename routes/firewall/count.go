package firewall

// Counted is an interface whose traffic is counted, by the name of its uplink.
type Counted struct{ Name, Interface string }

// Rx and Tx return the names of the counters of what comes in and goes out.
func (c Counted) Rx() string { return "rx_" + c.Name }

// Tx is as Rx.
func (c Counted) Tx() string { return "tx_" + c.Name }

// Priorities before and behind all that others do to packets (linux/netfilter_ipv4.h): what was received counts
// whatever becomes of it, and what is sent counts when nobody has dropped it.
const (
	priorityFirst  = -400
	priorityBehind = 400
)

// counting counts all that comes in and goes out by an interface, of both families.
func (t Table) counting() []Chain {
	if len(t.Counted) == 0 {
		return nil
	}
	rx := Chain{Name: "count_rx", Type: "filter", Hook: "prerouting", Priority: priorityFirst}
	tx := Chain{Name: "count_tx", Type: "filter", Hook: "postrouting", Priority: priorityBehind}
	for _, c := range t.Counted {
		rx.Rules = append(rx.Rules, Rule{MatchIn{c.Interface}, Count{c.Rx()}})
		tx.Rules = append(tx.Rules, Rule{MatchOut{c.Interface}, Count{c.Tx()}})
	}
	return []Chain{rx, tx}
}
