package kernel

import "golang.org/x/sys/cpu"

func detectVecLevel() vecForm {
	x := &cpu.X86
	switch {
	case x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VNNI && x.HasBMI2:
		return vecAVX512
	case x.HasAVX2 && x.HasFMA:
		return vecAVX2
	}
	return vecPlain
}
