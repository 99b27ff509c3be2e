//go:build !amd64

package kernel

func peakRound(what string) (func(n int), float64) { return peakPlain(what) }

func readBytes(b []byte) { readPlain(b) }

func kernelShape(Format, int) string { return "go" }
