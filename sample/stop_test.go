// The stopper: cases by hand, and against searching the whole text at once.
package sample

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

// stream adds the pieces and returns all that was shown, "|" after each piece, and the stop string that matched.
func stream(t *testing.T, stops, pieces []string) (string, string) {
	t.Helper()
	s, err := NewStopper(stops)
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	for _, p := range pieces {
		emit, stopped := s.Add(p)
		shown.WriteString(emit + "|")
		if stopped {
			if s.Flush() != "" {
				t.Fatal("text was held back after a stop")
			}
			if emit, stopped := s.Add("more"); emit != "" || !stopped {
				t.Fatalf("after a stop Add gave %q, %v", emit, stopped)
			}
			return shown.String(), s.Matched()
		}
	}
	return shown.String() + s.Flush(), s.Matched()
}

func TestStopper(t *testing.T) {
	for _, c := range []struct {
		name          string
		stops, pieces []string
		shown, match  string
	}{
		{"no stop strings", nil, []string{"a", "", "b"}, "a||b|", ""},
		{"whole", []string{"END"}, []string{"one END two"}, "one |", "END"},
		{"in pieces", []string{"END"}, []string{"one E", "N", "D two"}, "one |||", "END"},
		{"false start", []string{"END"}, []string{"E", "N", "x"}, "||ENx|", ""},
		{"false start at the end", []string{"END"}, []string{"an EN"}, "an |EN", ""},
		{"start within a start", []string{"aab"}, []string{"a", "a", "a", "b", "c"}, "||a||", "aab"},
		{"at once", []string{"\n"}, []string{"\nx"}, "|", "\n"},
		{"first complete wins", []string{"abcd", "c"}, []string{"xab", "cd"}, "x|ab|", "c"},
		{"longer at the same byte wins", []string{"b", "ab"}, []string{"xa", "b"}, "x||", "ab"},
		{"held for the longest start", []string{"<|end|>", "|x"}, []string{"a<|", "e"}, "a||<|e", ""},
		{"shorter start takes over", []string{"<|end|>", "|x"}, []string{"a<|", "x"}, "a|<|", "|x"},
		{"characters of one lead byte", []string{"é"}, []string{"è", "ê", "é"}, "è|ê||", "é"},
		{"repeated", []string{"ababc"}, []string{"abababc"}, "ab|", "ababc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown, match := stream(t, c.stops, c.pieces)
			if shown != c.shown || match != c.match {
				t.Fatalf("showed %q and matched %q, want %q and %q", shown, match, c.shown, c.match)
			}
		})
	}
}

func TestStopperRefuses(t *testing.T) {
	for _, bad := range []string{"", "a\xff"} {
		_, err := NewStopper([]string{"fine", bad})
		refused(t, err, fault.BadInput, "stop string 2", "drop it")
	}
}

// naive cuts the whole text: for each end in turn, is it the end of a stop string?
func naive(stops []string, text string) (shown, match string) {
	for end := 1; end <= len(text); end++ {
		for _, s := range stops {
			if strings.HasSuffix(text[:end], s) && len(s) > len(match) {
				match = s
			}
		}
		if match != "" {
			return text[:end-len(match)], match
		}
	}
	return text, ""
}

func FuzzStopper(f *testing.F) {
	f.Add("aab", "ab", "", "aaaabab", uint64(5))
	f.Add("END", "E", "D", "the EN END", uint64(0))
	f.Add("<|im_end|>", "\n\n", "<", "a < b\n <|im_end|>", uint64(77))
	f.Add("é", "日本", "", "è日é日本", uint64(3))
	f.Fuzz(func(t *testing.T, a, b, c, text string, cuts uint64) {
		var stops []string
		for _, s := range []string{a, b, c} {
			if s != "" && utf8.ValidString(s) {
				stops = append(stops, s)
			}
		}
		var pieces []string
		rest := text
		for i := 0; rest != ""; i++ {
			n := min(len(rest), int(cuts>>(i*3%62)&7)+1)
			for n < len(rest) && !utf8.RuneStart(rest[n]) {
				n++
			}
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		s, err := NewStopper(stops)
		if err != nil {
			t.Fatal(err)
		}
		want, match := naive(stops, text)
		got, stopped := "", false
		for _, p := range pieces {
			var emit string
			emit, stopped = s.Add(p)
			got += emit
			if !strings.HasPrefix(want, got) {
				t.Fatalf("stops %q, pieces %q: showed %q, which is not a start of %q", stops, pieces, got, want)
			}
			if utf8.ValidString(text) && !utf8.ValidString(emit) {
				t.Fatalf("stops %q, pieces %q: %q splits a character", stops, pieces, emit)
			}
			if stopped {
				break
			}
			// No more is held back than must be: what is held is the start of a stop string.
			held := string(s.held)
			starts := held == ""
			for _, stop := range stops {
				starts = starts || strings.HasPrefix(stop, held)
			}
			if !starts {
				t.Fatalf("stops %q, pieces %q: %q is held back", stops, pieces, held)
			}
		}
		got += s.Flush()
		if got != want || s.Matched() != match || stopped != (match != "") {
			t.Fatalf("stops %q, pieces %q: showed %q, matched %q, stopped %v; want %q, %q", stops, pieces, got, s.Matched(), stopped, want, match)
		}
	})
}
