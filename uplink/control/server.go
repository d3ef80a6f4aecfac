package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Bounds on what a client may do to the server.
const (
	requestTimeout = 5 * time.Second
	requestMost    = 64 << 10 // bytes, of the header; there are no bodies
)

// Listen returns a listener on a unix socket that its owner and group may use.
// A socket that nobody listens on any more is replaced; one that is answered is
// an error, and so is a file that is no socket.
func Listen(path string) (net.Listener, error) {
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
	return listener, nil
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
	server := &http.Server{
		Handler:           handler(d, log),
		ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		IdleTimeout: requestTimeout, MaxHeaderBytes: requestMost,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the control socket: %w", err)
	}
	return nil
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
	mux.HandleFunc("POST "+pathReload, func(w http.ResponseWriter, _ *http.Request) { done(w, d.Reload()) })
	mux.HandleFunc("POST "+pathUplink, func(w http.ResponseWriter, r *http.Request) {
		switch action := r.PathValue("action"); action {
		case "enable", "disable":
			done(w, d.Disable(r.PathValue("name"), action == "disable"))
		case "renew":
			done(w, d.Renew(r.PathValue("name")))
		default:
			answer(w, http.StatusNotFound, failure{fmt.Sprintf("unknown action %q: enable, disable or renew", action)})
		}
	})
	return mux
}
