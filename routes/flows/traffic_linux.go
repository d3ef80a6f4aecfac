package flows

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Traffic is what has gone over an interface since it was made, in bytes.
type Traffic struct{ RxBytes, TxBytes uint64 }

// trafficFile is /proc/net/dev of the calling thread's network namespace (proc_net(5)).
const trafficFile = "/proc/thread-self/net/dev"

// ReadTraffic returns the traffic by interface.
func ReadTraffic() (map[string]Traffic, error) {
	b, err := os.ReadFile(trafficFile)
	if err != nil {
		return nil, err
	}
	return parseTraffic(b)
}

// parseTraffic reads what /proc/net/dev holds: two lines of headings, then one an
// interface.
func parseTraffic(b []byte) (map[string]Traffic, error) {
	traffic := map[string]Traffic{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 9 {
			continue // a heading
		}
		rx, rxErr := strconv.ParseUint(fields[0], 10, 64)
		tx, txErr := strconv.ParseUint(fields[8], 10, 64)
		if rxErr != nil || txErr != nil {
			return nil, fmt.Errorf("%s: %q are no counters", trafficFile, lines.Text())
		}
		traffic[strings.TrimSpace(name)] = Traffic{RxBytes: rx, TxBytes: tx}
	}
	return traffic, lines.Err()
}
