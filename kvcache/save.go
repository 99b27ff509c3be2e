package kvcache

// Saved sessions: one file with a header that says exactly what the rows belong to, the tokens, the rows in canonical order (lane, row, stream, head: not
// the order of pages; those of an open page as they are staged), the recurrent state if layers have one, and a SHA-256 of everything before it. Written beside the target, synced, renamed: a file is whole or absent.

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

const (
	saveMagic   = "LOWKEYKV"
	saveVersion = 1
	maxHeader   = 16 << 20
)

// Header is the JSON head of a saved session.
type Header struct {
	Version     int      `json:"version"`
	Fingerprint string   `json:"fingerprint"` // of the model
	Numerics    string   `json:"numerics"`
	Streams     []string `json:"streams"`         // one line per layer: name heads x width type, window
	Rows        int      `json:"rows"`            // tokens
	First       []int    `json:"first"`           // first row held, by lane
	Given       string   `json:"given,omitempty"` // digest of what rows depend on beside the tokens
	Extra       []byte   `json:"extra,omitempty"` // the caller's own
}

func (s *Store) streams() []string {
	out := make([]string, len(s.lanes))
	for i, ln := range s.lanes {
		for j, st := range s.cfg.Layers[i].Streams {
			out[i] += fmt.Sprintf("%s %dx%d %s;", st.Name, st.Heads, st.Width, ln.types[j])
		}
		if ln.window > 0 {
			out[i] += fmt.Sprintf(" window %d", ln.window)
		}
		if ln.rowTokens > 1 {
			out[i] += fmt.Sprintf(" a row for %d tokens", ln.rowTokens)
		}
		if n := s.cfg.Layers[i].State; n > 0 {
			out[i] += fmt.Sprintf(" state %d", n)
		}
	}
	return out
}

// Save writes the sequence to path, with the caller's own bytes.
func (q *Sequence) Save(path string, extra []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fault.New(fault.BadInput, path, "cannot write the session", "", "choose a folder that exists and can be written").Because(err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(tmp, sum), 1<<16)
	if err = q.write(w, extra); err == nil {
		err = w.Flush()
	}
	if err == nil {
		_, err = tmp.Write(sum.Sum(nil))
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err == nil {
		err = tmp.Close()
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fault.New(fault.BadInput, path, "the session could not be written whole", "", "nothing was left behind; free some space and save again").Because(err)
	}
	return nil
}

func (q *Sequence) write(w *bufio.Writer, extra []byte) error {
	s, p := q.store, q.store.cfg.PageRows
	h := Header{Version: saveVersion, Fingerprint: s.cfg.Fingerprint, Numerics: s.cfg.Numerics, Streams: s.streams(), Rows: q.rows, Given: q.digest, Extra: extra}
	for i := range q.lanes {
		h.First = append(h.First, q.lanes[i].first*p)
	}
	head, err := json.Marshal(h)
	if err == nil && len(head) > maxHeader {
		err = fmt.Errorf("a header of %d bytes", len(head))
	}
	if err != nil {
		return err
	}
	w.WriteString(saveMagic)
	binary.Write(w, binary.LittleEndian, uint32(len(head)))
	w.Write(head)
	w.Write(appendTokens(nil, q.tokens))
	for i := range q.lanes {
		ln, t := &s.lanes[i], &q.lanes[i]
		for row := t.first * p; row < ln.rows(q.rows) && ln.pageBytes > 0; row++ {
			for stream := range ln.planes {
				plane, page := q.saved(i, stream, row, q.rows)
				code := s.code[:kernel.RowBytes(plane.Codec, plane.Width)]
				for h := 0; h < plane.Heads; h++ {
					plane.Code(code, page, row%p, h)
					if _, err := w.Write(code); err != nil {
						return err
					}
				}
			}
		}
	}
	if q.state != noRecord {
		if _, err := w.Write(s.arena.page(q.state, s.states.record)[:s.states.bytes()]); err != nil {
			return err
		}
	}
	return nil
}

// saved is where a row of a sequence of so many tokens lies: in its page, or, where that is open, in the stage.
func (q *Sequence) saved(lane, stream, row, tokens int) (kernel.Plane, []byte) {
	s, ln, t := q.store, &q.store.lanes[lane], &q.lanes[lane]
	p := s.cfg.PageRows
	plane := ln.planes[stream]
	if plane.Codec.Columns() && (row/p+1)*ln.tokens > tokens {
		return plane.Open(), s.arena.page(t.stage, ln.stage)
	}
	return plane, s.arena.page(t.pages[row/p-t.first], ln.pageBytes)
}

// Restore fills an empty sequence from path. A file of another model, cache type or version is refused with the field and both values. notice is not empty when the
// file was made with other numerics: the rows are good to rounding, not to the bit.
func (q *Sequence) Restore(path string) (extra []byte, notice string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", fault.New(fault.BadInput, path, "cannot open the session", "", "name a file that exists and can be read").Because(err)
	}
	defer f.Close()
	size, err := verify(f, path)
	if err != nil {
		return nil, "", err
	}
	r := bufio.NewReaderSize(io.LimitReader(f, size), 1<<16)
	h, err := readHeader(r, size, path)
	if err != nil {
		return nil, "", err
	}
	if err := q.check(h, path); err != nil {
		return nil, "", err
	}
	if h.Numerics != q.store.cfg.Numerics {
		notice = fmt.Sprintf("session was computed with numerics %q, this run uses %q: continuing is exact to rounding only", h.Numerics, q.store.cfg.Numerics)
	}
	tokens := make([]int32, h.Rows)
	if err := binary.Read(r, binary.LittleEndian, tokens); err != nil {
		return nil, "", badSession(path, "tokens are cut off", err)
	}
	for i, id := range tokens {
		if n := q.store.cfg.Vocab; id < 0 || n > 0 && int(id) >= n {
			return nil, "", badSession(path, fmt.Sprintf("token %d has id %d", i, id), nil)
		}
	}
	if err := q.read(r, h, path); err != nil {
		q.Close()
		return nil, "", err
	}
	q.commit(tokens) // what is sealed was saved so
	return h.Extra, notice, nil
}

func badSession(path, what string, err error) error {
	return fault.New(fault.BadFile, path, what, "", "delete the file and start a new session").Because(err)
}

// verify compares the checksum at the file's end with its contents, and leaves the file at its start. It returns the size of the contents.
func verify(f *os.File, path string) (size int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, badSession(path, "not a file", nil)
	}
	size = st.Size() - sha256.Size
	if size < int64(len(saveMagic)+4) {
		return 0, badSession(path, fmt.Sprintf("%d bytes are too few for a session", st.Size()), nil)
	}
	var sum hash.Hash = sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(f, size)); err != nil {
		return 0, badSession(path, "cannot be read", err)
	}
	var want [sha256.Size]byte
	if _, err := io.ReadFull(f, want[:]); err != nil || !bytes.Equal(want[:], sum.Sum(nil)) {
		return 0, badSession(path, "checksum does not match: the file is damaged or no session", err)
	}
	_, err = f.Seek(0, io.SeekStart)
	return size, err
}

// readHeader reads the head of a file whose contents take size bytes.
func readHeader(r io.Reader, size int64, path string) (*Header, error) {
	var lead [len(saveMagic) + 4]byte
	if _, err := io.ReadFull(r, lead[:]); err != nil || string(lead[:len(saveMagic)]) != saveMagic {
		return nil, badSession(path, "not a session file", err)
	}
	n := binary.LittleEndian.Uint32(lead[len(saveMagic):])
	if n > maxHeader || int64(n) > size-int64(len(lead)) {
		return nil, badSession(path, fmt.Sprintf("header of %d bytes", n), nil)
	}
	buf := make([]byte, n)
	h := new(Header)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, badSession(path, "header is cut off", err)
	}
	if err := json.Unmarshal(buf, h); err != nil {
		return nil, badSession(path, "header is not JSON", err)
	}
	return h, nil
}

// shown is a digest as messages have it.
func shown(digest string) string {
	if digest == "" {
		return "none"
	}
	return digest
}

func (q *Sequence) check(h *Header, path string) error {
	s := q.store
	wayOut := "use the model and --kv of that session, or another --session file"
	differ := func(field string, has, want any) error {
		return fault.New(fault.Mismatch, path, fmt.Sprintf("%s is %v in the file", field, has), fmt.Sprintf("this run has %v", want), wayOut)
	}
	switch {
	case h.Version != saveVersion:
		return differ("version", h.Version, saveVersion)
	case h.Fingerprint != s.cfg.Fingerprint:
		return differ("model fingerprint", h.Fingerprint, s.cfg.Fingerprint)
	case h.Given != q.digest:
		wayOut = "use the --memory-bank of that session, or another --session file"
		return differ("what rows depend on beside the tokens (a retrieved memory)", shown(h.Given), shown(q.digest))
	case len(h.Streams) != len(s.lanes) || len(h.First) != len(s.lanes):
		return differ("number of layers", len(h.Streams), len(s.lanes))
	case h.Rows < 0 || h.Rows > s.cfg.MaxRows:
		return fault.New(fault.OverBudget, path, fmt.Sprintf("%d tokens", h.Rows), fmt.Sprintf("--ctx is %d", s.cfg.MaxRows), fmt.Sprintf("use --ctx %d or more", h.Rows))
	}
	for i, want := range s.streams() {
		if h.Streams[i] != want {
			return differ(fmt.Sprintf("cache of layer %d", i), "\""+h.Streams[i]+"\"", "\""+want+"\"")
		}
		held := 0 // where a sequence of these rows starts in this layer
		if ln := &s.lanes[i]; ln.window > 0 && ln.pageBytes > 0 {
			held = max(0, h.Rows+1-ln.window) / s.cfg.PageRows * s.cfg.PageRows
		}
		if first := h.First[i]; first != held {
			return badSession(path, fmt.Sprintf("layer %d starts at row %d of %d, not at %d", i, first, h.Rows, held), nil)
		}
	}
	return nil
}

// read reserves and fills the rows and the state; nothing may follow them.
func (q *Sequence) read(r io.Reader, h *Header, path string) error {
	s, p := q.store, q.store.cfg.PageRows
	for i := range q.lanes {
		q.lanes[i].first = h.First[i] / p
	}
	if err := q.Reserve(h.Rows); err != nil {
		return err
	}
	for i := range q.lanes {
		ln, t := &s.lanes[i], &q.lanes[i]
		for row := t.first * p; row < ln.rows(h.Rows) && ln.pageBytes > 0; row++ {
			for stream := range ln.planes {
				plane, page := q.saved(i, stream, row, h.Rows)
				code := s.code[:kernel.RowBytes(plane.Codec, plane.Width)]
				for head := 0; head < plane.Heads; head++ {
					if _, err := io.ReadFull(r, code); err != nil {
						return badSession(path, "rows are cut off", err)
					}
					plane.PutCode(page, row%p, head, code)
				}
			}
		}
	}
	if h.Rows > 0 && s.states.record > 0 {
		if _, err := io.ReadFull(r, s.arena.page(q.next, s.states.record)[:s.states.bytes()]); err != nil {
			return badSession(path, "the recurrent state is cut off", err)
		}
	}
	if n, _ := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return badSession(path, fmt.Sprintf("more follows after %d rows", h.Rows), nil)
	}
	return nil
}
