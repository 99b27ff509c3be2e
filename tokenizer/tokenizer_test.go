package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

// fakeGGUF is metadata in memory.
type fakeGGUF map[string]any

func (f fakeGGUF) String(k string) (string, bool) { v, ok := f[k].(string); return v, ok }
func (f fakeGGUF) Bool(k string) (bool, bool)     { v, ok := f[k].(bool); return v, ok }
func (f fakeGGUF) Uint(k string) (uint64, bool)   { v, ok := f[k].(int); return uint64(v), ok }
func (f fakeGGUF) Strings(k string) []string      { v, _ := f[k].([]string); return v }
func (f fakeGGUF) Floats(k string) []float32      { v, _ := f[k].([]float32); return v }
func (f fakeGGUF) Ints(k string) []int64          { v, _ := f[k].([]int64); return v }

// pipeline loads a folder of testdata.
func pipeline(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := FromFolder(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestCutsChangeNothing compares the ways a merge model takes on one text: parts and caches, the scan, the heap.
func TestCutsChangeNothing(t *testing.T) {
	toks := map[string]*Tokenizer{}
	for _, name := range []string{"gpt2_prefix", "llama2", "gemma", "metaspace_first"} {
		toks[name] = pipeline(t, name)
	}
	for _, name := range []string{"SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"} {
		if path := filepath.Join(cacheFolder(t), name); exists(path) {
			tok, err := loadGGUF(t, path)
			if err != nil {
				t.Fatal(err)
			}
			toks[name] = tok
		} else {
			t.Logf("%s is not in the cache folder: not checked", name)
		}
	}
	for name, tok := range toks {
		m := tok.model.(*mergeModel)
		m.wait()
		sc := tok.scratch.take()
		rng := rand.New(rand.NewPCG(5, 6))
		for k := range 600 {
			text := randomText(rng, 1+rng.IntN(60))
			if k%3 == 0 {
				script := scripts[rng.IntN(len(scripts))]
				all := []rune(samples[script])
				from := rng.IntN(len(all) - 10)
				text = string(all[from:min(len(all), from+10+rng.IntN(150))])
			}
			if !m.byteLevel {
				text = strings.ReplaceAll(text, " ", spaceMark)
			}
			if text == "" {
				continue
			}
			got := m.encode(sc, nil, text)
			short, long := mergeBy(m, m.mergeShort, text), mergeBy(m, m.mergeLong, text)
			if !slices.Equal(short, long) {
				t.Fatalf("%s: %q: scan %v, heap %v", name, text, short, long)
			}
			if !slices.Equal(got, short) {
				t.Fatalf("%s: %q: in parts %v, whole %v", name, text, got, short)
			}
		}
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func mergeBy(m *mergeModel, merge func(*symbols, string), text string) []int32 {
	s := new(symbols)
	m.start(s, text)
	merge(s, text)
	return m.emit(s, nil, text)
}

// TestRoundTripBytes: byte-level BPE keeps every byte of every text, valid or not.
func TestRoundTripBytes(t *testing.T) {
	tok := byteTokenizer(t)
	rng := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		text := randomText(rng, rng.IntN(40))
		if got := tok.Decode(tok.Encode(text, EncodeOptions{})); got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
	}
}

// byteTokenizer is a byte-level vocabulary that rewrites nothing: GGUF metadata made of a trained one.
func byteTokenizer(t testing.TB) *Tokenizer {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "llama3", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := readHF(string(data))
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]string, len(file.ids))
	for k, id := range file.ids {
		tokens[id] = file.texts[k]
	}
	types := make([]int64, len(tokens)+2)
	for i := range tokens {
		types[i] = 1
	}
	tokens = append(tokens, "<|im_start|>", "<|im_end|>")
	types[len(tokens)-2], types[len(tokens)-1] = 3, 3
	var merges []string
	for _, m := range file.merges {
		merges = append(merges, m[0]+" "+m[1])
	}
	tok, err := FromGGUF(fakeGGUF{
		"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": merges,
		"tokenizer.ggml.token_type": types, "tokenizer.ggml.bos_token_id": len(tokens) - 2, "tokenizer.ggml.eos_token_id": 0,
	})
	if err != nil {
		t.Fatal(err)
	}
	tok.model.wait()
	return tok
}

func TestSpecialTokens(t *testing.T) {
	tok := byteTokenizer(t)
	start, ok := tok.ID("<|im_start|>")
	if !ok || start != tok.BOS() {
		t.Fatalf("start token %d, %v", start, ok)
	}
	end, _ := tok.ID("<|im_end|>")
	if !tok.IsEOG(end) || !tok.IsEOG(0) || tok.IsEOG(start) || len(tok.EOG()) != 2 {
		t.Errorf("end of generation: %v", tok.EOG())
	}
	if !tok.AddsBOS() || tok.EOS() != 0 || tok.Pad() != -1 || tok.Unknown() != -1 {
		t.Errorf("bos %v, eos %d, pad %d, unknown %d", tok.AddsBOS(), tok.EOS(), tok.Pad(), tok.Unknown())
	}
	const text = "<|im_start|>hi<|im_end|>"
	parsed := tok.Encode(text, EncodeOptions{Special: true, AddBOS: true})
	if parsed[0] != start || parsed[1] != start || parsed[len(parsed)-1] != end {
		t.Errorf("special tokens: %v", parsed)
	}
	plain := tok.Encode(text, EncodeOptions{})
	if slices.Contains(plain, start) || slices.Contains(plain, end) {
		t.Errorf("special tokens without being asked for: %v", plain)
	}
	if got := tok.Decode(plain); got != text {
		t.Errorf("plain text came back as %q", got)
	}
	if got := tok.DecodePlain(parsed); got != "hi" {
		t.Errorf("without special tokens: %q", got)
	}
	if got := tok.AppendEncode([]int32{7}, "", EncodeOptions{}); !slices.Equal(got, []int32{7}) {
		t.Errorf("append of nothing: %v", got)
	}
}

func TestBadIDs(t *testing.T) {
	tok := byteTokenizer(t)
	bad := []int32{-1, int32(tok.Vocab()), 1 << 30, -1 << 31}
	if got := tok.Decode(bad); got != "" {
		t.Errorf("decoded %q", got)
	}
	s := tok.NewStream()
	for _, id := range bad {
		if got := s.Add(id); got != "" {
			t.Errorf("stream gave %q for %d", got, id)
		}
		if text, special := tok.Token(id); text != "" || special {
			t.Errorf("token %d is %q", id, text)
		}
		if tok.IsEOG(id) {
			t.Errorf("%d ends a generation", id)
		}
	}
}

// TestStreamHoldsBytes feeds a character byte by byte.
func TestStreamHoldsBytes(t *testing.T) {
	tok := byteTokenizer(t)
	m := tok.model.(*mergeModel)
	s := tok.NewStream()
	var got []string
	for _, b := range []byte("é😀\xff!") {
		got = append(got, s.Add(m.bytes[b]))
	}
	if want := []string{"", "é", "", "", "", "😀", "\ufffd", "!"}; !slices.Equal(got, want) {
		t.Errorf("stream %q, want %q", got, want)
	}
	s.Add(m.bytes[0xe4])
	s.Add(m.bytes[0xb8])
	if out := s.Flush(); out != "\ufffd\ufffd" || s.Flush() != "" {
		t.Errorf("flush gave %q", out)
	}
	end, _ := tok.ID("<|im_end|>")
	s.SkipSpecial = true
	if out := s.Add(end); out != "" {
		t.Errorf("special token came out as %q", out)
	}
}

// TestConcurrentUse encodes with one tokenizer from many goroutines; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	tok := byteTokenizer(t)
	text := textOf("chinese", 3000, 1) + textOf("english", 3000, 1)
	want := tok.Encode(text, EncodeOptions{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				if got := tok.Encode(text, EncodeOptions{}); !slices.Equal(got, want) {
					t.Error("another result at the same time")
				}
			}
		})
	}
	wg.Wait()
}

// TestLongRuns: no text is quadratic; a quarter of a megabyte of one character is done at once.
func TestLongRuns(t *testing.T) {
	for _, tok := range []*Tokenizer{byteTokenizer(t), pipeline(t, "llama2"), pipeline(t, "unigram")} {
		for _, unit := range []string{"a", " ", "\n", "中", "é", "\xff", "1", "!"} {
			text := strings.Repeat(unit, 1<<18/len(unit))
			ids := tok.Encode(text, EncodeOptions{})
			if len(ids) == 0 {
				t.Errorf("%s: nothing for %q repeated", tok.Name(), unit)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	base := func() fakeGGUF {
		return fakeGGUF{"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": []string{"a", "b", "ab"},
			"tokenizer.ggml.merges": []string{"a b"}}
	}
	for name, c := range map[string]struct {
		change func(fakeGGUF)
		kind   fault.Kind
		text   string
	}{
		"model":       {func(f fakeGGUF) { f["tokenizer.ggml.model"] = "rwkv" }, fault.Unsupported, "rwkv"},
		"pre":         {func(f fakeGGUF) { f["tokenizer.ggml.pre"] = "nobody" }, fault.Unsupported, "smollm"},
		"no model":    {func(f fakeGGUF) { delete(f, "tokenizer.ggml.model") }, fault.BadFile, "tokenizer.ggml.model"},
		"no tokens":   {func(f fakeGGUF) { delete(f, "tokenizer.ggml.tokens") }, fault.BadFile, "tokenizer.ggml.tokens"},
		"no merges":   {func(f fakeGGUF) { delete(f, "tokenizer.ggml.merges") }, fault.BadFile, "tokenizer.ggml.merges"},
		"short types": {func(f fakeGGUF) { f["tokenizer.ggml.token_type"] = []int64{1} }, fault.BadFile, "token_type"},
		"no scores":   {func(f fakeGGUF) { f["tokenizer.ggml.model"] = "llama" }, fault.BadFile, "scores"},
	} {
		f := base()
		c.change(f)
		_, err := FromGGUF(f)
		if !fault.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := FromGGUF(base()); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		json string
		kind fault.Kind
		text string
	}{
		"wordpiece":     {`{"model":{"type":"WordPiece","vocab":{"a":0}}}`, fault.Unsupported, "WordPiece"},
		"normalizer":    {`{"normalizer":{"type":"BertNormalizer"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`, fault.Unsupported, "BertNormalizer"},
		"pre-tokenizer": {`{"pre_tokenizer":{"type":"UnicodeScripts"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`, fault.Unsupported, "UnicodeScripts"},
		"decoder":       {`{"decoder":{"type":"CTC"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`, fault.Unsupported, "CTC"},
		"suffix":        {`{"model":{"type":"BPE","end_of_word_suffix":"</w>","vocab":{"a":0},"merges":[]}}`, fault.Unsupported, "</w>"},
		"cut short":     {`{"model":{"type":"BPE","vocab":{"a":0`, fault.BadFile, "malformed"},
		"huge id":       {`{"model":{"type":"BPE","vocab":{"a":16000000},"merges":[]}}`, fault.BadFile, "16000000"},
		"added id":      {`{"added_tokens":[{"id":9000000,"content":"x"}],"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`, fault.BadFile, "9000000"},
		"same id":       {`{"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}}`, fault.BadFile, "twice"},
		"pattern":       {`{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"},"model":{"vocab":{"a":0},"merges":[]}}`, fault.Unsupported, "("},
		"nothing":       {``, fault.BadFile, "tokenizer.json"},
	} {
		_, err := FromJSON([]byte(c.json), nil)
		if !fault.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := compilePattern(strings.Repeat("(", 12) + "a" + strings.Repeat("){4}", 12)); ok {
		t.Error("a pattern of 4^12 copies was compiled")
	}
	if _, err := FromFolder(t.TempDir()); !fault.Is(err, fault.BadInput) {
		t.Errorf("empty folder: %v", err)
	}
}

// FuzzEncode: any text comes back from byte-level BPE byte by byte; no pipeline panics; streams give whole characters.
func FuzzEncode(f *testing.F) {
	tok := byteTokenizer(f)
	var others []*Tokenizer
	files, _ := filepath.Glob(filepath.Join("testdata", "*", "tokenizer.json"))
	for _, file := range files {
		other, err := FromFolder(filepath.Dir(file))
		if err != nil {
			f.Fatal(err)
		}
		others = append(others, other)
	}
	for _, s := range []string{"", "Hello, world", "don't\r\n 12345", "中文 кот 😀", "\xff\xfe\x00", "<|im_end|><s> <mask> new york"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, text string, special bool) {
		if got := tok.Decode(tok.Encode(text, EncodeOptions{})); got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
		for _, o := range others {
			ids := o.Encode(text, EncodeOptions{Special: special, AddBOS: true})
			for _, id := range ids {
				if id < 0 || int(id) >= o.Vocab() {
					t.Fatalf("%s: id %d", o.Name(), id)
				}
			}
			checkStream(t, o, ids)
		}
	})
}

// FuzzTokenizerJSON: any file is read or refused; what was read encodes and decodes without a panic.
func FuzzTokenizerJSON(f *testing.F) {
	f.Add([]byte(`{"added_tokens":[{"id":3,"content":"<s>","special":true}],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"ByteLevel"},`+
		`"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],"special_tokens":{"<s>":{"ids":[3]}}},`+
		`"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`), "a<s>b")
	f.Add([]byte(`{"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1.5]]},"pre_tokenizer":{"type":"Metaspace","replacement":"▁"}}`), "a b")
	f.Add([]byte(`{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\p{L}+(?!x)|[^\\s]{1,3}"},"behavior":"Removed"}]},"model":{"vocab":{"a":0},"merges":[["a","a"]]}}`), "aax")
	f.Add([]byte(`{"normalizer":{"type":"Precompiled","precompiled_charsmap":"BAAAAAAEAAB4AA=="},"model":{"type":"Unigram","vocab":[["a",0]]}}`), "aaa")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		if len(data) > 1<<14 || len(text) > 256 {
			return
		}
		tok, err := FromJSON(data, nil)
		if err != nil {
			return
		}
		ids := tok.Encode(text, EncodeOptions{Special: true, AddBOS: true, AddEOS: true})
		if out := tok.Decode(ids); utf8.ValidString(text) && len(out) > 1<<24 {
			t.Fatalf("%d bytes of %d", len(out), len(text))
		}
	})
}

// FuzzPattern: any expression is compiled or left to the engine, and matches without a panic.
func FuzzPattern(f *testing.F) {
	for _, p := range knownPatterns() {
		f.Add(p, "Don't stop 123 times!\r\n  I'LL  \n\t中文。\xff")
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		if len(expr) > 200 || len(text) > 64 {
			return
		}
		p, ok := compilePattern(expr)
		if !ok {
			return
		}
		ends := (&patternSplitter{pattern: p}).split(nil, text)
		if got := strings.Join(cut(text, ends), ""); got != text {
			t.Fatalf("%s cut %q to %q", expr, text, got)
		}
	})
}

// TestForeignTokens: a token of a byte-level vocabulary that is not written in GPT-2's alphabet (here 日) is not what the bytes of 日 make, a byte that is no token gives none although the file names an unknown token,
// and an end token of no kind is a special one.
func TestForeignTokens(t *testing.T) {
	tok, err := FromGGUF(fakeGGUF{
		"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.merges": []string{"æ Ĺ", "æĹ ¥", "a æĹ¥"},
		"tokenizer.ggml.tokens": []string{"<|endoftext|>", "日", "æ", "Ĺ", "¥", "æĹ", "æĹ¥", "a", "aæĹ¥"}, "tokenizer.ggml.eos_token_id": 0, "tokenizer.ggml.unknown_token_id": 0,
	})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{"日": {6}, "a日": {8}, "azæ\u0097": {7, 3}, "日<|endoftext|>日": {6, 0, 6}} {
		if got := tok.Encode(text, EncodeOptions{Special: true}); !slices.Equal(got, want) {
			t.Errorf("%q: ids %v, want %v", text, got, want)
		}
	}
	if got := tok.Decode([]int32{1, 6}); got != "日日" {
		t.Errorf("text %q", got)
	}
}

// TestWordCharacters: a joiner and a letter in a circle belong to words, as \w of Rust has it; white space ends them.
func TestWordCharacters(t *testing.T) {
	stages, _, err := hfLoader{}.preTokenizers(`{"type":"Whitespace"}`, false, 0)
	if err != nil || len(stages) != 1 {
		t.Fatal(stages, err)
	}
	for text, want := range map[string][]int{"a\u200db": {5}, "aⒶ": {4}, "a😀": {1, 5}} {
		if got := stages[0].cut.split(nil, text); !slices.Equal(got, want) {
			t.Errorf("%q: cuts %v, want %v", text, got, want)
		}
	}
	if !isWord(0x200d) || !isWord('Ⓐ') || isWord('😀') {
		t.Error("word characters")
	}
}
