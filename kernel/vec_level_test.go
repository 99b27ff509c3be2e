package kernel

import "testing"

// eachLevel runs f at every level this machine has.
func eachLevel(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	f(t)
}
