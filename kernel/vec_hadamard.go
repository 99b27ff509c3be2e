package kernel

// The Hadamard transform, which spreads outliers over a row before it is quantised.

import "math"

// Hadamard replaces x by H x / sqrt(n), H the Sylvester matrix, n = len(x) a power of two. It is its own inverse. A length that is not a power of two is left as it is and false returned.
func Hadamard(x []float32) bool {
	n := len(x)
	if n == 0 || n&(n-1) != 0 {
		return false
	}
	if hadamardFast(x) {
		Scale(x, float32(1/math.Sqrt(float64(n))))
		return true
	}
	for h := 1; h < n; h *= 2 {
		for i := 0; i < n; i += 2 * h {
			a, b := x[i:i+h], x[i+h:i+2*h]
			for j, v := range b {
				a[j], b[j] = a[j]+v, a[j]-v
			}
		}
	}
	Scale(x, float32(1/math.Sqrt(float64(n))))
	return true
}
