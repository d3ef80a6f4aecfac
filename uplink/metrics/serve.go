package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"uplinkd/uplink/api"
)

// Path is where the metrics are.
const Path = "/metrics"

// Bounds on what who scrapes may do.
const (
	scrapesMost   = 4 // at a time; more are refused
	clientsMost   = 16
	scrapeTimeout = 5 * time.Second
	headerMost    = 16 << 10 // bytes
)

// Handler answers a scrape with what status tells.
func Handler(status func() api.Snapshot) http.Handler {
	return promhttp.HandlerFor(New(status), promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesMost, Timeout: scrapeTimeout, ErrorHandling: promhttp.HTTPErrorOnError,
	})
}

// Serve answers scrapes on listener, and nothing else, until ctx ends, and then returns nil.
func Serve(ctx context.Context, listener net.Listener, status func() api.Snapshot, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("GET "+Path, Handler(status))
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: scrapeTimeout, ReadTimeout: scrapeTimeout, WriteTimeout: 2 * scrapeTimeout,
		IdleTimeout: time.Minute, MaxHeaderBytes: headerMost,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(listener, clientsMost)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
