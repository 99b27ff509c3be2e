package kernel

import "testing"

// eachLevel runs f at every level this machine has.
func eachLevel(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	best := vecLevel
	defer func() { vecLevel = best }()
	for i, name := range []string{"plain", "avx2", "avx512"} {
		if vecForm(i) > best {
			break
		}
		vecLevel = vecForm(i)
		t.Run(name, f)
	}
}
