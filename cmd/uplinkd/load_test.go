package main

import (
	"time"

	"uplinkd/internal/lab"
)

// share returns what part of the connections that began in a span left by an ISP.
func share(calls []lab.Call, isp int, from, to time.Time) float64 {
	all, by := 0, 0
	for _, c := range calls {
		if c.Began.Before(from) || c.Began.After(to) {
			continue
		}
		all++
		if c.ISP == isp {
			by++
		}
	}
	if all == 0 {
		return 0
	}
	return float64(by) / float64(all)
}
