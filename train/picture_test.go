package train

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// The picture is well-formed SVG with a line for training and, where the log has looks at the validation side, one for them; a run without steps has none.
func TestPicture(t *testing.T) {
	dir := t.TempDir()
	if err := Picture(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "loss.svg")
	if _, err := os.Stat(path); err == nil {
		t.Fatal("a picture of nothing")
	}
	for _, looks := range []bool{false, true} {
		var log strings.Builder
		for i := 1; i <= 450; i++ {
			s := Step{Step: i, Tokens: int64(i) * 4096, Loss: 8 - float64(i%7)/10 - float64(i)/100}
			if looks && i%50 == 0 {
				s.Valid = &Valid{Loss: s.Loss + 0.3}
			}
			b, err := json.Marshal(&s)
			if err != nil {
				t.Fatal(err)
			}
			log.Write(append(b, '\n'))
		}
		if err := os.WriteFile(filepath.Join(dir, "log.jsonl"), []byte(log.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Picture(dir); err != nil {
			t.Fatal(err)
		}
		words, longest := look(t, path)
		if !words["training"] || words["validation"] != looks || !words["tokens trained on (millions)"] {
			t.Errorf("looks %v: the picture says %v", looks, words)
		}
		if longest < 100 || longest > pictureDots {
			t.Errorf("looks %v: the line of training has %d segments", looks, longest)
		}
	}
}

// Phases follow each other along the axis of tokens; a folder without a run is named.
func TestPicturePhases(t *testing.T) {
	dir, none := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "log.jsonl"), []byte("{\"tokens\": 1000000, \"loss\": 3}\n{\"tokens\": 2000000, \"loss\": 2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "both.svg")
	if err := PicturePhases(path, dir, dir); err != nil {
		t.Fatal(err)
	}
	if words, longest := look(t, path); longest != 3 || !words["4"] { // million tokens
		t.Errorf("%d segments, words %v", longest, words)
	}
	if err := PicturePhases(path, dir, none); !fault.Is(err, fault.BadInput) || !strings.Contains(err.Error(), none) {
		t.Errorf("a folder without a log: %v", err)
	}
}

// look reads a picture: its words, and the most segments of a line.
func look(t *testing.T, path string) (words map[string]bool, longest int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	words = map[string]bool{}
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if err == io.EOF {
			return words, longest
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.CharData:
			words[strings.TrimSpace(string(token))] = true
		case xml.StartElement:
			for _, a := range token.Attr {
				if a.Name.Local == "d" {
					longest = max(longest, strings.Count(a.Value, "L"))
				}
			}
		}
	}
}

// A look that reads more of the validation side is no dot of the line.
func TestLooks(t *testing.T) {
	var steps []*Step
	for i, tokens := range []int{0, 100, 0, 100, 100, 700} {
		s := &Step{Step: i}
		if tokens > 0 {
			s.Valid = &Valid{Tokens: tokens}
		}
		steps = append(steps, s)
	}
	if looks := Looks(steps); len(looks) != 3 || looks[2].Step != 4 {
		t.Errorf("%d looks", len(looks))
	}
	if looks := Looks(steps[5:]); len(looks) != 1 {
		t.Errorf("of a run with one look: %d", len(looks))
	}
}
