package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/proxy"

	"uplinkd/internal/run"
)

// accepts connects to a TCP port.
func (w *wire) accepts(ctx context.Context, to netip.AddrPort) error {
	conn, err := w.dial(ctx, "tcp"+w.version(), to.String())
	if err != nil {
		return err
	}
	return conn.Close()
}

// connects has a SOCKS server make a connection.
func (w *wire) connects(ctx context.Context, t *Target) error {
	dialer, err := proxy.SOCKS5("tcp"+w.version(), t.Server, nil, dialerOf(w.dial))
	if err != nil {
		return err
	}
	conn, err := dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", netip.AddrPortFrom(t.IP, t.Port).String())
	if err != nil {
		return err
	}
	return conn.Close()
}

// advises asks an agent how much is to be sent its way.
func (w *wire) advises(ctx context.Context, server string) (Advice, error) {
	conn, err := w.dial(ctx, "tcp"+w.version(), server)
	if err != nil {
		return Advice{}, err
	}
	defer conn.Close() //nolint:errcheck // it has served
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	line, err := bufio.NewReader(io.LimitReader(conn, adviceMost)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return Advice{}, err
	}
	return parseAdvice(strings.TrimSpace(line))
}

// A dialerOf is a way to dial in the form that the SOCKS client takes.
type dialerOf func(ctx context.Context, network, address string) (net.Conn, error)

// DialContext implements proxy.ContextDialer.
func (d dialerOf) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}

// Dial implements proxy.Dialer.
func (d dialerOf) Dial(network, address string) (net.Conn, error) {
	return d(context.Background(), network, address)
}

// bodyMost is how much of an answer is looked at for the text it must have.
const bodyMost = 64 << 10

// headerMost is how long the header of an answer may be, in bytes: an uplink may be
// metered.
const headerMost = 64 << 10

// serves makes one HTTP request. A redirection is an answer as it stands: who is
// sent to a portal is not on the Internet.
func (w *wire) serves(ctx context.Context, t *Target) error {
	client := http.Client{
		// Not the context it is given: that does not end with the request's.
		Transport: &http.Transport{
			DialContext:       func(_ context.Context, n, a string) (net.Conn, error) { return w.dial(ctx, n, a) },
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: headerMost,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL, http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "uplinkd")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // read as far as it is wanted
	if ok := response.StatusCode == t.Status || t.Status == 0 && response.StatusCode/100 == 2; !ok {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	if t.Body == "" {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyMost))
	if err == nil && !bytes.Contains(body, []byte(t.Body)) {
		err = fmt.Errorf("%q is not in the answer", t.Body)
	}
	return err
}

// resolves asks a DNS server for the IPv4 address of a name, by UDP, and wants
// one (RFC 1035).
func (w *wire) resolves(ctx context.Context, server netip.Addr, name string) error {
	conn, err := w.dial(ctx, "udp"+w.version(), netip.AddrPortFrom(server, 53).String())
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it has served
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails
	query, err := question(binary.BigEndian.Uint16(id[:]), name)
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := errors.Join(conn.SetDeadline(deadline), second(conn.Write(query))); err != nil {
		return err
	}
	b := make([]byte, 4096)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return err
		}
		if done, err := answers(b[:n], binary.BigEndian.Uint16(id[:]), name); done {
			return err
		}
	}
}

func second(_ int, err error) error { return err }

func question(id uint16, name string) ([]byte, error) {
	n, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	return m.Pack()
}

// answers reports whether a message is the answer to our question, and with an
// error that it does not give what was asked for.
func answers(b []byte, id uint16, name string) (done bool, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.ID != id || !h.Response {
		return false, nil
	}
	q, err := p.Question()
	if err != nil || !strings.EqualFold(strings.TrimSuffix(q.Name.String(), "."), strings.TrimSuffix(name, ".")) {
		return false, nil
	}
	if h.RCode != dnsmessage.RCodeSuccess {
		return true, fmt.Errorf("the server answers %s", strings.TrimPrefix(h.RCode.String(), "RCode"))
	}
	if err := p.SkipAllQuestions(); err != nil {
		return true, err
	}
	for {
		r, err := p.AnswerHeader()
		if err != nil {
			return true, fmt.Errorf("%s has no IPv4 address there", name)
		}
		if r.Type == dnsmessage.TypeA {
			return true, nil
		}
		if err := p.SkipAnswer(); err != nil {
			return true, err
		}
	}
}

// outputMost is how much of what a program says is kept, in bytes.
const outputMost = 200

// execute runs a program: no arguments, an environment that tells the uplink.
// Status 0 is an answer.
func execute(ctx context.Context, spec *Spec, program string) error {
	output, err := run.Program{
		Args: []string{program}, OutputMost: outputMost,
		Env: []string{
			"UPLINK=" + spec.Uplink, "INTERFACE=" + spec.Interface, "ADDRESS=" + addressText(spec.Source),
			"FWMARK=" + markText(spec.Mark), "GATEWAY=" + addressText(spec.Gateway), "FAMILY=" + spec.family(),
		},
	}.Run(ctx)
	if said := firstLine(output); err != nil && said != "" && !errors.Is(err, run.ErrTimeLimit) {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

func markText(mark uint32) string {
	if mark == 0 {
		return ""
	}
	return fmt.Sprintf("%#x", mark)
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// firstLine returns the first line of what a program said.
func firstLine(output []byte) string {
	line, _, _ := strings.Cut(string(output), "\n")
	return line
}
