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

// Disable takes an uplink out, or with false back in.
func (c *Client) Disable(ctx context.Context, name string, disable bool) error {
	if disable {
		return c.order(ctx, name, "disable")
	}
	return c.order(ctx, name, "enable")
}

// Renew asks for an uplink's lease to be renewed.
func (c *Client) Renew(ctx context.Context, name string) error { return c.order(ctx, name, "renew") }

func (c *Client) order(ctx context.Context, name, action string) error {
	return c.call(ctx, http.MethodPost, "/v1/uplinks/"+url.PathEscape(name)+"/"+action, nil)
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
