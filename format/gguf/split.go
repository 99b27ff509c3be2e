package gguf

// Split files: a model as several files, NAME-00001-of-0000N.gguf and so on, as llama-gguf-split writes them. The first holds the metadata, each its own tensors; the keys
// split.no (from 0) and split.count say which part a file is.

import (
	"fmt"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
)

// Split says which part of how many a file is, counted from 1; 1 of 1 for a file that is not split.
func (f *File) Split() (part, of int) {
	count, ok := f.Uint("split.count")
	if !ok || count < 2 || count > maxParts {
		return 1, 1
	}
	no, _ := f.Uint("split.no")
	return int(min(no, maxParts)) + 1, int(count)
}

// maxParts is what five digits count.
const maxParts = 99999

// OpenSplit is Open, and for the first of several parts opens the others beside it: the result has the first's metadata and the tensors of all. A part that is missing, or is of
// another split, is a *fault.Error that names it.
func OpenSplit(path string) (*File, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	if err := f.join(path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *File) join(path string) error {
	part, count := f.Split()
	if count == 1 {
		return nil
	}
	tail := func(part int) string { return fmt.Sprintf("-%05d-of-%05d.gguf", part, count) }
	base, named := strings.CutSuffix(path, tail(part))
	switch {
	case !named:
		return fault.New(fault.BadFile, path, fmt.Sprintf("part %d of %d", part, count), "the parts of a split file are found by their names", fmt.Sprintf("name them ...%s to ...%s", tail(1), tail(count)))
	case part != 1:
		return fault.New(fault.BadInput, path, fmt.Sprintf("part %d of %d", part, count), "a split model is opened by its first part", "give "+base+tail(1))
	}
	for i := 2; i <= count; i++ {
		name := base + tail(i)
		p, err := Open(name)
		if err != nil {
			return fault.New(fault.BadFile, path, fmt.Sprintf("part 1 of %d", count), "", "put "+name+" beside it").Because(err)
		}
		f.rest = append(f.rest, p)
		if no, of := p.Split(); no != i || of != count {
			return fault.New(fault.BadFile, name, fmt.Sprintf("says that it is part %d of %d", no, of), fmt.Sprintf("part %d of %d is wanted", i, count), "put the parts of one model side by side, under the names they were published with")
		}
		for _, t := range p.Tensors {
			if _, twice := f.tensors[t.Name]; twice {
				return fault.New(fault.BadFile, name, fmt.Sprintf("tensor %q", clip(t.Name)), "it is in an earlier part too", "fetch the parts again")
			}
			t.part = i - 1
			f.tensors[t.Name] = len(f.Tensors)
			f.Tensors = append(f.Tensors, t)
		}
	}
	if want, ok := f.Uint("split.tensors.count"); ok && want != uint64(len(f.Tensors)) {
		return fault.New(fault.BadFile, path, fmt.Sprintf("%d tensors in %d parts", len(f.Tensors), count), fmt.Sprintf("split.tensors.count is %d", want), "fetch the parts again")
	}
	return nil
}
