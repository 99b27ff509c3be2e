package kernel

import "unsafe"

// int8Rows is the int8 form of query rows, for scores of q8 and q4 keys: the numbers of actBlock, each kind on its own.
type int8Rows struct {
	q     []int8    // [m, k] codes
	scale []float32 // [m, k/32] sa
	sum   []int32   // [m, k/32] sum of q
	row   []actBlock
}

// set quantises x [m, k]; k is a multiple of 32.
func (r *int8Rows) set(x []float32, m, k int) {
	blocks := k / 32
	if n := m * blocks; cap(r.scale) < n {
		r.q, r.scale, r.sum = make([]int8, m*k), make([]float32, n), make([]int32, n)
	}
	r.q, r.scale, r.sum = r.q[:m*k], r.scale[:m*blocks], r.sum[:m*blocks]
	if len(r.row) < blocks {
		r.row = make([]actBlock, blocks)
	}
	for i := range m {
		quantizeRow(r.row[:blocks], 1, x[i*k:][:k])
		for b := range blocks {
			a, at := &r.row[b], i*blocks+b
			copy(r.q[32*at:][:32], a.q[:])
			r.scale[at], r.sum[at] = a.scale, -a.sum
		}
	}
}

// quantizeRow quantises x by blocks of 32 into every step-th of dst.
func quantizeRow(dst []actBlock, step int, x []float32) {
	blocks := len(x) / 32
	if blocks == 0 {
		return
	}
	_ = dst[(blocks-1)*step]
	if quantizeRowFast((*byte)(unsafe.Pointer(&dst[0])), step*actBytes, x) {
		return
	}
	for b := range blocks {
		dst[b*step].set(x[32*b:][:32])
	}
}

const actBytes = int(unsafe.Sizeof(actBlock{}))
