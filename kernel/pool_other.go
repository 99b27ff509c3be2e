//go:build !amd64

package kernel

//go:noinline
func pause() {}
