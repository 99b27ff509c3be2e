//go:build !amd64

package kernel

// Where there is no assembly, plain Go does the work.

func encodeFast(_ Codec, _ []byte, _ []float32) int           { return 0 }
func decodeFast(_ Codec, _ []float32, _ []byte) int           { return 0 }
func toHalvesFast(_ Codec, _ []uint16, _ []float32) int       { return 0 }
func fromHalvesFast(_ Codec, _ []float32, _ []uint16) int     { return 0 }
func scatterFast(_, _ []byte, _, _ int) bool                  { return false }
func decodeOver(_ Codec, _ []float32, _ []byte, _, _ int) int { return 0 }
