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
	seed := maphash.MakeSeed() // equal lines have equal hashes within this run; that is all that counts
	type held struct {
		lines int // different ones
		near  bool
	}
	files := map[string]*held{}
	byLine := map[uint64][]*held{}
	windows := map[uint64]bool{} // of held-out files; true: stands in training
	err = c.Each(func(p Part) error {
		if !p.Valid {
			return nil
		}
		h := &held{}
		files[p.Name] = h
		for _, line := range lineHashes(seed, p.Text, true) {
			byLine[line] = append(byLine[line], h)
			h.lines++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	shared := map[*held]int{}
	err = c.Each(func(p Part) error {
		if p.Valid {
			return nil
		}
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
		return nil
	})
	if err != nil {
		return 0, err
	}
	f.files = slices.DeleteFunc(f.files, func(one file) bool {
		h := files[one.name]
		if h != nil && h.near {
			dropped++
			return true
		}
		return false
	})

	// The share is measured on what is left.
	found := 0
	var order []uint64
	c.Train, c.Valid = Count{}, Count{}
	err = c.Each(func(p Part) error {
		if !p.Valid {
			c.Train.add(p)
			return nil
		}
		c.Valid.add(p)
		for _, w := range windowHashes(seed, p.Text) {
			windows[w] = false
			order = append(order, w)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	err = c.Each(func(p Part) error {
		if p.Valid {
			return nil
		}
		for _, w := range windowHashes(seed, p.Text) {
			if _, ok := windows[w]; ok {
				windows[w] = true
			}
		}
		return nil
	})
	for _, w := range order {
		if windows[w] {
			found++
		}
	}
	c.Verbatim = 0
	if len(order) > 0 {
		c.Verbatim = float64(found) / float64(len(order))
	}
	return dropped, err
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
