// Stop strings: the answer's text comes in pieces, and what might be the start of a stop string is held back until it is known.
//
// The answer ends where a stop string is first complete; if two are complete at the same byte, the longer one counts. So the
// outcome depends on the text alone and not on how it was cut into pieces. Each byte costs a constant time for each stop string
// (Knuth-Morris-Pratt). It will not match tokens or regular expressions.
package sample

import (
	"fmt"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

// Stopper cuts a stream of text at the first stop string. Make it with NewStopper; it belongs to one answer.
type Stopper struct {
	stops []pattern
	held  []byte // the text not yet given out: the longest end of it that starts a stop string
	match string
	done  bool
}

type pattern struct {
	text  string
	fails []int // fails[n]: of text[:n], the longest proper start that is also its end
	have  int   // how many bytes of text the stream now ends with
}

// NewStopper takes any number of stop strings; none at all lets every text pass. An empty string, or one that is not UTF-8,
// is a *fault.Error of kind BadInput.
func NewStopper(stops []string) (*Stopper, error) {
	s := &Stopper{}
	for i, text := range stops {
		if text == "" || !utf8.ValidString(text) {
			return nil, fault.New(fault.BadInput, fmt.Sprintf("stop string %d", i+1), fmt.Sprintf("%q", text), "a stop string is UTF-8 text of one byte or more", "drop it")
		}
		p := pattern{text: text, fails: make([]int, len(text)+1)}
		for n := 2; n <= len(text); n++ {
			p.fails[n] = p.extend(p.fails[n-1], text[n-1])
		}
		s.stops = append(s.stops, p)
	}
	return s, nil
}

// extend is the longest start of text that a stream ends with, if it ended with text[:have] before b came; have < len(text).
func (p *pattern) extend(have int, b byte) int {
	for p.text[have] != b {
		if have == 0 {
			return 0
		}
		have = p.fails[have]
	}
	return have + 1
}

// Add takes the next piece of text and returns what may be shown now. stopped is true once a stop string was complete, in this
// call or before; nothing of it is ever shown, nor of what follows it. Whole characters in give whole characters out.
func (s *Stopper) Add(text string) (emit string, stopped bool) {
	if s.done {
		return "", true
	}
	for i := range len(text) {
		s.held = append(s.held, text[i])
		longest := 0
		for k := range s.stops {
			p := &s.stops[k]
			p.have = p.extend(p.have, text[i])
			if p.have == len(p.text) && p.have > longest {
				longest, s.match, s.done = p.have, p.text, true
			}
		}
		if s.done {
			return s.give(longest), true
		}
	}
	keep := 0
	for _, p := range s.stops {
		keep = max(keep, p.have)
	}
	return s.give(keep), false
}

// give returns what is held but for its last keep bytes, which stay held unless the answer is over.
func (s *Stopper) give(keep int) string {
	out := string(s.held[:len(s.held)-keep])
	s.held = append(s.held[:0], s.held[len(s.held)-keep:]...)
	if s.done {
		s.held = nil
	}
	return out
}

// Flush returns what is still held back; call it when the answer ends without a stop string.
func (s *Stopper) Flush() string {
	out := string(s.held)
	s.held, s.done = nil, true
	return out
}

// Matched is the stop string that ended the answer, or "".
func (s *Stopper) Matched() string { return s.match }
