package flows_test

import (
	"testing"

	"uplinkd/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
