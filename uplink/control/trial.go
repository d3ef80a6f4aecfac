package control

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"uplinkd/uplink/api"
)

// Bounds of how long a configuration may be on trial.
const (
	TrialLeast = time.Second
	TrialMost  = 24 * time.Hour
)

// handleTrials answers what is asked about configurations on trial.
func handleTrials(
	mux *http.ServeMux, d Daemon, answer func(http.ResponseWriter, int, any), done func(http.ResponseWriter, error),
) {
	give := func(w http.ResponseWriter, t api.Trial, err error) {
		if err != nil {
			done(w, err)
			return
		}
		answer(w, http.StatusOK, t)
	}
	mux.HandleFunc("GET "+pathTrial, func(w http.ResponseWriter, r *http.Request) {
		t, err := d.Trial()
		if !mayOrder(r) { // nor read what may be in a file of root's alone
			t.Text, t.Before = nil, nil
		}
		give(w, t, err)
	})
	mux.HandleFunc("POST "+pathTrial, func(w http.ResponseWriter, r *http.Request) {
		slow(w)
		length, err := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil || length < TrialLeast || length > TrialMost {
			answer(w, http.StatusBadRequest, failure{fmt.Sprintf("for %q: must be a duration of %s to %s",
				r.URL.Query().Get("for"), TrialLeast, TrialMost)})
			return
		}
		text, err := bodyOf(w, r)
		if err != nil {
			done(w, err)
			return
		}
		t, err := d.Apply(r.Context(), r.URL.Query().Get("file"), text, api.Apply{For: length, By: who(r)})
		give(w, t, err)
	})
	mux.HandleFunc("PUT "+pathTrial, func(w http.ResponseWriter, r *http.Request) {
		slow(w)
		done(w, d.Confirm(r.URL.Query().Get("sha256"), who(r)))
	})
	mux.HandleFunc("DELETE "+pathTrial, func(w http.ResponseWriter, r *http.Request) {
		slow(w)
		done(w, d.Reject(r.Context(), who(r)))
	})
}

// loginOf reads a login out of a request; nil when it names none.
func loginOf(query url.Values) (*api.Login, error) {
	if query.Get("local") == "" {
		return nil, nil
	}
	local, err := netip.ParseAddrPort(query.Get("local"))
	if err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	peer, err := netip.ParseAddrPort(query.Get("peer"))
	if err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	return &api.Login{Local: local, Peer: peer}, nil
}

// Apply puts a configuration in force, as if it stood in the file of that name, until it
// is confirmed or its time is up.
func (c *Client) Apply(ctx context.Context, file string, text []byte, length time.Duration) (api.Trial, error) {
	var t api.Trial
	query := url.Values{"file": {file}, "for": {length.String()}}
	err := c.send(ctx, http.MethodPost, pathTrial+"?"+query.Encode(), bytes.NewReader(text), &t)
	return t, err
}

// Trial asks what is on trial.
func (c *Client) Trial(ctx context.Context) (api.Trial, error) {
	var t api.Trial
	err := c.call(ctx, http.MethodGet, pathTrial, &t)
	return t, err
}

// Confirm keeps what is on trial, if it is the configuration with that sum.
func (c *Client) Confirm(ctx context.Context, sum string) error {
	return c.call(ctx, http.MethodPut, pathTrial+"?"+url.Values{"sha256": {sum}}.Encode(), nil)
}

// Reject has what is on trial go back at once.
func (c *Client) Reject(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, pathTrial, nil)
}
