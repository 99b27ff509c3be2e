//go:build !linux

package model

import "testing"

func TestBytesOfSystem(t *testing.T) {
	t.Skip("only Linux tells how much memory of a process is anonymous and resident")
}
