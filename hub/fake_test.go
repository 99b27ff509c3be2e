package hub

// A hub for tests: the listing, the redirect of large files to another host, ranges, tokens, and every way of going wrong that the tests need.

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testRepo = "some-one/Small-GGUF"
	commitA  = "0123456789abcdef0123456789abcdef01234567"
)

// fake serves one repository from two servers, as the hub does: its own host, and a download host for large files.
type fake struct {
	t        *testing.T
	hub, cdn *httptest.Server
	mu       sync.Mutex
	files    map[string][]byte
	large    map[string]bool // which are on the download host
	commit   string
	requests []string // "METHOD host path range" of all
	tokens   []string // Authorization headers that the download host saw

	token       string // if set, the token that the hub asks for
	refuse      func(w http.ResponseWriter, r *http.Request) bool
	cut         []int               // how many bytes each download sends before the connection dies; then none is cut
	wrongRange  bool                // its answers to ranges begin elsewhere
	noRange     bool                // the download host knows no ranges
	change      func([]byte) []byte // what the download host makes of the content
	bare        bool                // the listing names no sizes and hashes
	edit        func(map[string]any)
	silent      chan struct{} // while open, downloads send half and then nothing
	lieAboutEnd bool          // no Content-Length
}

func newFake(t *testing.T, files map[string][]byte) *fake {
	for _, name := range []string{"HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir()) // whatever a test forgets, it does not touch the real one
	f := &fake{t: t, files: files, large: map[string]bool{}, commit: commitA}
	for name := range files {
		f.large[name] = strings.HasSuffix(name, ".gguf") || strings.HasSuffix(name, ".safetensors")
	}
	f.hub = httptest.NewServer(http.HandlerFunc(f.serveHub))
	f.cdn = httptest.NewServer(http.HandlerFunc(f.serveCDN))
	t.Cleanup(f.hub.Close)
	t.Cleanup(f.cdn.Close)
	return f
}

func noise(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func sha256Of(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func gitSHA1(b []byte) string {
	s := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(b)), b...))
	return hex.EncodeToString(s[:])
}

func (f *fake) hash(name string) string {
	if f.large[name] {
		return sha256Of(f.files[name])
	}
	return gitSHA1(f.files[name])
}

func (f *fake) note(r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
}

func (f *fake) serveHub(w http.ResponseWriter, r *http.Request) {
	f.note(r)
	if f.refuse != nil && f.refuse(w, r) {
		return
	}
	if f.token != "" && r.Header.Get("Authorization") != "Bearer "+f.token {
		w.Header().Set("X-Error-Message", "Invalid username or password.")
		http.Error(w, `{"error":"Invalid username or password."}`, http.StatusUnauthorized)
		return
	}
	if revision, ok := strings.CutPrefix(r.URL.EscapedPath(), "/api/models/"+testRepo+"/revision/"); ok {
		if revision, _ = url.PathUnescape(revision); revision != "main" && revision != f.commit && revision != "refs/pr/1" {
			w.Header().Set("X-Error-Code", "RevisionNotFound")
			w.Header().Set("X-Error-Message", "Invalid rev id: "+revision)
			http.Error(w, "", http.StatusNotFound)
			return
		}
		f.list(w)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/"+testRepo+"/resolve/"+f.commit+"/")
	content, exists := f.files[name]
	if !ok || !exists {
		w.Header().Set("X-Error-Code", "EntryNotFound")
		http.Error(w, "Entry not found", http.StatusNotFound)
		return
	}
	w.Header().Set("X-Repo-Commit", f.commit)
	if f.large[name] {
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(content)))
		w.Header().Set("X-Linked-Etag", `"`+f.hash(name)+`"`)
		http.Redirect(w, r, f.cdn.URL+"/store/"+url.PathEscape(name)+"?signature=secret", http.StatusFound)
		return
	}
	w.Header().Set("ETag", `"`+f.hash(name)+`"`)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	if r.Method != http.MethodHead {
		w.Write(content)
	}
}

func (f *fake) list(w http.ResponseWriter) {
	var siblings []any
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		s := map[string]any{"rfilename": name}
		if !f.bare {
			s["size"] = len(f.files[name])
			s["blobId"] = gitSHA1([]byte("pointer " + name))
			if f.large[name] {
				s["lfs"] = map[string]any{"sha256": f.hash(name), "size": len(f.files[name]), "pointerSize": 134}
			} else {
				s["blobId"] = f.hash(name)
			}
		}
		siblings = append(siblings, s)
	}
	listing := map[string]any{"_id": "65", "id": testRepo, "private": false, "gated": false, "sha": f.commit, "siblings": siblings, "tags": []string{"gguf"}}
	if f.edit != nil {
		f.edit(listing)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(w).Encode(listing)
}

func (f *fake) serveCDN(w http.ResponseWriter, r *http.Request) {
	f.note(r)
	f.mu.Lock()
	if a := r.Header.Get("Authorization"); a != "" {
		f.tokens = append(f.tokens, a)
	}
	cut := -1
	if len(f.cut) > 0 {
		cut, f.cut = f.cut[0], f.cut[1:]
	}
	silent := f.silent
	f.mu.Unlock()

	content := f.files[strings.TrimPrefix(r.URL.Path, "/store/")]
	etag := `"` + sha256Of(content)[:16] + `"` // another kind of tag than the hub's, as in real life
	if f.change != nil {
		content = f.change(content)
	}
	w.Header().Set("ETag", etag)
	if cut < 0 && silent == nil && !f.noRange && !f.lieAboutEnd {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(content)))
		return
	}
	status, from := http.StatusOK, 0
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n == 1 && !f.noRange {
		if f.wrongRange {
			from -= 10
		}
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
	} else {
		from = 0
	}
	body := content[from:]
	if !f.lieAboutEnd {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	if f.lieAboutEnd {
		w.(http.Flusher).Flush() // else net/http counts a short body itself
	}
	switch {
	case silent != nil:
		w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		select {
		case <-silent:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case cut >= 0:
		w.Write(body[:min(cut, len(body))])
		panic(http.ErrAbortHandler)
	}
	w.Write(body)
}

// request is a pull from the fake that never really waits.
func (f *fake) request(dir, quant string) Request {
	return Request{Repo: testRepo, Quant: quant, Endpoint: f.hub.URL, Dir: dir, wait: func(ctx context.Context, d time.Duration) error { return ctx.Err() }}
}

// downloads are the requests for contents, with their ranges.
func (f *fake) downloads() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, r := range f.requests {
		if strings.Contains(r, "/store/") {
			all = append(all, r)
		}
	}
	return all
}

func mustPull(t *testing.T, req Request) string {
	t.Helper()
	path, err := Pull(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func sameContent(t *testing.T, path string, want []byte) {
	t.Helper()
	h, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	got, err := io.ReadAll(h)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s holds %d bytes (%s), want %d (%s)", filepath.Base(path), len(got), sha256Of(got)[:8], len(want), sha256Of(want)[:8])
	}
}

// tree lists the files under dir, without the lock files.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasSuffix(name, ".lock") {
			rel, _ := filepath.Rel(dir, name)
			all = append(all, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
