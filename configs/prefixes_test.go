package configs_test

import (
	"bytes"
	"testing"

	"uplinkd/configs"
)

// Whatever stands in a file of prefixes: IPv4 prefixes come of it, as many as there are
// lines at the most, or an error.
func FuzzReadPrefixes(f *testing.F) {
	f.Add([]byte("192.0.2.0/24\n198.51.100.7 # a remark\n\n"))
	f.Add([]byte("0.0.0.0/0\r\n::/0\n1.2.3.4/33\n01.2.3.4"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := configs.ReadPrefixes(bytes.NewReader(b))
		if err != nil {
			return
		}
		if len(list) > bytes.Count(b, []byte("\n"))+1 {
			t.Errorf("%d prefixes of %d lines", len(list), bytes.Count(b, []byte("\n"))+1)
		}
		for _, p := range list {
			if !p.IsValid() || !p.Addr().Is4() || p != p.Masked() {
				t.Errorf("%s was taken", p)
			}
		}
	})
}
