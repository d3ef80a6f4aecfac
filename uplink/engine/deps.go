package engine

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"uplinkd/dhcp"
	"uplinkd/dhcp/dhcp6"
	"uplinkd/dhcp/ra"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/routes/flows"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
	"uplinkd/uplink/cgroups"
)

// Deps is what the engine needs of the world. Functions that are nil are not called.
type Deps struct {
	Kernel routes.Kernel
	Log    *slog.Logger

	// Watch calls wake when the kernel may have changed, Neighbours calls failed when a
	// neighbour has, Carriers calls heard when there was an event of any link, and lost with one that has no carrier
	// any more. All block until ctx ends.
	Watch      func(ctx context.Context, wake func()) error
	Neighbours func(ctx context.Context, failed func(index int, address netip.Addr)) error
	Carriers   func(ctx context.Context, heard func(), lost func(index int, at time.Time)) error

	OpenProbe probe.Opener
	DHCP      dhcp.Outside
	Routers   ra.Outside
	DHCP6     dhcp6.Outside
	Meters    Meters

	// Groups tells which there are of the control groups that policies name.
	Groups GroupFollower

	// ReadLink reads an interface's counters, and if asked its carrier. It blocks for a second at most.
	ReadLink func(index int, carrier bool) (flows.Link, error)

	// Explain asks the kernel which way a packet would take. It blocks until that has answered.
	Explain func(context.Context, routes.Packet) (routes.Way, error)

	// Disconnect ends connections. It may block for some milliseconds.
	Disconnect func(context.Context, uplink.Disconnect) (uplink.Disconnected, error)

	// OfferDNS gives the host's resolver the DNS servers that are to be asked. It may block
	// until its context ends.
	OfferDNS func(context.Context, uplink.DNS) error

	// Orders are those that stood when the process before us ended. SaveOrders keeps
	// them: they are on the disk when it returns, which may take that disk's time.
	Orders     map[string]api.Order
	SaveOrders func(map[string]api.Order) error

	// Learned is what links were like when the process before us ended. SaveLearned keeps
	// it, as SaveOrders does orders.
	Learned     Learned
	SaveLearned func(Learned) error

	// Usage is what uplinks had used of their quotas when the process before us ended. SaveUsage keeps it, as
	// SaveOrders does orders.
	Usage     map[string]uplink.Usage
	SaveUsage func(map[string]uplink.Usage) error

	SinceBoot func() time.Duration // with the time the machine was suspended
	Notify    Notifier
}

// A GroupFollower follows control groups. Set says which, and does not block; Run calls found whenever there
// are others than before, until ctx ends.
type GroupFollower interface {
	Set(names []cgroups.Name)
	Run(ctx context.Context, found func(map[cgroups.Name]cgroups.Group)) error
}
