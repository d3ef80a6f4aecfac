// Package web shows the board as a page: read only, without outside resources, and to nobody who comes by
// another site's name.
package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"uplinkd/uplink/board"
)

// Bounds on what who looks may do.
const (
	clientsMost = 64
	liveMost    = 32 // pages that are kept up to date; others are told to come later
	timeout     = 5 * time.Second
	headerMost  = 16 << 10 // bytes

	graphEvery = 10 * time.Second
)

// A site answers who looks.
type site struct {
	board *board.Board
	live  chan struct{} // a slot for each page that is kept up to date

	mu     sync.Mutex // guards what follows
	drawn  frame      // once for all who look
	page   []byte     // the whole, of pageAt
	pageAt time.Time
}

// A frame is the page's sections at a moment.
type frame struct {
	at       time.Time // of the report
	graphsAt time.Time
	sections map[string][]byte
}

// names are the sections, in their order.
var names = []string{"summary", "uplinks", "graphs", "switches"}

// Serve shows the board on listener until ctx ends, and then returns nil.
func Serve(ctx context.Context, listener net.Listener, b *board.Board, log *slog.Logger) error {
	server := &http.Server{
		Handler: Handler(b), ReadHeaderTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout,
		IdleTimeout: time.Minute, MaxHeaderBytes: headerMost,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(listener, clientsMost)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the page: %w", err)
	}
	return nil
}

// Handler answers with the page, its parts, and what keeps it up to date.
func Handler(b *board.Board) http.Handler {
	s := &site{board: b, live: make(chan struct{}, liveMost)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /live", s.serveLive)
	for name, kind := range map[string]string{"style.css": "text/css", "live.js": "text/javascript"} {
		text, err := files.ReadFile("files/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind+"; charset=utf-8")
			_, _ = w.Write(text) // who has gone away needs no answer
		})
	}
	return guarded(mux)
}

// guarded lets in only who asks by an address or as localhost, from no other site: a name that somebody else
// has pointed here (DNS rebinding) opens nothing. It forbids the page all that it does not need.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"+
			" base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !ownHost(r.Host) || !sameSite(r) {
			http.Error(w, "ask by the address that control.web names", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownHost reports whether a Host header can be that of this host: an address, or localhost.
func ownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	_, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
	return err == nil
}

// sameSite reports whether a request does not come from another site's page.
func sameSite(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Scheme == "http" && u.Host == r.Host
}

func (s *site) servePage(w http.ResponseWriter, _ *http.Request) {
	text, err := s.whole()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(text) // who has gone away needs no answer
}

// whole returns the whole page of the newest report, drawn once for all who ask.
func (s *site) whole() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, at, _ := s.board.Newest()
	if s.page != nil && at.Equal(s.pageAt) {
		return s.page, nil
	}
	p := draw(s.board, time.Now())
	p.Graphs = graphs(s.board)
	var text bytes.Buffer
	if err := pageHTML(&p).Render(&text); err != nil {
		return nil, err
	}
	s.page, s.pageAt = text.Bytes(), at
	return s.page, nil
}

// serveLive sends each section again when it has changed, as server-sent events.
func (s *site) serveLive(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet { // what is written to a HEAD goes nowhere, without end
		http.Error(w, "GET it", http.StatusMethodNotAllowed)
		return
	}
	select {
	case s.live <- struct{}{}:
		defer func() { <-s.live }()
	default:
		http.Error(w, fmt.Sprintf("%d pages are kept up to date already", liveMost), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // it is read to its end: whoever goes away is heard of at once
	sent := map[string][]byte{}
	for {
		_, _, more := s.board.Newest()
		f, err := s.draw()
		if err != nil {
			return
		}
		// What is behind w is net/http's own, which has deadlines. Who does not read is let go.
		_ = control.SetWriteDeadline(time.Now().Add(timeout))
		for _, name := range names {
			if bytes.Equal(sent[name], f.sections[name]) {
				continue
			}
			sent[name] = f.sections[name]
			if _, err := w.Write(f.sections[name]); err != nil {
				return
			}
		}
		if _, err := w.Write([]byte("event: beat\ndata:\n\n")); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-more:
		}
	}
}

// draw returns the sections of the newest report, drawn once for all who look.
func (s *site) draw() (frame, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, at, _ := s.board.Newest()
	if s.drawn.sections != nil && at.Equal(s.drawn.at) {
		return s.drawn, nil
	}
	next := frame{at: at, graphsAt: s.drawn.graphsAt, sections: map[string][]byte{}}
	p := draw(s.board, time.Now())
	again := at.Sub(s.drawn.graphsAt) >= graphEvery
	if again {
		p.Graphs, next.graphsAt = graphs(s.board), at
	}
	for _, name := range names {
		if name == "graphs" && !again {
			next.sections[name] = s.drawn.sections[name]
			continue
		}
		var text bytes.Buffer
		if err := sections[name](&p).Render(&text); err != nil {
			return frame{}, err
		}
		next.sections[name] = eventOf(name, text.String())
	}
	s.drawn = next
	return next, nil
}

// eventOf makes an event of a section (HTML, 9.2.5: each line has its own field).
func eventOf(name, text string) []byte {
	return []byte("event: " + name + "\ndata: " + strings.ReplaceAll(text, "\n", "\ndata: ") + "\n\n")
}
