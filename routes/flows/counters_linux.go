package flows

import (
	"fmt"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A Counter is what a policy has counted: first packets of connections.
type Counter struct{ Packets, Bytes uint64 }

// Counters reads the counters of nft tables. Its methods may be called from any
// goroutine.
type Counters struct {
	mu   sync.Mutex // guards conn
	conn *nftables.Conn
}

// OpenCounters opens the netlink socket, in the calling thread's network
// namespace. It is one for good, and to be opened early: the library waits by
// select(2), which knows no file descriptor beyond 1023.
func OpenCounters() (*Counters, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket for counters: %w", err)
	}
	return &Counters{conn: conn}, nil
}

// Close frees the socket.
func (c *Counters) Close() { _ = c.conn.CloseLasting() }

// Read returns what a table of family inet has counted, by name. It blocks for one
// dump.
func (c *Counters) Read(table string) (map[string]Counter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	objects, err := c.conn.GetNamedObjects(&nftables.Table{Family: nftables.TableFamilyINet, Name: table})
	if err != nil {
		return nil, err
	}
	counters := map[string]Counter{}
	for _, o := range objects {
		if named, ok := o.(*nftables.NamedObj); ok {
			if n, ok := named.Obj.(*expr.Counter); ok {
				counters[named.Name] = Counter{Packets: n.Packets, Bytes: n.Bytes}
			}
		}
	}
	return counters, nil
}
