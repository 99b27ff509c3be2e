// This file compares the two sides of a corpus of files: which held-out files are near-duplicates of training files, and how much of
// the held-out text stands verbatim in training. Both are counted exactly; memory grows with the held-out side only.

package data

import (
	"hash/maphash"
	"slices"
	"strings"
)

const (
	nearJaccard = 0.5 // files whose sets of lines overlap by more are near-duplicates
	trivialLine = 8   // a line with fewer characters, spaces around it aside, says nothing: braces, returns, else
	windowLines = 3
)

// dropNear takes the held-out files that are near-duplicates of a training file out of f. It counts both sides and the verbatim share.
func (c *Corpus) dropNear(f *folder) (dropped int, err error) {
	type held struct {
		Count
		lines   int // different ones
		near    bool
		windows []uint64
	}
	seed := maphash.MakeSeed() // equal lines have equal hashes within this run; that is all that counts
	files := map[string]*held{}
	byLine := map[uint64][]*held{}
	inTraining := map[uint64]bool{} // of the windows of held-out files: whether they stand in training
	err = c.side(f, true, func(p Part) {
		h := &held{windows: windowHashes(seed, p.Text)}
		h.add(p)
		files[p.Name] = h
		for _, line := range lineHashes(seed, p.Text, true) {
			byLine[line] = append(byLine[line], h)
			h.lines++
		}
		for _, w := range h.windows {
			inTraining[w] = false
		}
	})
	if err != nil {
		return 0, err
	}
	shared := map[*held]int{}
	err = c.side(f, false, func(p Part) {
		c.Train.add(p)
		clear(shared)
		lines := lineHashes(seed, p.Text, true)
		for _, line := range lines {
			for _, h := range byLine[line] {
				shared[h]++
			}
		}
		for h, n := range shared {
			if float64(n) > nearJaccard*float64(len(lines)+h.lines-n) {
				h.near = true
			}
		}
		for _, w := range windowHashes(seed, p.Text) {
			if _, ok := inTraining[w]; ok {
				inTraining[w] = true
			}
		}
	})
	if err != nil {
		return 0, err
	}
	f.files = slices.DeleteFunc(f.files, func(one file) bool { h := files[one.name]; return h != nil && h.near })
	found, all := 0, 0
	for _, h := range files {
		if h.near {
			dropped++
			continue
		}
		c.Valid.Documents += h.Documents
		c.Valid.Bytes += h.Bytes
		all += len(h.windows)
		for _, w := range h.windows {
			if inTraining[w] {
				found++
			}
		}
	}
	c.Verbatim = float64(found) / float64(max(all, 1))
	return dropped, nil
}

// side goes through the files of one side.
func (c *Corpus) side(f *folder, valid bool, yield func(Part)) error {
	one := &folder{root: f.root}
	for _, file := range f.files {
		if file.key <= c.border == valid {
			one.files = append(one.files, file)
		}
	}
	return one.parts(nil, func(p Part, _ uint64) error {
		yield(p)
		return nil
	})
}

// lineHashes gives the hashes of the lines of a text that are not trivial, in order; sorted and without repeats if unique.
func lineHashes(seed maphash.Seed, text string, unique bool) []uint64 {
	var lines []uint64
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); len(line) >= trivialLine {
			lines = append(lines, maphash.String(seed, line))
		}
	}
	if unique {
		slices.Sort(lines)
		lines = slices.Compact(lines)
	}
	return lines
}

// windowHashes gives a hash for every run of windowLines lines that are not trivial; trivial lines between them do not count.
func windowHashes(seed maphash.Seed, text string) []uint64 {
	lines := lineHashes(seed, text, false)
	if len(lines) < windowLines {
		return nil
	}
	windows := lines[:0]
	for i := range len(lines) - windowLines + 1 {
		h := uint64(0)
		for _, line := range lines[i : i+windowLines] {
			h = (h ^ line) * 0x9e3779b97f4a7c15
			h ^= h >> 29
		}
		windows = append(windows, h) // lines[i] is not needed any more
	}
	return windows
}
