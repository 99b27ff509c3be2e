package kernel

// Which form of the vector operations runs.

type vecForm uint8

const (
	vecPlain vecForm = iota
	vecAVX2
	vecAVX512
)

var vecLevel = vecForm(min(level, int(vecAVX512)))

// vecSpan is the most elements one assembly call takes, so that no call is long: assembly cannot be preempted.
const vecSpan = 1 << 14
