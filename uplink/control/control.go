// Package control is how the daemon is spoken to: HTTP with JSON over a unix
// socket, the server in the daemon and the client in the commands.
package control

import (
	"context"
	"errors"
	"net/http"
	"time"

	"uplinkd/uplink/api"
)

// Paths of the API.
const (
	pathStatus = "/v1/status"
	pathReload = "/v1/reload"
	pathUplink = "/v1/uplinks/{name}/{action}"
	pathDrain  = "/v1/uplinks/{name}/drain"
	pathEvents = "/v1/events"
	pathSwitch = "/v1/switches"
	pathPlan   = "/v1/plan"
	pathTrial  = "/v1/trial"
)

// Errors that are told apart by the status of the answer, and so by both sides.
var (
	// ErrUnknownUplink is what a command for an uplink that is not configured gives.
	ErrUnknownUplink = errors.New("no such uplink")
	// ErrInPart is what a command gives that is in force, and not all that it should be.
	ErrInPart = errors.New("done in part")

	// ErrNoTrial is what a confirmation gives when nothing is on trial, or another
	// configuration than the one that is meant; ErrOnTrial what a change gives meanwhile.
	ErrNoTrial = errors.New("no configuration is on trial")
	ErrOnTrial = errors.New("a configuration is on trial")

	errTooLong = errors.New("a configuration of more")
)

// ErrNotRunning is what a client gets when no daemon listens.
var ErrNotRunning = errors.New("no daemon is running")

// ErrWentAway is what a client gets when the daemon ends, or gives up, before it has
// answered: whether it has done what was asked is not known.
var ErrWentAway = errors.New("the daemon went away before it answered")

// A Daemon is what the server needs of the daemon. Its methods are called from
// several goroutines.
type Daemon interface {
	// Status returns how things stand.
	Status() api.Snapshot
	// Report returns that with all that has been counted.
	Report() api.Snapshot
	// Reload reads the configuration anew. After an error nothing has changed.
	Reload(ctx context.Context, by string) error
	// Command carries a command out, and returns when it is in force and will outlive
	// a restart; ErrInPart when it will not. ErrUnknownUplink is for a name that is
	// not configured.
	Command(ctx context.Context, name string, c api.Command) error
	// Drain returns how far an uplink is from having no connections left.
	Drain(name string) (api.DrainProgress, error)
	// Plan returns what would be done under the configuration that text is, as if it
	// stood in the file of that name, and what would become of a login; nil: nobody asks.
	Plan(ctx context.Context, name string, text []byte, login *api.Login) (api.Plan, error)
	// Apply puts the configuration that text is in force, until it is confirmed or goes
	// back by itself: also over an end of this process. After an error nothing has changed.
	Apply(ctx context.Context, name string, text []byte, o api.Apply) (api.Trial, error)
	// Trial returns what is on trial, Confirm keeps it if its text has that sum, and Reject
	// goes back at once. ErrNoTrial is for when nothing is.
	Trial() (api.Trial, error)
	Confirm(sum, by string) error
	Reject(ctx context.Context, by string) error
	// Events returns the events after the one of that number, and a channel that
	// is closed when there is another.
	Events(after uint64) ([]api.Event, <-chan struct{})
	// Switches returns the last switches, oldest first.
	Switches() []api.Switch
	// Started returns when the daemon was: numbers of events and switches are of one life of it.
	Started() time.Time
}

// failure is the body of an answer that is no success.
type failure struct {
	Error string `json:"error"`
}

// The statuses of errors that are told apart.
var statuses = map[int]error{
	http.StatusNotFound:            ErrUnknownUplink,
	http.StatusGone:                ErrNoTrial,
	http.StatusConflict:            ErrOnTrial,
	http.StatusInsufficientStorage: ErrInPart,

	http.StatusRequestEntityTooLarge: errTooLong,
}

func statusOf(err error) int {
	for status, kind := range statuses {
		if errors.Is(err, kind) {
			return status
		}
	}
	return http.StatusUnprocessableEntity
}
