package model

// Where files keep the matrices of experts:
//
//	a tensor for each, where the name has a place for the number
//	[experts, out, in], of which a matrix may be some rows (gate and up in one)
//	[experts, in, out], of which a matrix may be every second column (GPT-OSS: gate and up by turns); NAME_bias [experts, out]
//	NAME_blocks [experts, out, in/32, 16] and NAME_scales [experts, out, in/32], bytes: the same in MXFP4, rows instead of columns (GPT-OSS as published)

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tensor"
)

// expert finds a matrix of expert e, or with "NAME.bias" a bias.
func (w layerWeights) expert(name string, e, experts int) (tensor.Weight, bool) {
	return w.findExpert(name, e, experts, true)
}

// expertForm is expert for whoever asks for name, format and shape alone: Data may be missing, where it would have to be made.
func (w layerWeights) expertForm(name string, e, experts int) (tensor.Weight, bool) {
	return w.findExpert(name, e, experts, false)
}

func (w layerWeights) findExpert(name string, e, experts int, data bool) (tensor.Weight, bool) {
	name, bias := strings.CutSuffix(name, ".bias")
	p, ok := w.names.layer[w.prefix+name]
	if !ok {
		return tensor.Weight{}, false
	}
	if strings.Contains(p.name, "%d") {
		suffix := ".weight"
		if bias {
			suffix = ".bias"
		}
		return w.src.Tensor(fmt.Sprintf(w.names.prefix+p.name, w.layer, e) + suffix)
	}
	if bias {
		return w.expertBias(p, e, experts)
	}
	called := func(stored string) string { return fmt.Sprintf("%s, expert %d", stored, e) }
	t, ok := w.read(place{name: p.name}, ".weight")
	switch {
	case !ok && p.step > 0:
		return w.expertMXFP4(p, e, experts, called, data)
	case !ok || len(t.Shape) != 3 || t.Shape[0] != experts || p.every > 0 && t.Shape[1] != p.every || p.step > 0 && t.Shape[2]%p.step != 0:
		return tensor.Weight{}, false
	}
	rows, out := t.Shape[1], t.Shape[2]
	t.Name = called(t.Name)
	switch {
	case p.step > 0 && !data:
		t.Shape, t.Data = []int{out / p.step, rows}, nil
		return t, true
	case p.step > 0:
		return t.Slice(e*rows, (e+1)*rows).Columns(p.from, p.step), true
	case p.every > 0: // some rows of each expert's
		return t.Slice(e*rows+p.from, e*rows+p.to), true
	}
	return t.Slice(e*rows, (e+1)*rows), true
}

func (w layerWeights) expertBias(p place, e, experts int) (tensor.Weight, bool) {
	t, ok := w.read(place{name: p.name + "_bias"}, ".weight")
	step := max(1, p.step)
	if !ok || len(t.Shape) != 2 || t.Shape[0] != experts || t.Shape[1]%step != 0 || p.every > 0 {
		return tensor.Weight{}, false
	}
	t = t.Slice(e, e+1).Columns(p.from, step)
	t.Shape = t.Shape[:1]
	return t, true
}

func (w layerWeights) expertMXFP4(p place, e, experts int, called func(stored string) string, data bool) (tensor.Weight, bool) {
	src, ok := w.src.(folderSource)
	if !ok {
		return tensor.Weight{}, false
	}
	name := fmt.Sprintf(w.names.prefix, w.layer) + p.name
	codes, okCodes := src.File.Tensor(name + "_blocks")
	scales, okScales := src.File.Tensor(name + "_scales")
	if !okCodes || !okScales || codes.DType != safetensors.U8 || scales.DType != safetensors.U8 || len(scales.Shape) != 3 || scales.Shape[0] != experts || scales.Shape[1]%p.step != 0 ||
		!slices.Equal(codes.Shape, append(slices.Clone(scales.Shape), kernel.MXFP4Bytes)) {
		return tensor.Weight{}, false
	}
	out, blocks := scales.Shape[1], scales.Shape[2]
	in := blocks * kernel.MXFP4Block
	if !data {
		return tensor.Weight{Name: called(name), Format: kernel.BF16, Shape: []int{out / p.step, in}}, true
	}
	at := e * out * blocks
	return tensor.MXFP4(called(name), out, in, codes.Data[at*kernel.MXFP4Bytes:], scales.Data[at:], p.from, p.step), true
}
