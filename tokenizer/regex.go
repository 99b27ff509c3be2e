// This file is the general pre-tokenizer: any regular expression, through the backtracking engine regexp2. It is the fallback
// for patterns that split.go has no function for, and the reference its functions are tested against.

package tokenizer

import (
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"

	"github.com/lowkeylm/lowkey/fault"
)

// behavior says what becomes of the matches of a pattern, by the names of Hugging Face tokenizers.
type behavior uint8

const (
	isolated       behavior = iota // every match is a piece, what lies between too
	removed                        // matches are dropped
	mergedPrevious                 // a match ends the piece before it
	mergedNext                     // a match starts the piece after it
	contiguous                     // like isolated, but matches that touch are one piece
)

// regexSplitter cuts at the matches of a pattern.
type regexSplitter struct {
	re     *regexp2.Regexp
	how    behavior
	invert bool // what lies between the matches takes the part of the matches
}

func newRegexSplitter(pattern string, how behavior, invert bool) (*regexSplitter, error) {
	re, err := regexp2.Compile(pattern)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Unsupported, Thing: "pre-tokenizer pattern", Value: pattern,
			Limit: "it is not a regular expression that this version reads", Err: err}
	}
	re.MatchTimeout = 5 * time.Second // a hostile pattern can take exponential time
	return &regexSplitter{re: re, how: how, invert: invert}, nil
}

func (o *regexSplitter) split(ends []int, s string) []int { return join(ends, o.spans(s), o.how) }

// spans gives the matches and what lies between them.
func (o *regexSplitter) spans(s string) []span {
	runes := make([]rune, 0, len(s))
	offsets := make([]int, 0, len(s)+1)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		runes = append(runes, r)
		offsets = append(offsets, i)
		i += n
	}
	offsets = append(offsets, len(s))
	spans := make([]span, 0, 16)
	at := 0
	// An error here is a limit of the engine (backtracking stack, time); what is not yet cut stays one piece.
	_ = o.re.FindRunesMatches(runes, 0, func(m regexp2.MatchView) bool {
		index, length, ok := m.GroupRange(0)
		if !ok {
			return true
		}
		from, to := offsets[index], offsets[index+length]
		if from > at {
			spans = append(spans, span{at, from, o.invert})
		}
		if to > from {
			spans = append(spans, span{from, to, !o.invert})
		}
		at = to
		return true
	})
	if at < len(s) {
		spans = append(spans, span{at, len(s), o.invert})
	}
	return spans
}

// span is a part of a text that is a match or lies between matches.
type span struct {
	from, to int
	match    bool
}

// join appends the ends of the pieces that a behaviour makes of spans.
func join(ends []int, spans []span, how behavior) []int {
	for i, p := range spans {
		glue := false // whether the piece before goes on here
		if i > 0 {
			before := spans[i-1]
			switch how {
			case mergedPrevious:
				glue = p.match && !before.match
			case mergedNext:
				glue = before.match && !p.match
			case contiguous:
				glue = p.match == before.match
			}
		}
		switch {
		case glue:
			ends[len(ends)-1] = p.to
		case how == removed && p.match:
			ends = append(ends, ^p.to)
		default:
			ends = append(ends, p.to)
		}
	}
	return ends
}
