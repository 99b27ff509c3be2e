package bench

// What a cache type costs: the Kullback-Leibler divergence of its next-token distributions from those of lowkey's own run with f32 activations and an f32 cache, on the same
// text, token by token as written ("teacher-forced"), and how often both find the same token likeliest.
//
// The reference runs first and is closed; its log-probabilities wait in a temporary file, so that memory is bounded whatever the vocabulary.

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
)

// QualityOptions says on what quality is measured.
type QualityOptions struct {
	Text      string // "" = the built-in text
	Positions int    // scored positions; 0 = 256
	Window    int    // tokens of one sequence, the text is cut into such windows; 0 = 512, or Positions + Skip if that is less
	Skip      int    // positions at the start of each window that are not scored
}

// Quality compares distributions at Positions positions. Information is in nats.
type Quality struct {
	Positions int     `json:"positions"`
	MeanKL    float64 `json:"mean_kl"`
	Error     float64 `json:"mean_kl_standard_error"`
	MaxKL     float64 `json:"max_kl"`
	Top1      float64 `json:"top1_agreement"` // share of positions
}

type reference struct {
	windows [][]int32
	window  int // the longest
	skip    int
	vocab   int
	rows    int
	file    *os.File
	note    string
}

// newReference runs the model in f32 and keeps the log-probabilities of every scored position.
func newReference(ctx context.Context, path string, o *Options) (*reference, error) {
	q := *o.Quality
	if q.Positions <= 0 {
		q.Positions = 256
	}
	if q.Skip < 0 || q.Window < 0 || q.Window > 0 && q.Skip >= q.Window {
		return nil, fault.New(fault.BadInput, "bench", fmt.Sprintf("windows of %d tokens of which %d are skipped", q.Window, q.Skip), "a window must be longer than what is skipped", "")
	}
	if q.Window == 0 {
		q.Window = min(512+q.Skip, q.Positions+q.Skip)
	}
	o.say("quality: the f32 run")
	opt := o.Load
	opt.KV, opt.Activations, opt.Context, opt.Sequences, opt.PastTrained = "f32", "f32", max(64, q.Window), 1, true
	m, err := lowkey.Load(path, opt)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	ids, natural, err := tokensOf(m, q.Text)
	if err != nil {
		return nil, err
	}
	r := &reference{skip: q.Skip, vocab: m.Vocab()}
	if !natural {
		r.note = "the model has no tokenizer: speed and quality are measured on arbitrary token ids"
	}
	r.cut(ids, q, m)
	if r.rows == 0 {
		return nil, fault.New(fault.BadInput, "the text", fmt.Sprintf("%d tokens", len(ids)), fmt.Sprintf("%d are skipped", q.Skip), "give a longer text")
	}
	if r.rows < q.Positions {
		r.note = fmt.Sprintf("the text has %d positions to score, %d were asked for", r.rows, q.Positions)
	}
	if r.file, err = os.CreateTemp("", "lowkey-bench-*"); err != nil {
		return nil, err
	}
	os.Remove(r.file.Name()) // where the system allows that of an open file, nothing is left behind whatever happens
	w := bufio.NewWriterSize(r.file, 1<<20)
	probs, code := make([]float32, r.vocab), make([]byte, 4*r.vocab)
	var failed error
	err = r.each(ctx, m, func(logits []float32) {
		logProbs(probs, logits)
		for i, v := range probs {
			binary.LittleEndian.PutUint32(code[4*i:], math.Float32bits(v))
		}
		if _, err := w.Write(code); err != nil && failed == nil {
			failed = err
		}
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("the f32 run: %w", err)
	}
	return r, nil
}

// cut makes windows with Positions scored positions in all. A model that starts texts with a token gets it at the start of every window, in place of the one there.
func (r *reference) cut(ids []int32, q QualityOptions, m *lowkey.Model) {
	for len(ids) > q.Skip && r.rows < q.Positions {
		n := min(len(ids), q.Window, q.Positions-r.rows+q.Skip)
		w := append([]int32{}, ids[:n]...)
		if m.Tokenizer != nil && m.Tokenizer.AddsBOS() {
			w[0] = m.Tokenizer.BOS()
		}
		r.windows, r.rows, r.window = append(r.windows, w), r.rows+n-q.Skip, max(r.window, n)
		ids = ids[n:]
	}
}

// each runs a model over all windows and hands over the logits of every scored position.
func (r *reference) each(ctx context.Context, m *lowkey.Model, row func([]float32)) error {
	for _, w := range r.windows {
		at := 0
		err := m.Logits(ctx, w, func(logits []float32) {
			if at >= r.skip {
				row(logits)
			}
			at++
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compare measures a model against the reference.
func (r *reference) compare(ctx context.Context, m *lowkey.Model) (*Quality, error) {
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(r.file, 1<<20)
	want, got, code := make([]float32, r.vocab), make([]float32, r.vocab), make([]byte, 4*r.vocab)
	q := &Quality{}
	var sum, squares float64
	same := 0
	var failed error
	err := r.each(ctx, m, func(logits []float32) {
		if failed != nil {
			return
		}
		if _, failed = io.ReadFull(in, code); failed != nil {
			return
		}
		for i := range want {
			want[i] = math.Float32frombits(binary.LittleEndian.Uint32(code[4*i:]))
		}
		logProbs(got, logits)
		kl, top := divergence(want, got)
		sum, squares, q.MaxKL = sum+kl, squares+kl*kl, max(q.MaxKL, kl)
		if top {
			same++
		}
		q.Positions++
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	n := float64(q.Positions)
	q.MeanKL, q.Top1 = sum/n, float64(same)/n
	if n > 1 {
		q.Error = math.Sqrt(max(0, squares/n-q.MeanKL*q.MeanKL) / (n - 1))
	}
	return q, nil
}

// Close gives the temporary file back.
func (r *reference) Close() {
	r.file.Close()
	os.Remove(r.file.Name())
}

// logProbs writes the logarithms of softmax(logits).
func logProbs(dst, logits []float32) {
	top := float32(math.Inf(-1))
	for _, v := range logits {
		top = max(top, v)
	}
	sum := 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v - top))
	}
	log := float64(top) + math.Log(sum)
	for i, v := range logits {
		dst[i] = float32(float64(v) - log)
	}
}

// divergence is KL(p || q) = sum p (log p - log q) of two lists of log-probabilities, and whether both have their largest at the same place. Rounding can make a tiny sum
// negative; it is then zero.
func divergence(p, q []float32) (kl float64, sameTop bool) {
	topP, topQ := 0, 0
	for i := range p {
		if prob := math.Exp(float64(p[i])); prob > 0 {
			kl += prob * (float64(p[i]) - float64(q[i]))
		}
		if p[i] > p[topP] {
			topP = i
		}
		if q[i] > q[topQ] {
			topQ = i
		}
	}
	return max(0, kl), topP == topQ
}
