package control

import (
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

	"uplinkd/uplink/status"
)

// answerMost bounds what is read of an answer, in bytes.
const answerMost = 16 << 20

// A Client speaks to the daemon at a socket.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a Client for the daemon at a socket. It dials on each call.
func NewClient(path string) *Client {
	c := &Client{path: path}
	c.http.Timeout = 2 * requestTimeout
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dialer := net.Dialer{Timeout: time.Second}
			return dialer.DialContext(ctx, "unix", path)
		},
	}
	return c
}

// Status asks how things stand.
func (c *Client) Status(ctx context.Context) (status.Snapshot, error) {
	var s status.Snapshot
	err := c.call(ctx, http.MethodGet, pathStatus, &s)
	return s, err
}

// Reload makes the daemon read its configuration anew.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, pathReload, nil)
}

// Order has an order carried out. Its By is the server's to say.
func (c *Client) Order(ctx context.Context, name string, o Order) error {
	query := url.Values{}
	if o.Action == "weight" {
		query.Set("weight", strconv.Itoa(o.Weight))
	}
	if o.For > 0 {
		query.Set("for", o.For.String())
	}
	path := "/v1/uplinks/" + url.PathEscape(name) + "/" + url.PathEscape(o.Action)
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.call(ctx, http.MethodPost, path, nil)
}

// Events asks for the events after the one of that number. With wait it blocks
// for a few seconds when there are none yet.
func (c *Client) Events(ctx context.Context, after uint64, wait bool) (Events, error) {
	var e Events
	path := fmt.Sprintf("%s?after=%d&wait=%t", pathEvents, after, wait)
	err := c.call(ctx, http.MethodGet, path, &e)
	return e, err
}

func (c *Client) call(ctx context.Context, method, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://uplinkd"+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return c.explain(err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end or given up
	body := io.LimitReader(response.Body, answerMost)
	if response.StatusCode != http.StatusOK {
		var f failure
		if err := json.NewDecoder(body).Decode(&f); err != nil || f.Error == "" {
			return fmt.Errorf("the daemon answered %s", response.Status)
		}
		return errors.New(f.Error)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

// explain says what an error of the socket means.
func (c *Client) explain(err error) error {
	info, statErr := os.Stat(c.path)
	switch {
	case statErr == nil && info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is no socket: name the daemon's with --socket", c.path)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w on %s: start it (systemctl start uplinkd), or name its socket with --socket",
			ErrNotRunning, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission for %s: be root or in the socket's group", c.path)
	}
	return fmt.Errorf("ask the daemon on %s: %w", c.path, err)
}
