package tokenizer

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// plainLearn is the definition of BPE learning: count all pairs anew before every merge.
func plainLearn(counts map[string]int64, vocab int) (merges [][2]int32) {
	var words [][]int32
	var times []int64
	for _, w := range slices.Sorted(maps.Keys(counts)) {
		var s []int32
		for i := range len(w) {
			s = append(s, int32(w[i]))
		}
		words, times = append(words, s), append(times, counts[w])
	}
	for id := int32(256); int(id) < vocab-1; id++ {
		pairs := map[[2]int32]int64{}
		for k, s := range words {
			for i := range len(s) - 1 {
				pairs[[2]int32{s[i], s[i+1]}] += times[k]
			}
		}
		var best [2]int32
		top := int64(1)
		for p, n := range pairs {
			if n > top || n == top && top > 1 && slices.Compare(p[:], best[:]) < 0 {
				best, top = p, n
			}
		}
		if top < 2 {
			break
		}
		merges = append(merges, best)
		for k, s := range words {
			var out []int32
			for i := 0; i < len(s); i++ {
				if i+1 < len(s) && s[i] == best[0] && s[i+1] == best[1] {
					out = append(out, id)
					i++
				} else {
					out = append(out, s[i])
				}
			}
			words[k] = out
		}
	}
	return merges
}

// TestLearnEqualsPlain compares the queue with counting anew, on texts full of ties and of runs that overlap themselves.
func TestLearnEqualsPlain(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		tr := NewTrainer()
		for range 20 {
			var b strings.Builder
			for range 200 {
				b.WriteString([]string{"a", "a", "b", "ab", "c", " ", "\n\t", "((", "é", "\xff"}[rng.IntN(10)])
			}
			tr.Add(b.String())
		}
		want := plainLearn(tr.words, 400)
		got, err := tr.Learn(400)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.merges, want) {
			for i := range want {
				if i >= len(got.merges) || got.merges[i] != want[i] {
					t.Fatalf("round %d: merge %d differs from the plain one: %v", round, i, want[i])
				}
			}
			t.Fatalf("round %d: %d merges, want %d", round, len(got.merges), len(want))
		}
	}
}

func goLikeText(rng *rand.Rand, lines int) string {
	names := []string{"err", "ctx", "reader", "Write", "bufferSize", "i", "n", "x1", "uint32", "größe"}
	var b strings.Builder
	for range lines {
		a, c := names[rng.IntN(len(names))], names[rng.IntN(len(names))]
		fmt.Fprintf(&b, "\tif %s := %s.%s(%d); err != nil {\n\t\treturn %s, fmt.Errorf(\"%s: %%w\", err)\n\t}\n", a, c, a, rng.IntN(5000), a, c)
	}
	return b.String()
}

// TestTrainedFile trains, reads the file back and encodes: same bytes on every run, text comes back whole, fewer tokens than bytes.
func TestTrainedFile(t *testing.T) {
	var files [2][]byte
	var learned *Learned
	for k := range files {
		tr := NewTrainer()
		rng := rand.New(rand.NewPCG(5, 6))
		for range 10 {
			tr.Add(goLikeText(rng, 50))
		}
		last := -1
		tr.Progress = func(done, all int) {
			if done < last || done > all {
				t.Errorf("progress %d of %d after %d", done, all, last)
			}
			last = done
		}
		var err error
		if learned, err = tr.Learn(512); err != nil {
			t.Fatal(err)
		}
		files[k] = learned.JSON()
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Fatal("two runs over the same text gave different files")
	}
	tok, err := FromJSON(files[0], learned.ConfigJSON())
	if err != nil {
		t.Fatal(err)
	}
	if end, ok := tok.ID(EndOfText); tok.Vocab() != learned.Vocab() || !ok || int(end) != tok.Vocab()-1 || tok.EOS() != end || !tok.IsEOG(end) {
		t.Errorf("vocabulary of %d read as %d; end of text %d, EOS %d", learned.Vocab(), tok.Vocab(), end, tok.EOS())
	}
	if _, ok := tok.stages[0].cut.(llama3Splitter); !ok {
		t.Errorf("PatternCode is cut by %T, not by the function written for it", tok.stages[0].cut)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	text := goLikeText(rng, 100)
	ids := tok.Encode(text, EncodeOptions{})
	if len(ids)*2 > len(text) {
		t.Errorf("%d tokens for %d bytes of text like the one that was learned", len(ids), len(text))
	}
	for range 200 {
		text += randomText(rng, 30)
	}
	if back := tok.Decode(tok.Encode(text, EncodeOptions{})); back != text {
		t.Error("a text came back changed")
	}
	// A prompt that ends in a brace ends as the same place inside of a text.
	prompt := "\tif err != nil {"
	if a, b := tok.Encode(prompt, EncodeOptions{}), tok.Encode(prompt+"\n\t\treturn", EncodeOptions{}); !slices.Equal(a, b[:len(a)]) {
		t.Errorf("%v is not how %v begins", a, b)
	}
}

// TestTrainerForgets holds the number of words down and still learns the frequent ones.
func TestTrainerForgets(t *testing.T) {
	tr := NewTrainer()
	tr.limit = 100
	for i := range 5000 {
		tr.Add(fmt.Sprintf("common q%s", strings.Repeat(string(rune('a'+i%26)), 1+i%90)))
		if len(tr.words) > tr.limit {
			t.Fatalf("%d words", len(tr.words))
		}
	}
	v, err := tr.Learn(300)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(v.tokens, "common") {
		t.Error("the most frequent word was not learned")
	}
}

func TestTrainerRefuses(t *testing.T) {
	tr := NewTrainer()
	if _, err := tr.Learn(4096); !fault.Is(err, fault.BadInput) {
		t.Errorf("no text: %v", err)
	}
	tr.Add("some words of text, some words")
	for _, n := range []int{0, 256, maxVocab} {
		if _, err := tr.Learn(n); !fault.Is(err, fault.BadInput) {
			t.Errorf("vocabulary of %d: %v", n, err)
		}
	}
	v, err := tr.Learn(257)
	if err != nil {
		t.Fatal(err)
	}
	if tok, err := FromJSON(v.JSON(), nil); err != nil || tok.Vocab() != 257 {
		t.Errorf("bytes alone: %v", err)
	}
}
