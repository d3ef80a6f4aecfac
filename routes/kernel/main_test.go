package kernel_test

import (
	"testing"

	"uplinkd/internal/lab"
)

func TestMain(m *testing.M) { lab.TestMain(m) }
