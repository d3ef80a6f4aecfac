package probe

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Once probes the first target of a Spec once and returns its answer. With an error, Unsent of
// the answer says that it could not even be asked. It
// blocks until the answer comes or ctx ends.
func Once(ctx context.Context, spec Spec) (Answer, error) {
	conn, err := Open(spec)
	if err != nil {
		return Answer{Unsent: true}, err
	}
	var once sync.Once
	end := func() { once.Do(func() { _ = conn.Close() }) }
	defer end() // waits where the other one is at it
	defer context.AfterFunc(ctx, end)()
	if err := conn.Send(0, 0); err != nil {
		return Answer{Unsent: scarce(err)}, err
	}
	for {
		answer, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return Answer{}, fmt.Errorf("no answer: %w", ctx.Err())
		case err != nil:
			return Answer{}, err
		case answer.Seq != 0 || answer.Doubt:
		case answer.Err != "":
			return answer, errors.New(answer.Err)
		default:
			return answer, nil
		}
	}
}
