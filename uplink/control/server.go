package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"uplinkd/uplink/api"
	"uplinkd/uplink/metrics"
)

// Bounds on what a client may do to the server.
const (
	requestTimeout  = 5 * time.Second
	slowTimeout     = 30 * time.Second // of what reads files and the kernel
	connectionsMost = 64               // at a time; more wait
	requestMost     = 64 << 10         // bytes, of the header
	bodyMost        = 1 << 20          // bytes, of a configuration file
)

// Listen returns a listener on a unix socket that its owner and a group may use; where
// there is no such group, or this process may not give a file to it, that is its own.
// A socket that nobody listens on any more is replaced; one that is answered is
// an error, and so is a file that is no socket.
func Listen(path, group string, log *slog.Logger) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the control socket's directory: %w", err)
	}
	if err := clear(path); err != nil {
		return nil, err
	}
	// The mask, so that there is no moment in which the socket has wider permissions.
	mask := syscall.Umask(0o117)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("listen on the control socket: %w", err)
	}
	give(path, group, log)
	return listener, nil
}

// give lets a group use the socket. Without such a group, root and this process's own may.
func give(path, group string, log *slog.Logger) {
	g, err := user.LookupGroup(group)
	if err != nil {
		return
	}
	id, err := strconv.Atoi(g.Gid)
	if err != nil || id == os.Getegid() {
		return
	}
	if err := os.Chown(path, -1, id); err != nil {
		log.Warn("the group of control.group cannot use the control socket: make it the daemon's own (Group= in a "+
			"drop-in of the unit, and SupplementaryGroups= in that of uplinkd-hooks)", "group", group, "err", err)
	}
}

// clear removes a dead socket from path. Anything else there is an error. Nobody
// listening is told from nobody yet listening by the caller's being alone: the
// unit runs one daemon.
func clear(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the control socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is no socket: it is not touched; remove it or set control.socket to another path", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("another uplinkd listens on %s: stop it first, or set control.socket to another path", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		// A daemon that is stopped or busy does not take the call, and lives.
		return fmt.Errorf("%s may be in use: %w; if no uplinkd runs, remove it", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the dead control socket: %w", err)
	}
	return nil
}

// Serve answers on listener until ctx ends, and then returns nil.
func Serve(ctx context.Context, listener net.Listener, d Daemon, log *slog.Logger) error {
	// New is told between two accepts, so that one over the limit keeps the others waiting.
	slots := make(chan struct{}, connectionsMost)
	limit := func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			slots <- struct{}{}
		case http.StateClosed, http.StateHijacked:
			<-slots
		case http.StateActive, http.StateIdle:
		}
	}
	server := &http.Server{
		ConnState:         limit,
		Handler:           spare(slots, guard(handler(d, log))),
		ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		IdleTimeout: requestTimeout, MaxHeaderBytes: requestMost,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelError),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, peer{}, c) },
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the control socket: %w", err)
	}
	return nil
}

// spare has connections closed after an answer while more than half may not be opened any more: those who ask
// again and again do not shut out who comes with an order.
func spare(slots chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(slots) > cap(slots)/2 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// slow gives an answer more time than others have.
func slow(w http.ResponseWriter) {
	// What is behind w is net/http's own, which has deadlines.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(slowTimeout))
}

func handler(d Daemon, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, code int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			log.Debug("the client went away", "err", err)
		}
	}
	done := func(w http.ResponseWriter, err error) {
		if err != nil {
			answer(w, statusOf(err), failure{err.Error()})
			return
		}
		answer(w, http.StatusOK, struct{}{})
	}
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, d.Status())
	})
	mux.HandleFunc("POST "+pathReload, func(w http.ResponseWriter, r *http.Request) {
		slow(w)
		done(w, d.Reload(r.Context(), who(r)))
	})
	mux.HandleFunc("POST "+pathUplink, func(w http.ResponseWriter, r *http.Request) {
		c, err := commandOf(r)
		if err != nil {
			answer(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		done(w, d.Command(r.Context(), r.PathValue("name"), c))
	})
	mux.HandleFunc("GET "+pathDrain, func(w http.ResponseWriter, r *http.Request) {
		progress, err := d.Drain(r.PathValue("name"))
		if err != nil {
			done(w, err)
			return
		}
		answer(w, http.StatusOK, progress)
	})
	mux.HandleFunc("POST "+pathPlan, func(w http.ResponseWriter, r *http.Request) {
		slow(w)
		plan, err := planFor(w, r, d)
		if err != nil {
			done(w, err)
			return
		}
		answer(w, http.StatusOK, plan)
	})
	handleTrials(mux, d, answer, done)
	mux.Handle("GET "+metrics.Path, metrics.Handler(d.Report))
	handleHistory(mux, d, answer)
	return mux
}

// handleHistory answers who asks what has happened.
func handleHistory(mux *http.ServeMux, d Daemon, answer func(http.ResponseWriter, int, any)) {
	mux.HandleFunc("GET "+pathSwitch, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, api.Switches{Started: d.Started(), Switches: d.Switches()})
	})
	mux.HandleFunc("GET "+pathEvents, func(w http.ResponseWriter, r *http.Request) {
		after, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
		if err != nil {
			answer(w, http.StatusBadRequest, failure{"after: must be the number of an event, 0 for all"})
			return
		}
		answer(w, http.StatusOK, eventsAfter(r.Context(), d, after, r.URL.Query().Get("wait") == "true"))
	})
}

// planFor returns the plan of the configuration that a request carries.
func planFor(w http.ResponseWriter, r *http.Request, d Daemon) (api.Plan, error) {
	text, err := bodyOf(w, r)
	if err != nil {
		return api.Plan{}, err
	}
	login, err := loginOf(r.URL.Query())
	if err != nil {
		return api.Plan{}, err
	}
	return d.Plan(r.Context(), r.URL.Query().Get("file"), text, login)
}

// bodyOf returns the configuration that a request carries.
func bodyOf(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMost))
	if err != nil {
		return nil, fmt.Errorf("%w than %d bytes", errTooLong, bodyMost)
	}
	return text, nil
}

// eventsWait is how long a client waits for an event at the most; then it asks again.
const eventsWait = 3 * time.Second

// eventsAfter returns the events after one, and waits for some if it is asked to.
// A number from before a restart of the daemon is of another event, or none: the
// answer's Started tells.
func eventsAfter(ctx context.Context, d Daemon, after uint64, wait bool) api.Events {
	events, more := d.Events(after)
	if len(events) == 0 && wait {
		select {
		case <-more:
		case <-ctx.Done():
		case <-time.After(eventsWait):
		}
		events, _ = d.Events(after)
	}
	e := api.Events{Started: d.Started(), Last: after, Events: events}
	if len(events) > 0 {
		e.Last = events[len(events)-1].ID
	} else if all, _ := d.Events(0); len(all) > 0 {
		e.Last = all[len(all)-1].ID
	} else {
		e.Last = 0
	}
	return e
}

// commandOf reads a command out of a request.
func commandOf(r *http.Request) (api.Command, error) {
	o := api.Command{Action: api.Action(r.PathValue("action")), By: who(r)}
	switch o.Action {
	case api.Enable, api.Disable, api.Drain, api.Renew, api.Drill:
	case api.Weight:
		n, err := strconv.Atoi(r.URL.Query().Get("weight"))
		if err != nil || n < 0 || n > 256 {
			return o, fmt.Errorf("weight %q: must be 1 to 256, or 0 for the configured one",
				r.URL.Query().Get("weight"))
		}
		o.Weight = n
	case api.SetQuota:
		n, err := strconv.ParseUint(r.URL.Query().Get("bytes"), 10, 64)
		if err != nil || n > bytesMost {
			return o, fmt.Errorf("bytes %q: must be a number, %d at most", r.URL.Query().Get("bytes"),
				uint64(bytesMost))
		}
		o.Bytes = n
	default:
		return o, fmt.Errorf("unknown action %q: enable, disable, drain, weight, renew, quota or drill", o.Action)
	}
	if text := r.URL.Query().Get("for"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 || d > forMost {
			return o, fmt.Errorf("for %q: must be a duration such as 30m, %s at most", text, forMost)
		}
		o.For = d
	}
	o.Family = r.URL.Query().Get("family")
	return o, checkCommand(o)
}

// checkCommand returns why a command cannot be.
func checkCommand(o api.Command) error {
	switch {
	case o.Action == api.Drill && (o.For == 0 || o.For > drillMost):
		return fmt.Errorf("for %s: a drill needs an end, within %s", o.For, drillMost)
	case o.Family != "" && o.Family != "ipv4" && o.Family != "ipv6":
		return fmt.Errorf("family %q: must be ipv4 or ipv6", o.Family)
	}
	return nil
}

// bytesMost bounds what an uplink may have used.
const bytesMost = 1e15

// drillMost bounds for how long a silence says nothing of the link.
const drillMost = time.Hour

// forMost bounds how long an order with an end may last.
const forMost = 10 * 365 * 24 * time.Hour
