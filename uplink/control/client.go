package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"uplinkd/uplink/api"
)

// answerMost bounds what is read of an answer, in bytes.
const answerMost = 16 << 20

// A Client speaks to the daemon at a socket. Its methods may be called from several goroutines.
type Client struct {
	path   string
	ask    http.Client // what changes nothing
	change http.Client // over a connection of its own: it is never sent twice
}

// NewClient returns a Client for the daemon at a socket. It dials on each call.
func NewClient(path string) *Client {
	c := &Client{path: path}
	c.ask.Transport, c.change.Transport = transport(path, false), transport(path, false)
	return c
}

// NewWatcher returns a Client that keeps its connection for the next question, until it is closed: for who asks
// each second.
func NewWatcher(path string) *Client {
	c := NewClient(path)
	c.ask.Transport = transport(path, true)
	return c
}

// Close ends the connection of a watcher.
func (c *Client) Close() { c.ask.CloseIdleConnections() }

func transport(path string, keep bool) *http.Transport {
	return &http.Transport{
		DisableKeepAlives: !keep, MaxIdleConnsPerHost: 1,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dialer := net.Dialer{Timeout: time.Second}
			return dialer.DialContext(ctx, "unix", path)
		},
	}
}

// Status asks how things stand.
func (c *Client) Status(ctx context.Context) (api.Snapshot, error) {
	var s api.Snapshot
	err := c.call(ctx, http.MethodGet, pathStatus, &s)
	return s, err
}

// Reload makes the daemon read its configuration anew.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, pathReload, nil)
}

// Command has a command carried out, and returns when it is in force and on the disk.
// Its By is the server's to say.
func (c *Client) Command(ctx context.Context, name string, o api.Command) error {
	query := url.Values{}
	if o.Action == api.Weight {
		query.Set("weight", strconv.Itoa(o.Weight))
	}
	if o.Action == api.SetQuota {
		query.Set("bytes", strconv.FormatUint(o.Bytes, 10))
	}
	if o.For > 0 {
		query.Set("for", o.For.String())
	}
	if o.Family != "" {
		query.Set("family", o.Family)
	}
	path := "/v1/uplinks/" + url.PathEscape(name) + "/" + url.PathEscape(string(o.Action))
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.call(ctx, http.MethodPost, path, nil)
}

// Drain asks how far an uplink is from having no connections left.
func (c *Client) Drain(ctx context.Context, name string) (api.DrainProgress, error) {
	var p api.DrainProgress
	err := c.call(ctx, http.MethodGet, "/v1/uplinks/"+url.PathEscape(name)+"/drain", &p)
	return p, err
}

// Plan asks what would be done under a configuration, as if it stood in the file of
// that name, and what would become of a login; nil: of none.
func (c *Client) Plan(ctx context.Context, file string, text []byte, login *api.Login) (api.Plan, error) {
	var p api.Plan
	query := url.Values{"file": {file}}
	if login != nil {
		query.Set("local", login.Local.String())
		query.Set("peer", login.Peer.String())
	}
	err := c.send(ctx, http.MethodPost, pathPlan+"?"+query.Encode(), bytes.NewReader(text), &p)
	return p, err
}

// Events asks for the events after the one of that number. With wait it blocks
// for a few seconds when there are none yet.
func (c *Client) Events(ctx context.Context, after uint64, wait bool) (api.Events, error) {
	var e api.Events
	path := fmt.Sprintf("%s?after=%d&wait=%t", pathEvents, after, wait)
	err := c.call(ctx, http.MethodGet, path, &e)
	return e, err
}

// Switches asks for the last switches, oldest first.
func (c *Client) Switches(ctx context.Context) (api.Switches, error) {
	var s api.Switches
	err := c.call(ctx, http.MethodGet, pathSwitch, &s)
	return s, err
}

func (c *Client) call(ctx context.Context, method, path string, into any) error {
	return c.send(ctx, method, path, http.NoBody, into)
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader, into any) error {
	limit := 2 * requestTimeout
	if method == http.MethodPost && (path == pathReload || into != nil) {
		limit += slowTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://uplinkd"+path, body)
	if err != nil {
		return err
	}
	by := &c.ask
	if method != http.MethodGet {
		by = &c.change
	}
	response, err := by.Do(request)
	if err != nil {
		return c.explain(err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end or given up
	answer := io.LimitReader(response.Body, answerMost)
	if response.StatusCode != http.StatusOK {
		return refusal(response, answer)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(answer).Decode(into); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	_, _ = io.Copy(io.Discard, answer) // to its end, so that the connection serves again
	return nil
}

// refusal reads an answer that is an error. It can be told by errors.Is what kind.
func refusal(response *http.Response, answer io.Reader) error {
	var f failure
	if err := json.NewDecoder(answer).Decode(&f); err != nil || f.Error == "" {
		return fmt.Errorf("the daemon answered %s", response.Status)
	}
	return &refused{text: f.Error, kind: statuses[response.StatusCode]}
}

// A refused request has the daemon's words, and a kind when there is one.
type refused struct {
	text string
	kind error
}

func (r *refused) Error() string { return r.text }
func (r *refused) Unwrap() error { return r.kind }

// explain says what an error of the socket means.
func (c *Client) explain(err error) error {
	info, statErr := os.Stat(c.path)
	switch {
	case statErr == nil && info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is no socket: name the daemon's with --socket", c.path)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w on %s: start it (systemctl start uplinkd), or name its socket with --socket",
			ErrNotRunning, c.path)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%w on %s: see how it is, and ask again", ErrWentAway, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission for %s: be root or in the socket's group", c.path)
	}
	return fmt.Errorf("ask the daemon on %s: %w", c.path, err)
}
