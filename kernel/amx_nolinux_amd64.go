//go:build amd64 && !linux

package kernel

func allowAMX() bool { return false }
