package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/train/data"
	"github.com/lowkeylm/lowkey/train/optim"
)

// corpus writes some text that can be learned, and opens it as the data of a run in dir.
func corpus(t testing.TB, dir string) *data.Set {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	text := filepath.Join(dir, "text")
	os.MkdirAll(text, 0o777)
	for i := range 40 {
		var b strings.Builder
		for j := range 60 {
			fmt.Fprintf(&b, "func f%d(x int) int { return x + %d }\n", (i*7+j)%31, j%10)
		}
		os.WriteFile(filepath.Join(text, fmt.Sprintf("%02d.go", i)), []byte(b.String()), 0o666)
	}
	set, _, err := Corpus(context.Background(), data.Spec{Source: text, Valid: 0.1}, "", 300, dir, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

func settings(t testing.TB, design string, steps int) *Settings {
	t.Helper()
	sized, err := Shape{Design: design, Vocab: 300, Context: 32, Hidden: 32, Layers: 2, HeadDim: 8}.Size()
	if err != nil {
		t.Fatal(err)
	}
	return &Settings{Model: sized.Config, Seq: 16, Batch: 3, Accumulate: 2, Optimizer: "muon", Schedule: optim.Schedule{Shape: optim.Cosine, Peak: 0.01, Warmup: 2, Steps: steps, Final: 0.1},
		Decay: 0.1, Beta1: 0.9, Beta2: 0.95, Clip: 1, ZLoss: 1e-4, Seed: 3}
}

func weights(m *model.Model) []byte {
	var b bytes.Buffer
	for _, p := range m.Parameters() {
		b.Write(p.Bytes())
	}
	return b.Bytes()
}

func quiet(*Step) error { return nil }

// A run that was stopped and resumed, on another number of threads, with other intervals of validation and with activations recomputed, has the bits of one that was not.
func TestResumeSameBits(t *testing.T) {
	for _, design := range Designs() {
		t.Run(design, func(t *testing.T) {
			set := corpus(t, t.TempDir())
			s := settings(t, design, 7)
			whole, err := Open(t.TempDir(), s, set, 2)
			if err != nil {
				t.Fatal(err)
			}
			defer whole.Close()
			var losses []float64
			if err := whole.Run(context.Background(), 0, 3, func(st *Step) error { losses = append(losses, st.Loss); return nil }); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for part, threads := range []int{1, 3} {
				r, err := Open(dir, s, set, threads)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(context.Background())
				err = r.Run(ctx, 0, 0, func(st *Step) error {
					if st.Loss != losses[st.Step-1] {
						t.Errorf("step %d: loss %v, uninterrupted %v", st.Step, st.Loss, losses[st.Step-1])
					}
					if part == 0 && st.Step == 4 {
						cancel()
					}
					return nil
				})
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				if part == 1 && !bytes.Equal(weights(r.Model), weights(whole.Model)) {
					t.Error("weights differ from those of the uninterrupted run")
				}
				r.Close()
			}
			log, err := ReadLog(dir)
			if err != nil || len(log) != 7 || log[6].Step != 7 {
				t.Errorf("%d lines in the log, %v", len(log), err)
			}
			if losses[6] >= losses[0] {
				t.Errorf("loss went from %v to %v", losses[0], losses[6])
			}
		})
	}
}

// late is a context that ends when done says so.
type late struct {
	context.Context
	done func() bool
}

func (l late) Err() error {
	if l.done() {
		return context.Canceled
	}
	return nil
}

// A run that is stopped in its last look at the validation side is not done: the next one begins with that look, and finds what an uninterrupted one does.
func TestStoppedInLastLook(t *testing.T) {
	dir, set := t.TempDir(), corpus(t, t.TempDir())
	s := settings(t, "mha", 3)
	var want, got *Valid
	for i, d := range []string{t.TempDir(), dir, dir} {
		r, err := Open(d, s, set, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Run(late{context.Background(), func() bool { return i == 1 && r.step == 3 }}, 0, 0, func(st *Step) error {
			if got = st.Valid; i == 0 {
				want = st.Valid
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if done := r.Done(); done != 3 && i != 1 || done != 2 && i == 1 {
			t.Errorf("run %d: %d steps done", i, done)
		}
		r.Close()
	}
	log, err := ReadLog(dir)
	if err != nil || len(log) != 3 || log[2].Valid == nil || want == nil || *log[2].Valid != *want || *got != *want {
		t.Errorf("%d steps in the log, %v; %+v, want %+v", len(log), err, got, want)
	}
}

// Recomputing activations changes no bit.
func TestRecomputeSameBits(t *testing.T) {
	set := corpus(t, t.TempDir())
	var got [2][]byte
	for i, recompute := range []bool{false, true} {
		s := settings(t, "mfa", 3)
		s.Recompute = recompute
		r, err := Open(t.TempDir(), s, set, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Run(context.Background(), 0, 0, quiet); err != nil {
			t.Fatal(err)
		}
		got[i] = weights(r.Model)
		r.Close()
	}
	if !bytes.Equal(got[0], got[1]) {
		t.Error("weights differ")
	}
}

func TestResumeRefusals(t *testing.T) {
	dir := t.TempDir()
	set := corpus(t, t.TempDir())
	s := settings(t, "mha", 2)
	r, err := Open(dir, s, set, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(context.Background(), 0, 0, quiet); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, s, set, 1)
	wants(t, err, fault.BadInput, dir, "another process")
	r.Close()
	other := *s
	other.Batch = 4
	_, err = Open(dir, &other, set, 1)
	wants(t, err, fault.Mismatch, "batch", "3", "4")
	other = *settings(t, "mqa", 2)
	_, err = Open(dir, &other, set, 1)
	wants(t, err, fault.Mismatch, "model")
	other = *s
	other.Schedule.Peak = -1
	_, err = Open(t.TempDir(), &other, set, 1)
	wants(t, err, fault.BadInput, "learning rate")
	other = *s
	other.Corpus = "another text"
	_, err = Open(dir, &other, set, 1)
	wants(t, err, fault.Mismatch, "corpus", "another text")
	other = *s
	other.Clip = -1
	_, err = Open(t.TempDir(), &other, set, 1)
	wants(t, err, fault.BadInput, "--clip")
	other = *s
	other.Seq = 33
	_, err = Open(t.TempDir(), &other, set, 1)
	wants(t, err, fault.BadInput, "--seq", "33", "32")

	// The newest checkpoint is torn: the one before it is taken.
	all := checkpoints(dir)
	if len(all) != 1 {
		t.Fatal(all)
	}
	os.WriteFile(filepath.Join(dir, "checkpoint-00000009.safetensors"), []byte("torn"), 0o666)
	seen := r.guard
	if r, err = Open(dir, s, set, 1); err != nil || r.Done() != 2 {
		t.Fatal(err)
	}
	if r.guard != seen || seen.steps != 2 { // a jump behind the resumption counts like any other
		t.Errorf("the guard goes on from %+v, not %+v", r.guard, seen)
	}
	r.Close()
	os.Remove(all[0])
	_, err = Open(dir, s, set, 1)
	wants(t, err, fault.BadFile, "checkpoint-00000009")
}

func wants(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != kind {
		t.Errorf("error %v, want kind %v", err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestGuard(t *testing.T) {
	var g guard
	for i := range 60 {
		if err := g.check(3+0.1*math.Sin(float64(i)), 1, i, "here"); err != nil {
			t.Fatal(err)
		}
	}
	wants(t, g.check(6, 1, 61, "checkpoint-7"), fault.BadInput, "step 61", "loss 6", "checkpoint-7")
	wants(t, g.check(math.NaN(), 1, 61, "checkpoint-7"), fault.BadInput, "not a number")
	wants(t, g.check(3, math.Inf(1), 61, "checkpoint-7"), fault.BadInput, "not a number", "--start checkpoint-7")
	wants(t, g.check(math.NaN(), 1, 61, ""), fault.BadInput, "no checkpoint yet")
}

// A bad loss stops the run before it reaches the weights or a checkpoint.
func TestNaNStops(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir, settings(t, "mha", 5), corpus(t, t.TempDir()), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = r.Run(context.Background(), 1, 0, func(st *Step) error {
		if st.Step == 2 {
			r.Model.Parameters()[1].Data[0] = float32(math.NaN())
		}
		return nil
	})
	wants(t, err, fault.BadInput, "step 3", "checkpoint-00000001") // the second one holds the bad weight

	// What the validation side shows stops it too, before that reaches a log.
	s := settings(t, "mha", 5)
	s.Optimizer, s.Schedule = "adamw", optim.Schedule{Shape: optim.Constant, Peak: 1e12, Warmup: 2, Steps: 5}
	q, err := Open(t.TempDir(), s, r.Data, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	err = q.Run(context.Background(), 1, 1, quiet)
	wants(t, err, fault.BadInput, "validation loss", "step 1", "no checkpoint yet")
}

// A further phase begins with the weights of the one before.
func TestStart(t *testing.T) {
	dir := t.TempDir()
	set := corpus(t, dir)
	s := settings(t, "mfa-kr", 3)
	r, err := Open(filepath.Join(dir, "one"), s, set, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Run(context.Background(), 0, 0, quiet); err != nil {
		t.Fatal(err)
	}
	if err := r.Export(filepath.Join(dir, "model"), filepath.Join(dir, "tokenizer.json"), kernel.F32); err != nil {
		t.Fatal(err)
	}
	next := *s
	next.Start, next.From = filepath.Join(dir, "model"), 6
	q, err := Open(filepath.Join(dir, "two"), &next, set, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	want := map[string]*model.Parameter{}
	for _, p := range r.Model.Parameters() {
		want[p.Name] = p
	}
	for _, p := range q.Model.Parameters() {
		if !bytes.Equal(p.Bytes(), want[p.Name].Bytes()) {
			t.Errorf("%s differs", p.Name)
		}
	}
	again := next // a checkpoint gives the same weights as the model made of them
	again.Start = r.checkpoint()
	p, err := Open(filepath.Join(dir, "four"), &again, set, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if !bytes.Equal(weights(p.Model), weights(r.Model)) {
		t.Errorf("weights from the checkpoint %q differ", again.Start)
	}
	context := regexp.MustCompile(`("max_position_embeddings":) *\d+`)
	for name, from := range map[string]string{"of the model": next.Start, "of the checkpoint": again.Start} {
		longer := next
		longer.Start, longer.Model = from, context.ReplaceAll(s.Model, []byte("$1 777"))
		l, err := Open(filepath.Join(dir, "longer "+name), &longer, set, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if l.Model.Config.MaxPosition != 777 {
			t.Errorf("a longer context %s: %d tokens", name, l.Model.Config.MaxPosition)
		}
		for _, p := range l.Model.Parameters() {
			if !bytes.Equal(p.Bytes(), want[p.Name].Bytes()) {
				t.Errorf("a longer context %s: %s differs", name, p.Name)
			}
		}
	}
	next.Model = settings(t, "mfa", 3).Model
	_, err = Open(filepath.Join(dir, "three"), &next, set, 1)
	wants(t, err, fault.Mismatch, "--start")
}

// What cannot train leaves nothing behind; a disk that is full leaves the checkpoint before.
func TestTooLittleData(t *testing.T) {
	set := corpus(t, t.TempDir())
	for _, change := range []func(*Settings){func(s *Settings) { s.Batch = 1 << 20 }, func(s *Settings) { s.Seq = 1 << 20 }} {
		dir := filepath.Join(t.TempDir(), "run")
		s := settings(t, "mha", 2)
		change(s)
		_, err := Open(dir, s, set, 1)
		wants(t, err, fault.BadInput, "give more data")
		if _, err := os.Stat(dir); err == nil {
			t.Error("a folder was left behind")
		}
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("a small disk cannot be mounted here: %s", bytes.TrimSpace(out))
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	s := settings(t, "mha", 9)
	r, err := Open(dir, s, corpus(t, t.TempDir()), 1)
	if err != nil {
		t.Fatal(err)
	}
	err = r.Run(context.Background(), 1, 0, func(st *Step) error {
		if st.Step == 2 { // leaves less room than a checkpoint takes
			return os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 1<<20-int(size(t, dir))-16<<10), 0o666)
		}
		return nil
	})
	wants(t, err, fault.BadInput, "checkpoint-00000002", "free some space")
	r.Close()
	if parts, _ := filepath.Glob(filepath.Join(dir, ".*.part")); len(parts) > 0 {
		t.Errorf("left over: %v", parts)
	}
	os.Remove(filepath.Join(dir, "filler"))
	if r, err = Open(dir, s, r.Data, 1); err != nil || r.Done() != 1 {
		t.Fatalf("after the full disk: %v", err)
	}
	r.Close()
}

// size is the bytes of a folder's files, in whole pages as tmpfs keeps them.
func size(t *testing.T, dir string) (n int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if i, err := e.Info(); err == nil {
			n += (i.Size() + 4095) / 4096 * 4096
		}
	}
	return n
}

// Every design meets a budget within 1 % at several sizes, and MFA meets it by heads, not by its MLP.
func TestSizes(t *testing.T) {
	for _, d := range []struct{ hidden, layers, vocab int }{{32, 2, 300}, {64, 2, 400}, {128, 4, 512}, {256, 6, 4096}, {384, 5, 4096}} {
		base, err := Shape{Design: "mha", Vocab: d.vocab, Context: 256, Hidden: d.hidden, Layers: d.layers}.Size()
		if err != nil {
			t.Fatal(err)
		}
		for _, design := range Designs() {
			s, err := Shape{Design: design, Vocab: d.vocab, Context: 256, Hidden: d.hidden, Layers: d.layers}.Size()
			if err != nil {
				t.Errorf("%s: %v", design, err)
				continue
			}
			if off := math.Abs(float64(s.Parameters-base.Parameters)) / float64(base.Parameters); off >= 0.01 {
				t.Errorf("%s", s.Chosen)
			}
			m, err := model.New(s.Config, 1)
			if err != nil {
				t.Fatal(err)
			}
			var n int64
			for _, p := range m.Parameters() {
				n += int64(len(p.Data))
			}
			if n != s.Parameters {
				t.Errorf("%s: %d parameters made, %d planned", design, n, s.Parameters)
			}
			if design == "mfa" && (s.Heads <= d.hidden/64 || s.HeadDim*16 != d.hidden*2) {
				t.Errorf("mfa at %d: %s", d.hidden, s.Chosen)
			}
		}
	}
	_, err := Shape{Design: "mha", Vocab: 4096, Context: 256, Hidden: 256, Layers: 4, Parameters: 100}.Size()
	wants(t, err, fault.BadInput, "needs at least")
	_, err = Shape{Design: "gqa", Vocab: 4096, Context: 256, Hidden: 256, Layers: 4, KVHeads: 3}.Size()
	wants(t, err, fault.BadInput, "--kv-heads", "must divide the 4 heads")
	_, err = Shape{Design: "mha", Vocab: 4096, Context: 256, Hidden: 256, Layers: 4, KVHeads: 2}.Size() // MHA has as many as heads
	wants(t, err, fault.BadInput, "--kv-heads", "no such dimension")
	_, err = Shape{Design: "mfa", Vocab: 4096, Context: 256, Hidden: 256, Layers: 4, KVRank: 64}.Size()
	wants(t, err, fault.BadInput, "--kv-rank", "design mfa has no such dimension")
	_, err = Shape{Design: "rnn", Vocab: 4096, Context: 256, Hidden: 256, Layers: 4}.Size()
	wants(t, err, fault.Unsupported, "designs: ")
}

// kill -9 at any moment leaves a checkpoint that loads. The test runs itself as the process that is killed.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("LOWKEY_TEST_TRAIN"); dir != "" {
		r, err := Open(dir, settings(t, "mfa", 1<<20), corpus(t, dir), 1)
		if err != nil {
			t.Fatal(err)
		}
		t.Fatal(r.Run(context.Background(), 1, 0, quiet))
	}
	dir := t.TempDir()
	best := 0
	for i := range 12 {
		c := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		c.Env = append(os.Environ(), "LOWKEY_TEST_TRAIN="+dir)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); len(checkpoints(dir)) == 0 && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Duration(20+37*i%90) * time.Millisecond)
		c.Process.Kill()
		c.Wait()
		all := checkpoints(dir)
		if len(all) == 0 {
			t.Fatal("no checkpoint")
		}
		for _, path := range all {
			f, err := safetensors.Open(path)
			if err != nil {
				t.Fatalf("after kill %d: %v", i, err)
			}
			f.Close()
		}
		r, err := Open(dir, settings(t, "mfa", 1<<20), corpus(t, dir), 1)
		if err != nil {
			t.Fatalf("after kill %d: %v", i, err)
		}
		if r.Done() < best {
			t.Errorf("after kill %d: at step %d, was at %d", i, r.Done(), best)
		}
		best = r.Done()
		r.Close()
		if parts, _ := filepath.Glob(filepath.Join(dir, ".*.part")); len(parts) > 0 {
			t.Errorf("left over: %v", parts)
		}
	}
	if best == 0 {
		t.Error("no step was kept")
	}
}
