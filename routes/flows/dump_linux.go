package flows

import (
	"context"
	"encoding/binary"
	"errors"

	"uplinkd/internal/nlmsg"
)

var native = binary.NativeEndian

// ask sends one request to the kernel and calls each with the body of every message
// of the answer, whose memory it may not keep. It returns when the answer is
// complete, or when ctx ends.
func ask(ctx context.Context, protocol int, kind, flags uint16, body []byte, each func([]byte)) error {
	return nlmsg.Ask(ctx, nlmsg.Request{Protocol: protocol, Type: kind, Flags: flags, Body: body},
		func(m nlmsg.Message) bool {
			each(m.Body)
			return true
		})
}

// ignore returns nil for an error that says there is nothing of that kind.
func ignore(err error, harmless ...error) error {
	for _, h := range harmless {
		if errors.Is(err, h) {
			return nil
		}
	}
	return err
}
