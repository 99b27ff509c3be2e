package kernel

import "golang.org/x/sys/cpu"

// f16c is the bit of CPUID that x/sys/cpu leaves out: conversions of half floats.
const f16c = 1 << 29

func detectVecLevel() vecForm {
	x := &cpu.X86
	switch {
	case x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VNNI && x.HasBMI2:
		return vecAVX512
	case x.HasAVX2 && x.HasFMA && cpuFeatures()&f16c != 0:
		return vecAVX2
	}
	return vecPlain
}
