package configs

import (
	"strings"
	"testing"
)

// A name is as long as DNS has it at the most, and no byte longer.
func TestHostNames(t *testing.T) {
	long := strings.Repeat("a", 253)
	for text, want := range map[string]bool{
		"a": true, "a.": true, "probe.example.org": true, "_srv.example.org.": true, long: true, long + ".": true,
		"": false, ".": false, "-a": false, "a-": false, "a..": false, "a b": false, long + "a": false, "é": false,
	} {
		if got := isHostName(text); got != want {
			t.Errorf("%.20q of %d: %v", text, len(text), got)
		}
	}
}
