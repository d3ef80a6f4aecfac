package probe

import (
	"bytes"
	"testing"
)

// What a DNS server answers, and what somebody else may put in its place.
func FuzzAnswers(f *testing.F) {
	query, err := question(7, "www.example")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(query)
	f.Fuzz(func(t *testing.T, b []byte) {
		if done, err := answers(b, 7, "www.example"); done && err == nil && len(b) < len(query) {
			t.Errorf("%x is an answer", b)
		}
	})
}

// What a router quotes of our probes.
func FuzzQuoted(f *testing.F) {
	e := echo{dialect: &icmp4, id: 7, nonce: [nonceSize]byte{1, 2, 3}}
	f.Add([]byte{icmp4.request, 0, 0, 0, 0, 7, 0, 42})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, proven, ok := e.quoted(b)
		if ok && (b[0] != icmp4.request || b[4] != 0 || b[5] != 7) {
			t.Errorf("%x is ours", b)
		}
		if proven && ok && !bytes.Equal(b[echoHeader:stampOffset], e.nonce[:]) {
			t.Errorf("%x is proven", b)
		}
	})
}
