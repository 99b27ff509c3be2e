package tokenizer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/gguf"
)

// goldenFolder is LOWKEY_GOLDEN, or shared/golden beside the module.
func goldenFolder(t testing.TB) string {
	t.Helper()
	dir, set := os.LookupEnv("LOWKEY_GOLDEN")
	if !set {
		dir = filepath.Join("..", "..", "shared", "golden")
	}
	if _, err := os.Stat(dir); err != nil {
		if set {
			t.Fatalf("LOWKEY_GOLDEN: %v", err)
		}
		t.Skip("no golden files: set LOWKEY_GOLDEN to their folder")
	}
	return dir
}

// cacheFolder is LOWKEY_CACHE, or ~/.cache/lowkey.
func cacheFolder(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("LOWKEY_CACHE"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Skip("no home folder, so no cache folder: set LOWKEY_CACHE")
	}
	return filepath.Join(home, ".cache", "lowkey")
}

// vocabFolder is LOWKEY_VOCABS, or vocabs in the cache folder.
func vocabFolder(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("LOWKEY_VOCABS")
	set := dir != ""
	if !set {
		dir = filepath.Join(cacheFolder(t), "vocabs")
	}
	if _, err := os.Stat(dir); err != nil {
		if set {
			t.Fatalf("LOWKEY_VOCABS: %v", err)
		}
		t.Skipf("no vocabularies in %s: run the fetch script, or set LOWKEY_VOCABS", dir)
	}
	return dir
}

func loadGGUF(t testing.TB, path string) (*Tokenizer, error) {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return FromGGUF(f)
}

type goldenReal struct {
	Model     string
	Tokenizer []struct {
		Text    string
		IDs     []int32
		Decoded string
	}
	BOS, EOS int32
	Chat     *struct {
		Text string
		IDs  []int32
	}
}

// TestGoldenRealTokenizers checks the two published models: ids and decoded text by transformers, and a rendered chat.
func TestGoldenRealTokenizers(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenFolder(t), "real", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no real/*.json: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			var g goldenReal
			readJSON(t, file, &g)
			path := filepath.Join(cacheFolder(t), g.Model)
			if _, err := os.Stat(path); err != nil {
				t.Skipf("%s is not in the cache folder: run the fetch script", g.Model)
			}
			tok, err := loadGGUF(t, path)
			if err != nil {
				t.Fatal(err)
			}
			if tok.BOS() != g.BOS || tok.EOS() != g.EOS {
				t.Errorf("bos %d, eos %d; want %d, %d", tok.BOS(), tok.EOS(), g.BOS, g.EOS)
			}
			for _, c := range g.Tokenizer {
				got := tok.Encode(c.Text, EncodeOptions{Special: true})
				if !slices.Equal(got, c.IDs) {
					t.Errorf("%q: ids %v, want %v", c.Text, got, c.IDs)
				}
				if s := tok.Decode(c.IDs); s != c.Decoded {
					t.Errorf("%v: text %q, want %q", c.IDs, s, c.Decoded)
				}
				checkStream(t, tok, c.IDs)
			}
			if g.Chat != nil {
				if got := tok.Encode(g.Chat.Text, EncodeOptions{Special: true}); !slices.Equal(got, g.Chat.IDs) {
					t.Errorf("chat: ids %v, want %v", got, g.Chat.IDs)
				}
			}
		})
	}
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// checkStream compares the stream of ids with their text in one piece.
func checkStream(t testing.TB, tok *Tokenizer, ids []int32) {
	t.Helper()
	s := tok.NewStream()
	var b strings.Builder
	for _, id := range ids {
		piece := s.Add(id)
		if strings.ToValidUTF8(piece, "") != piece {
			t.Errorf("stream gave %q, no whole characters", piece)
		}
		b.WriteString(piece)
	}
	b.WriteString(s.Flush())
	var raw []byte
	for i, id := range ids {
		if i > 0 {
			raw = append(raw, tok.between...)
		}
		raw = tok.appendToken(raw, id)
	}
	if want := string([]rune(string(raw))); b.String() != want {
		t.Errorf("stream of %v gave %q, want %q", ids, b.String(), want)
	}
}

// TestVocabVectors checks every vocabulary of llama.cpp's source package that comes with inputs and expected ids.
func TestVocabVectors(t *testing.T) {
	dir := vocabFolder(t)
	files, err := filepath.Glob(filepath.Join(dir, "ggml-vocab-*.gguf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no ggml-vocab-*.gguf in %s: %v", dir, err)
	}
	passed := 0
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "ggml-vocab-"), ".gguf")
		input, err := os.ReadFile(file + ".inp")
		if err != nil {
			continue // a vocabulary without vectors
		}
		output, err := os.ReadFile(file + ".out")
		if err != nil {
			t.Errorf("%s: .inp without .out", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			tok, err := loadGGUF(t, file)
			var f *fault.Error
			if errors.As(err, &f) && f.Kind == fault.Unsupported && f.Thing == "tokenizer.ggml.model" {
				t.Skipf("not supported: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			passed++
			cases := strings.Split(string(input), "\n__ggml_vocab_test__\n")
			lines := strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
			if len(cases) == len(lines)+1 && cases[len(lines)] == "" {
				cases = cases[:len(lines)]
			}
			if len(cases) != len(lines) || len(cases) < 20 {
				t.Fatalf("%d inputs, %d outputs", len(cases), len(lines))
			}
			for i, text := range cases {
				var want []int32
				for _, f := range strings.Fields(lines[i]) {
					v, err := strconv.Atoi(f)
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, int32(v))
				}
				got := tok.Encode(text, EncodeOptions{Special: true})
				if !slices.Equal(got, want) {
					t.Errorf("%q:\n got  %v\n want %v", text, got, want)
				}
				checkStream(t, tok, got)
			}
		})
	}
	if passed == 0 {
		t.Error("no vocabulary with vectors was checked")
	}
}

// TestGoldenModelTokenizers checks every model folder of the golden files that has a tokenizer.json with cases.
func TestGoldenModelTokenizers(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenFolder(t), "models", "*", "tokenizer_cases.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no models/*/tokenizer_cases.json: %v", err)
	}
	for _, file := range files {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			tok, err := FromFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			checkCases(t, tok, file, 10)
			var config struct {
				BOS string `json:"bos_token"`
				EOS string `json:"eos_token"`
			}
			readJSON(t, filepath.Join(dir, "tokenizer_config.json"), &config)
			if text, special := tok.Token(tok.BOS()); text != config.BOS || !special {
				t.Errorf("bos is %q, want %q", text, config.BOS)
			}
			if text, _ := tok.Token(tok.EOS()); text != config.EOS || !tok.IsEOG(tok.EOS()) {
				t.Errorf("eos is %q, want %q", text, config.EOS)
			}
		})
	}
}

// checkCases compares a tokenizer with a file of cases: ids, ids_special (with the tokens around a text), decoded.
func checkCases(t *testing.T, tok *Tokenizer, file string, atLeast int) {
	t.Helper()
	var g struct {
		Cases []struct {
			Text       string
			IDs        []int32
			IDsSpecial []int32 `json:"ids_special"`
			Decoded    string
		}
	}
	readJSON(t, file, &g)
	if len(g.Cases) < atLeast {
		t.Fatalf("%d cases in %s", len(g.Cases), file)
	}
	for _, c := range g.Cases {
		if got := tok.Encode(c.Text, EncodeOptions{Special: true}); !slices.Equal(got, c.IDs) {
			t.Errorf("%q: ids %v, want %v", c.Text, got, c.IDs)
		}
		if got := tok.Encode(c.Text, EncodeOptions{Special: true, AddBOS: true, AddEOS: true}); !slices.Equal(got, c.IDsSpecial) {
			t.Errorf("%q: ids with the tokens around %v, want %v", c.Text, got, c.IDsSpecial)
		}
		if got := strings.ToValidUTF8(tok.Decode(c.IDs), "\ufffd"); got != c.Decoded {
			t.Errorf("%v: text %q, want %q", c.IDs, got, c.Decoded)
		}
		checkStream(t, tok, c.IDs)
	}
}
