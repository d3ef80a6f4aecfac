package control

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"uplinkd/uplink/api"
)

// A stranger answers nothing but what it must.
type stranger struct{}

var errNo = errors.New("no")

func (stranger) Status() api.Snapshot                                     { return api.Snapshot{} }
func (stranger) Reload(context.Context, string) error                     { return errNo }
func (stranger) Command(_ context.Context, _ string, _ api.Command) error { return errNo }
func (stranger) Drain(string) (api.DrainProgress, error)                  { return api.DrainProgress{}, errNo }

func (stranger) Plan(context.Context, string, []byte, *api.Login) (api.Plan, error) {
	return api.Plan{}, errNo
}

func (stranger) Apply(context.Context, string, []byte, api.Apply) (api.Trial, error) {
	return api.Trial{}, errNo
}
func (stranger) Trial() (api.Trial, error)                    { return api.Trial{}, errNo }
func (stranger) Confirm(string, string) error                 { return errNo }
func (stranger) Reject(context.Context, string) error         { return errNo }
func (stranger) Events(uint64) ([]api.Event, <-chan struct{}) { return nil, nil }

// Whatever is asked over the socket is answered with a status that is known, and an order
// that cannot be is never handed on.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/v1/status", "", []byte(nil))
	f.Add("POST", "/v1/uplinks/isp1/weight", "weight=3&for=30m", []byte(nil))
	f.Add("POST", "/v1/plan", "file=f&local=[::1]:22&peer=192.0.2.1:4711", []byte("uplinks: []"))
	f.Add("POST", "/v1/trial", "for=1m&file=f", []byte("uplinks: []"))
	f.Add("PUT", "/v1/trial", "sha256=x", []byte(nil))
	f.Add("GET", "/v1/events", "after=99999999999999999999", []byte(nil))
	h := handler(stranger{}, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		request := &http.Request{
			Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{},
			Body: http.NoBody, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "uplinkd",
		}
		if len(body) > 0 {
			request.Body = http.MaxBytesReader(httptest.NewRecorder(), nopCloser{bytes.NewReader(body)}, 1<<20)
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, request)
		if answer.Code < 200 || answer.Code >= 500 {
			t.Errorf("%s %q?%s: status %d", method, path, query, answer.Code)
		}
	})
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

func (s stranger) Report() api.Snapshot { return s.Status() }

func (stranger) Switches() []api.Switch { return nil }

func (stranger) Started() time.Time { return time.Time{} }
