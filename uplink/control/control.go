// Package control is how the daemon is spoken to: HTTP with JSON over a unix
// socket, the server in the daemon and the client in the commands.
package control

import (
	"errors"
	"net/http"

	"uplinkd/uplink/status"
)

// Paths of the API.
const (
	pathStatus = "/v1/status"
	pathReload = "/v1/reload"
	pathUplink = "/v1/uplinks/{name}/{action}"
)

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
	// Disable takes an uplink out, or with false back in. It returns
	// ErrUnknownUplink for a name that is not configured.
	Disable(name string, disable bool) error
	// Renew asks for an uplink's lease to be renewed. It returns
	// ErrUnknownUplink for a name that is not configured.
	Renew(name string) error
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
