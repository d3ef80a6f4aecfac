package resolver

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"uplinkd/internal/statefile"
	"uplinkd/uplink"
)

// header tells who wrote the file, by which remove knows it again.
const header = "# Written by uplinkd: the DNS servers of the uplinks that work. It is written anew when those change.\n"

// fileMost is how much of a file is compared, in bytes.
const fileMost = 64 << 10

// text returns servers as resolv.conf(5) has them. A query that gets no answer goes to the
// next server after a second, the least there is, and not after five.
func text(d uplink.DNS) []byte {
	var b strings.Builder
	b.WriteString(header)
	for _, s := range d.Servers() {
		fmt.Fprintf(&b, "# %s\nnameserver %s\n", s.Uplink, s.Address)
	}
	b.WriteString("options timeout:1 attempts:3\n")
	return []byte(b.String())
}

// write has the file hold the servers, for all to read.
func (h *Host) write(d uplink.DNS) error {
	want := text(d)
	have, err := statefile.Read(h.path, fileMost)
	info, statErr := os.Lstat(h.path)
	if err == nil && statErr == nil && bytes.Equal(have, want) && info.Mode() == statefile.Public {
		h.written = true
		return nil
	}
	if statErr == nil && !h.written && !bytes.HasPrefix(have, []byte(header)) {
		return fmt.Errorf("%s is not uplinkd's: remove it, or choose another dns than file", h.path)
	}
	h.written = true
	if err := statefile.ReplacePublic(h.path, want); err != nil {
		return fmt.Errorf("write %s: %w", h.path, err)
	}
	return nil
}

// remove removes the file if it is ours.
func (h *Host) remove() error {
	have, err := statefile.Read(h.path, fileMost)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.HasPrefix(have, []byte(header)) {
		return nil
	}
	if err == nil {
		err = os.Remove(h.path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the file of DNS servers: %w", err)
	}
	return nil
}
