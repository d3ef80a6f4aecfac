// Package control is how the daemon is spoken to: HTTP with JSON over a unix
// socket, the server in the daemon and the client in the commands.
package control

import (
	"errors"
	"net/http"
	"time"

	"uplinkd/uplink/status"
)

// Paths of the API.
const (
	pathStatus = "/v1/status"
	pathReload = "/v1/reload"
	pathUplink = "/v1/uplinks/{name}/{action}"
	pathEvents = "/v1/events"
)

// An Order is what the operator wants of an uplink.
type Order struct {
	Action string        // enable | disable | drain | weight | renew
	Weight int           // of weight: 1..256; 0: the configured one
	For    time.Duration // it ends by itself; 0: it does not
	By     string        // who gives it, as the server knows the client
}

// Events are the daemon's answer to who asks what has changed.
type Events struct {
	Last   uint64         `json:"last"` // the number of the newest there is
	Events []status.Event `json:"events"`
}

// ErrUnknownUplink is what an order for an uplink that is not configured gives.
var ErrUnknownUplink = errors.New("no such uplink")

// ErrNotRunning is what a client gets when no daemon listens.
var ErrNotRunning = errors.New("no daemon is running")

// A Daemon is what the server needs of the daemon. Its methods are called from
// several goroutines.
type Daemon interface {
	// Status returns how things stand.
	Status() status.Snapshot
	// Reload reads the configuration anew. After an error nothing has changed.
	Reload() error
	// Order carries an order out. It returns ErrUnknownUplink for a name that is
	// not configured.
	Order(name string, o Order) error
	// Events returns the events after the one of that number, and a channel that
	// is closed when there is another.
	Events(after uint64) ([]status.Event, <-chan struct{})
}

// failure is the body of an answer that is no success.
type failure struct {
	Error string `json:"error"`
}

func statusOf(err error) int {
	if errors.Is(err, ErrUnknownUplink) {
		return http.StatusNotFound
	}
	return http.StatusUnprocessableEntity
}
