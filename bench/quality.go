package bench

// What a cache type costs: the divergence of its next-token distributions from those of lowkey's own run with f32 activations and an f32 cache, on the same text.
//
// The reference runs first and is closed; its logits wait in a temporary file, so that memory holds one model at a time and is bounded whatever the vocabulary.

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math"
	"os"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/eval"
	"github.com/lowkeylm/lowkey/fault"
)

// QualityOptions says on what quality is measured.
type QualityOptions struct {
	Text      string // "" = the built-in text
	Positions int    // scored positions; 0 = 256
	Window    int    // tokens of one sequence, the text is cut into such windows; 0 = 512, or Positions + Skip + 1 if that is less
	Skip      int    // tokens that stand at least before each scored one, the start of the text apart
}

// Quality compares distributions at Positions positions. Information is in nats.
type Quality struct {
	Positions int     `json:"positions"`
	MeanKL    float64 `json:"mean_kl"`
	Error     float64 `json:"mean_kl_standard_error"`
	MaxKL     float64 `json:"max_kl"`
	Top1      float64 `json:"top1_agreement"` // share of positions
}

// reference is a text and what the f32 run made of it.
type reference struct {
	ids  []int32
	cut  eval.Options
	tape *tape
	note string
}

// newReference runs the model in f32 and keeps the logits of every scored position.
func newReference(ctx context.Context, path string, o *Options) (*reference, error) {
	q := *o.Quality
	if q.Positions <= 0 {
		q.Positions = 256
	}
	if q.Skip < 0 || q.Window < 0 || q.Window > 0 && q.Skip+2 > q.Window {
		return nil, fault.New(fault.BadInput, "bench", fmt.Sprintf("windows of %d tokens of which %d are skipped", q.Window, q.Skip), "a window must be longer than what is skipped", "raise --window or lower --skip")
	}
	if q.Window == 0 {
		q.Window = min(512+q.Skip, q.Positions+q.Skip+1)
	}
	o.say("quality: the f32 run")
	opt := o.Load
	opt.KV, opt.Activations, opt.Numerics, opt.Context, opt.Sequences, opt.PastTrained, opt.Logits = "f32", "f32", lowkey.Exact, max(64, q.Window), 1, true, true
	m, err := lowkey.Load(path, opt)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	r := &reference{cut: eval.Options{Window: q.Window, Stride: q.Window - 1 - q.Skip, Limit: q.Positions}}
	natural := false
	if r.ids, natural, err = tokensOf(m, q.Text); err != nil {
		return nil, err
	}
	if natural {
		r.cut.Start = eval.StartTokens(m.Tokenizer)
		r.ids = r.ids[len(r.cut.Start):]
	} else {
		r.note = "the model has no tokenizer: speed and quality are measured on arbitrary token ids"
	}
	if r.tape, err = newTape(m); err != nil {
		return nil, err
	}
	score, err := eval.Text(ctx, r.tape, r.ids, r.cut)
	if err == nil {
		err = r.tape.rewind()
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("the f32 run: %w", err)
	}
	if score.Tokens < q.Positions {
		r.note = fmt.Sprintf("the text has %d positions to score, %d were asked for", score.Tokens, q.Positions)
	}
	return r, nil
}

// compare measures a model against the reference.
func (r *reference) compare(ctx context.Context, m *lowkey.Model) (*Quality, error) {
	if err := r.tape.rewind(); err != nil {
		return nil, err
	}
	_, results, err := eval.Compare(ctx, r.tape, []eval.Model{m}, r.ids, r.cut)
	if err != nil {
		return nil, err
	}
	d := &results[0].Divergence
	return &Quality{d.Positions, d.MeanKL(), d.Error(), d.MaxKL, d.Top1()}, nil
}

// Close gives the temporary file back.
func (r *reference) Close() { r.tape.Close() }

// tape is a model that records another's logits in a temporary file and, once rewound, plays them back in the same order.
type tape struct {
	source *lowkey.Model // nil while playing
	file   *os.File
	w      *bufio.Writer
	r      *bufio.Reader
	row    []float32
	code   []byte
}

func newTape(m *lowkey.Model) (*tape, error) {
	file, err := os.CreateTemp("", "lowkey-bench-*")
	if err != nil {
		return nil, err
	}
	os.Remove(file.Name()) // where the system allows that of an open file, nothing is left behind whatever happens
	n := m.Vocab()
	return &tape{source: m, file: file, w: bufio.NewWriterSize(file, 1<<20), r: bufio.NewReaderSize(file, 1<<20), row: make([]float32, n), code: make([]byte, 4*n)}, nil
}

// rewind ends recording and plays from the start.
func (t *tape) rewind() error {
	if err := t.w.Flush(); err != nil {
		return err
	}
	t.source = nil
	_, err := t.file.Seek(0, io.SeekStart)
	t.r.Reset(t.file)
	return err
}

func (t *tape) Logits(ctx context.Context, ids []int32, from int) iter.Seq2[[]float32, error] {
	if t.source != nil {
		return t.record(t.source.Logits(ctx, ids, from))
	}
	return func(yield func([]float32, error) bool) {
		for range len(ids) - from {
			_, err := io.ReadFull(t.r, t.code)
			for i := range t.row {
				t.row[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.code[4*i:]))
			}
			if !yield(t.row, err) || err != nil {
				return
			}
		}
	}
}

func (t *tape) record(rows iter.Seq2[[]float32, error]) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		for row, err := range rows {
			if err == nil {
				for i, v := range row {
					binary.LittleEndian.PutUint32(t.code[4*i:], math.Float32bits(v))
				}
				_, err = t.w.Write(t.code)
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

func (t *tape) Close() {
	t.file.Close()
	os.Remove(t.file.Name())
}
