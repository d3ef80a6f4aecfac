package machine_test

import (
	"fmt"
	"strings"
	"time"
)

// A service that connects again and again, and notes from which address it was seen.
const caller = `[Service]
ExecStart=/bin/bash -c 'while :; do exec 3<>/dev/tcp/198.18.0.77/7000 && read -t 1 -u 3 line; echo "$line"; \
	exec 3>&-; sleep 0.02; done'
StandardOutput=append:/root/%s.calls
`

// services has two services leave by two ISPs, each by its policy: also when one has been restarted, whose control
// group is then another.
func (h *host) services() {
	h.Helper()
	for _, name := range []string{"alpha", "beta"} {
		if err := h.Put("/etc/systemd/system/"+name+".service", []byte(fmt.Sprintf(caller, name)), 0o644); err != nil {
			h.Fatal(err)
		}
	}
	h.quietly("cp -p /etc/uplinkd/uplinkd.yaml /root/good && printf '%s\\n' 'policies:' " +
		"'  - {name: alpha, unit: alpha.service, via: isp2}' '  - {name: beta, unit: beta.service, via: isp3}' " +
		">>/etc/uplinkd/uplinkd.yaml && systemctl daemon-reload && systemctl reload uplinkd && systemctl start " +
		"alpha beta")
	h.until("both services are found", 5*time.Second, func() bool {
		return h.leads("alpha") == "isp2" &&
			h.leads("beta") == "isp3"
	})
	time.Sleep(200 * time.Millisecond) // what is decided is in force
	h.leave("started")
	for n := range 3 {
		began := time.Now()
		h.quietly("rm -f /root/alpha.calls; systemctl restart alpha")
		time.Sleep(time.Second - time.Since(began))
		calls := strings.Fields(h.quietly("cat /root/alpha.calls"))
		astray := 0
		for _, call := range calls {
			if !strings.HasPrefix(call, "100.64.2.") {
				astray++
			}
		}
		h.Logf("the %d. restart: %d of the first %d connections left by another ISP", n+1, astray, len(calls))
		if len(calls) < 10 || astray > 2 {
			h.Errorf("of %d connections after the restart %d left by another ISP", len(calls), astray)
		}
		h.leave("restarted")
	}
	h.quietly("systemctl stop alpha beta")
	h.until("they have gone", 3*time.Second, func() bool { return h.leads("alpha") == "the next policy" })
	h.quietly("rm /etc/systemd/system/alpha.service /etc/systemd/system/beta.service /root/*.calls && systemctl " +
		"daemon-reload && " +
		"cat /root/good >/etc/uplinkd/uplinkd.yaml && systemctl reload uplinkd")
}

// leave wants all that the services do for a while to leave by their ISPs.
func (h *host) leave(when string) {
	h.Helper()
	h.quietly("truncate -s 0 /root/alpha.calls /root/beta.calls; sleep 1")
	for name, isp := range map[string]string{"alpha": "100.64.2.", "beta": "100.64.3."} {
		calls := strings.Fields(h.quietly("cat /root/" + name + ".calls"))
		for _, call := range calls {
			if !strings.HasPrefix(call, isp) {
				h.Errorf("%s, %s: a connection came from %s, want %s*", name, when, call, isp)
			}
		}
		if len(calls) < 10 {
			h.Errorf("%s, %s: %d connections in a second: this test sees little", name, when, len(calls))
		}
	}
}

// leads is where a policy leads now.
func (h *host) leads(name string) string {
	if s, ok := h.status(); ok {
		for _, p := range s.Policies {
			if p.Name == name {
				return p.Leads
			}
		}
	}
	return ""
}
