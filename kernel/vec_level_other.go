//go:build !amd64

package kernel

func detectVecLevel() vecForm { return vecPlain }
