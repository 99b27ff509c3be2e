package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lowkeylm/lowkey/fault"
)

func ggufRepo() map[string][]byte {
	return map[string][]byte{
		".gitattributes":        []byte("*.gguf filter=lfs\n"),
		"README.md":             []byte("# a model\n"),
		"Small.Q4_K_M.gguf":     noise(300_000, 1),
		"Small.Q4_K_S.gguf":     noise(200_000, 2),
		"Small.Q8_0.gguf":       noise(500_000, 3),
		"Small-BF16.gguf":       noise(700_000, 4),
		"mmproj-Small-f16.gguf": noise(100, 5),
	}
}

func folderRepo() map[string][]byte {
	return map[string][]byte{
		"README.md":                        []byte("x"),
		"config.json":                      []byte(`{"model_type":"llama"}`),
		"generation_config.json":           []byte(`{}`),
		"tokenizer.json":                   noise(30_000, 6),
		"tokenizer_config.json":            []byte(`{"a":1}`),
		"chat_template.jinja":              []byte("{{ x }}"),
		"model.safetensors.index.json":     []byte(`{"weight_map":{}}`),
		"model-00001-of-00002.safetensors": noise(90_000, 7),
		"model-00002-of-00002.safetensors": noise(80_000, 8),
		"consolidated.safetensors":         noise(170_000, 9),
		"pytorch_model.bin":                noise(1000, 10),
		"onnx/model.safetensors":           noise(1000, 11),
	}
}

func TestPullOneGGUF(t *testing.T) {
	f := newFake(t, ggufRepo())
	dir := t.TempDir()
	req := f.request(dir, "q4_k_m")
	var last Progress
	calls := 0
	req.Progress = func(p Progress) { last = p; calls++ }
	path := mustPull(t, req)

	// The layout is that of the public client, file by file.
	hash := sha256Of(f.files["Small.Q4_K_M.gguf"])
	root := "hub/models--some-one--Small-GGUF/"
	want := []string{root + "blobs/" + hash, root + "refs/main", root + "snapshots/" + commitA + "/Small.Q4_K_M.gguf"}
	if got := tree(t, dir); !slices.Equal(got, want) {
		t.Errorf("cache holds %q, want %q", got, want)
	}
	if want := filepath.Join(dir, "hub", "models--some-one--Small-GGUF", "snapshots", commitA, "Small.Q4_K_M.gguf"); path != want {
		t.Errorf("path %s, want %s", path, want)
	}
	sameContent(t, path, f.files["Small.Q4_K_M.gguf"])
	sameContent(t, filepath.Join(dir, root, "refs", "main"), []byte(commitA))
	if runtime.GOOS != "windows" {
		if to, err := os.Readlink(path); err != nil || to != filepath.Join("..", "..", "blobs", hash) {
			t.Errorf("link to %q (%v)", to, err)
		}
	}
	if last != (Progress{File: "Small.Q4_K_M.gguf", Done: 300_000, Total: 300_000, AllDone: 300_000, AllTotal: 300_000}) || calls < 2 {
		t.Errorf("%d calls, last %+v", calls, last)
	}

	// A second pull fetches nothing.
	before := len(f.downloads())
	if again := mustPull(t, req); again != path {
		t.Errorf("second path %s", again)
	}
	if got := f.downloads()[before:]; len(got) != 0 {
		t.Errorf("second pull fetched %q", got)
	}
}

func TestPullFolder(t *testing.T) {
	f := newFake(t, folderRepo())
	dir := t.TempDir()
	req := f.request(dir, "")
	var all int64
	req.Progress = func(p Progress) {
		if p.AllDone < all {
			t.Errorf("progress went back from %d to %d", all, p.AllDone)
		}
		all = p.AllDone
	}
	path := mustPull(t, req)
	want := []string{"chat_template.jinja", "config.json", "generation_config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
		"model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"}
	if got := tree(t, path); !slices.Equal(got, want) {
		t.Errorf("snapshot holds %q, want %q", got, want)
	}
	var sum int64
	for _, name := range want {
		sameContent(t, filepath.Join(path, name), f.files[name])
		sum += int64(len(f.files[name]))
	}
	if all != sum {
		t.Errorf("progress ended at %d of %d", all, sum)
	}
	// A file that is not large is named by git's hash of it.
	if _, err := os.Stat(filepath.Join(dir, "hub", "models--some-one--Small-GGUF", "blobs", gitSHA1(f.files["config.json"]))); err != nil {
		t.Error(err)
	}
}

func TestSplitGGUF(t *testing.T) {
	files := map[string][]byte{}
	for i := range 3 {
		files[fmt.Sprintf("Q8_0/Big-Q8_0-%05d-of-00003.gguf", i+1)] = noise(1000+i, uint64(i))
		files[fmt.Sprintf("Q6_K/Big-Q6_K-%05d-of-00004.gguf", i+1)] = noise(1000+i, uint64(i+9))
	}
	f := newFake(t, files)
	path := mustPull(t, f.request(t.TempDir(), "Q8_0"))
	if filepath.Base(path) != "Big-Q8_0-00001-of-00003.gguf" {
		t.Errorf("path %s", path)
	}
	for i := range 3 {
		name := fmt.Sprintf("Big-Q8_0-%05d-of-00003.gguf", i+1)
		sameContent(t, filepath.Join(filepath.Dir(path), name), files["Q8_0/"+name])
	}
	_, err := Pull(context.Background(), f.request(t.TempDir(), "Q6_K"))
	wantFault(t, err, fault.BadFile, "part 4 of 4 is missing")
}

func TestResumeAfterCuts(t *testing.T) {
	f := newFake(t, ggufRepo())
	f.cut = []int{100_000, 50_000}
	path := mustPull(t, f.request(t.TempDir(), "Q8_0"))
	sameContent(t, path, f.files["Small.Q8_0.gguf"])
	got := f.downloads()
	if len(got) != 3 || strings.Contains(got[0], "bytes=") || !strings.HasSuffix(got[1], " bytes=100000-") || !strings.HasSuffix(got[2], " bytes=150000-") {
		t.Errorf("requests %q", got)
	}
}

func TestResumeInTheNextPull(t *testing.T) {
	f := newFake(t, ggufRepo())
	f.silent = make(chan struct{})
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	req := f.request(dir, "Q8_0")
	req.Progress = func(p Progress) {
		if p.Done >= 250_000 {
			cancel()
		}
	}
	_, err := Pull(ctx, req)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want a cancelled context", err)
	}
	blobs := filepath.Join(dir, "hub", "models--some-one--Small-GGUF", "blobs")
	part := filepath.Join(blobs, sha256Of(f.files["Small.Q8_0.gguf"])+".incomplete")
	sameContent(t, part, f.files["Small.Q8_0.gguf"][:250_000])

	close(f.silent)
	f.silent = nil
	sameContent(t, mustPull(t, f.request(dir, "Q8_0")), f.files["Small.Q8_0.gguf"])
	if got := f.downloads(); !strings.HasSuffix(got[len(got)-1], " bytes=250000-") {
		t.Errorf("last request %q", got[len(got)-1])
	}
	if _, err := os.Stat(part); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there (%v)", filepath.Base(part), err)
	}
}

func TestServerWithoutRanges(t *testing.T) {
	f := newFake(t, ggufRepo())
	f.noRange = true
	f.cut = []int{100_000}
	sameContent(t, mustPull(t, f.request(t.TempDir(), "Q8_0")), f.files["Small.Q8_0.gguf"])
}

// A server that answers with another range than the one asked for is not believed, though its bytes would fit.
func TestWrongRange(t *testing.T) {
	f := newFake(t, ggufRepo())
	f.cut = []int{100_000, 500_000}
	f.wrongRange = true
	sameContent(t, mustPull(t, f.request(t.TempDir(), "Q8_0")), f.files["Small.Q8_0.gguf"])
	if got := f.downloads(); len(got) != 3 || !strings.HasSuffix(got[1], " bytes=100000-") || strings.Contains(got[2], "bytes=") {
		t.Errorf("requests %q", got)
	}
}

// A part left by something else is wrong: it is found by the hash and fetched anew, once.
func TestWrongPartIsFetchedAnew(t *testing.T) {
	for _, left := range []int{1, 400_000, 500_000, 600_000} { // shorter, whole, and longer than the file
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			f := newFake(t, ggufRepo())
			dir := t.TempDir()
			blobs := filepath.Join(dir, "hub", "models--some-one--Small-GGUF", "blobs")
			if err := os.MkdirAll(blobs, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(blobs, sha256Of(f.files["Small.Q8_0.gguf"])+".incomplete"), noise(left, 77), 0o644); err != nil {
				t.Fatal(err)
			}
			sameContent(t, mustPull(t, f.request(dir, "Q8_0")), f.files["Small.Q8_0.gguf"])
		})
	}
}

func TestDamagedBytes(t *testing.T) {
	f := newFake(t, ggufRepo())
	f.change = func(b []byte) []byte { b = slices.Clone(b); b[1234] ^= 1; return b }
	dir := t.TempDir()
	for _, cut := range [][]int{nil, {1000}} { // in one piece, and in two
		f.cut = cut
		_, err := Pull(context.Background(), f.request(dir, "Q8_0"))
		wantFault(t, err, fault.BadFile, "its hash is ", "the hub names "+sha256Of(f.files["Small.Q8_0.gguf"]), "pull again")
		if got := tree(t, dir); len(got) != 0 {
			t.Errorf("damaged bytes left %q", got)
		}
	}
	// Small files are checked too.
	g := newFake(t, folderRepo())
	g.edit = func(listing map[string]any) {
		for _, s := range listing["siblings"].([]any) {
			if s := s.(map[string]any); s["rfilename"] == "config.json" {
				s["blobId"] = commitA
			}
		}
	}
	_, err := Pull(context.Background(), g.request(t.TempDir(), ""))
	wantFault(t, err, fault.BadFile, "config.json", "its hash is "+gitSHA1(g.files["config.json"]), "the hub names "+commitA)
}

func TestWrongSize(t *testing.T) {
	f := newFake(t, ggufRepo())
	dir := t.TempDir()
	f.change = func(b []byte) []byte { return append(slices.Clone(b), 'x') }
	_, err := Pull(context.Background(), f.request(dir, "Q8_0"))
	wantFault(t, err, fault.BadFile, "the server sends 500001 bytes", "the hub names 500000 bytes")
	f.lieAboutEnd = true // now only the bytes themselves tell
	_, err = Pull(context.Background(), f.request(dir, "Q8_0"))
	wantFault(t, err, fault.BadFile, "the server sends more than 500000 bytes")
	f.change = func(b []byte) []byte { return b[:1000] }
	_, err = Pull(context.Background(), f.request(dir, "Q8_0"))
	wantFault(t, err, fault.BadInput, "the connection ended at 1 kB of 500 kB")
	for _, name := range tree(t, dir) {
		if !strings.HasSuffix(name, ".incomplete") {
			t.Errorf("left %s", name)
		}
	}
}

func TestListingThatIsNone(t *testing.T) {
	f := newFake(t, nil)
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		fmt.Fprint(w, "<html>log in to the hotel's network</html>")
		return true
	}
	_, err := Pull(context.Background(), f.request(t.TempDir(), ""))
	wantFault(t, err, fault.BadFile, "not the JSON of a hub", "check HF_ENDPOINT")
}

// A mirror that lists names alone still serves: sizes and hashes come from headers, and are checked.
func TestMirrorWithoutHashes(t *testing.T) {
	f := newFake(t, folderRepo())
	f.bare = true
	path := mustPull(t, f.request(t.TempDir(), ""))
	sameContent(t, filepath.Join(path, "config.json"), f.files["config.json"])
	sameContent(t, filepath.Join(path, "model-00002-of-00002.safetensors"), f.files["model-00002-of-00002.safetensors"])
	f.change = func(b []byte) []byte { b = slices.Clone(b); b[0]++; return b }
	_, err := Pull(context.Background(), f.request(t.TempDir(), ""))
	wantFault(t, err, fault.BadFile, "its hash is ")
}

func TestTokenStaysAtTheHub(t *testing.T) {
	f := newFake(t, ggufRepo())
	f.token = "hf_right"
	req := f.request(t.TempDir(), "Q4_K_S")
	req.Token = "hf_right"
	mustPull(t, req)
	if len(f.downloads()) == 0 || len(f.tokens) != 0 {
		t.Errorf("the download host saw %q in %d requests", f.tokens, len(f.downloads()))
	}

	// From the environment, and from the file that the public client's login writes.
	t.Setenv("HF_TOKEN", "hf_right\n")
	mustPull(t, f.request(t.TempDir(), "Q4_K_S"))
	t.Setenv("HF_TOKEN", "")
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "token"), []byte("hf_right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustPull(t, f.request(home, "Q4_K_S"))
	t.Setenv("HF_HOME", home)
	t.Setenv("HF_ENDPOINT", f.hub.URL+"/")
	path := mustPull(t, Request{Repo: testRepo, Quant: "Q4_K_S"})
	if !strings.HasPrefix(path, home) {
		t.Errorf("HF_HOME is not heeded: %s", path)
	}
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	if path := mustPull(t, Request{Repo: testRepo, Quant: "Q4_K_S"}); !strings.HasPrefix(path, filepath.Join(cache, "models--")) {
		t.Errorf("HF_HUB_CACHE is not heeded: %s", path)
	}

	req.Token = "hf_secret\x00"
	_, err := Pull(context.Background(), req)
	wantFault(t, err, fault.BadInput, "characters that a token never has")
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the message shows the token: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	refuse := func(status int, code, message string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("X-Error-Code", code)
			w.Header().Set("X-Error-Message", message)
			w.WriteHeader(status)
			return true
		}
	}
	cases := []struct {
		status        int
		code, message string
		token         string
		want          []string
		revision      string
	}{
		{401, "", "Invalid username or password.", "", []string{"answers 401 (Invalid username or password.)", "no such repository, or a private one", "HF_TOKEN"}, ""},
		{401, "", "Invalid credentials in Authorization header", "hf_secret", []string{"answers 401", "the given token is not accepted"}, ""},
		{401, "GatedRepo", "Access to model x is restricted.", "", []string{"the model is gated", "accept its terms at"}, ""},
		{403, "GatedRepo", "Your request to access model x is awaiting a review", "hf_secret", []string{"awaiting a review", "accept the model's terms"}, ""},
		{403, "", "", "hf_secret", []string{"answers 403 (Forbidden)", "a token that may read it"}, ""},
		{404, "RepoNotFound", "Repository not found", "hf_secret", []string{"answers 404 (Repository not found)", "check the name"}, ""},
		{404, "RevisionNotFound", "Invalid rev id: v9", "", []string{"no branch, tag or commit v9", "leave the revision out"}, "v9"},
		{400, "", "odd\u009b31mthing", "", []string{"answers 400 (odd?31mthing)", "check HF_ENDPOINT"}, ""},
	}
	for _, c := range cases {
		f := newFake(t, ggufRepo())
		f.refuse = refuse(c.status, c.code, c.message)
		req := f.request(t.TempDir(), "Q8_0")
		req.Token, req.Revision = c.token, c.revision
		_, err := Pull(context.Background(), req)
		wantFault(t, err, fault.BadInput, c.want...)
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("message %q", err)
		}
		if len(f.requests) != 1 {
			t.Errorf("a refusal was asked %d times", len(f.requests))
		}
	}
	for _, endpoint := range []string{"huggingface.co", "ftp://x", "http://", ":"} {
		req := Request{Repo: testRepo, Endpoint: endpoint, Dir: t.TempDir()}
		_, err := Pull(context.Background(), req)
		wantFault(t, err, fault.BadInput, "it begins with https://")
	}
}

func TestTriesAgain(t *testing.T) {
	f := newFake(t, ggufRepo())
	left := 2
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if left--; left < 0 {
			return false
		}
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	req := f.request(t.TempDir(), "Q8_0")
	var waits []time.Duration
	req.wait = func(ctx context.Context, d time.Duration) error { waits = append(waits, d); return nil }
	sameContent(t, mustPull(t, req), f.files["Small.Q8_0.gguf"])
	if want := []time.Duration{7 * time.Second, 7 * time.Second}; !slices.Equal(waits, want) {
		t.Errorf("waited %v, want %v", waits, want)
	}

	// Doubling pauses, and an end to them: no new byte in any try.
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/resolve/") {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}
	req.Quant, waits = "Q4_K_S", nil
	_, err := Pull(context.Background(), req)
	wantFault(t, err, fault.BadInput, "answers 502 (Bad Gateway)", "pull again: it goes on")
	if want := []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9}; !slices.Equal(waits, want) {
		t.Errorf("waited %v, want %v", waits, want)
	}
}

func TestDeadConnection(t *testing.T) {
	f := newFake(t, ggufRepo())
	f.silent = make(chan struct{})
	req := f.request(t.TempDir(), "Q8_0")
	req.stall = 50 * time.Millisecond
	var notes []string
	req.Progress = func(p Progress) {
		if p.Note != "" {
			notes = append(notes, p.Note)
			f.mu.Lock()
			f.silent = nil
			f.mu.Unlock()
		}
	}
	sameContent(t, mustPull(t, req), f.files["Small.Q8_0.gguf"])
	if len(notes) != 1 || !strings.Contains(notes[0], "no byte came for 50ms") {
		t.Errorf("notes %q", notes)
	}
}

func TestOffline(t *testing.T) {
	f := newFake(t, ggufRepo())
	dir := t.TempDir()
	req := f.request(dir, "Q8_0")
	path := mustPull(t, req)
	sent := len(f.requests)
	req.Offline = true
	if got := mustPull(t, req); got != path {
		t.Errorf("offline path %s, want %s", got, path)
	}
	if len(f.requests) != sent {
		t.Errorf("offline, yet asked %q", f.requests[sent:])
	}
	req.Quant = "Q4_K_M"
	_, err := Pull(context.Background(), req)
	wantFault(t, err, fault.BadInput, "the copy in the cache does not serve", "there are Q8_0 (500 kB)", "without HF_HUB_OFFLINE")

	// The hub is gone: the copy answers, with a note; without one the error names the host.
	f.hub.Close()
	req = f.request(dir, "Q8_0")
	var notes []string
	req.Progress = func(p Progress) {
		if p.Note != "" {
			notes = append(notes, p.Note)
		}
	}
	if got := mustPull(t, req); got != path {
		t.Errorf("path %s without a hub, want %s", got, path)
	}
	if len(notes) == 0 || !strings.Contains(notes[len(notes)-1], "using the copy in the cache, commit "+commitA[:12]) {
		t.Errorf("notes %q", notes)
	}
	_, err = Pull(context.Background(), f.request(t.TempDir(), "Q8_0"))
	wantFault(t, err, fault.BadInput, "cannot reach "+strings.TrimPrefix(f.hub.URL, "http://"), "holds no copy of revision main", "HF_ENDPOINT")

	t.Setenv("HF_HUB_OFFLINE", "1")
	_, err = Pull(context.Background(), f.request(t.TempDir(), "Q8_0"))
	wantFault(t, err, fault.BadInput, "holds no copy of revision main", "without HF_HUB_OFFLINE")
}

func TestNoRoom(t *testing.T) {
	f := newFake(t, ggufRepo())
	dir := t.TempDir()
	req := f.request(dir, "Q8_0")
	req.free = func(string) (int64, error) { return 499_999, nil }
	_, err := Pull(context.Background(), req)
	wantFault(t, err, fault.OverBudget, "500 kB still to fetch", "set HF_HOME")
	if len(f.downloads()) != 0 || len(tree(t, dir)) != 0 {
		t.Errorf("fetched %q, left %q", f.downloads(), tree(t, dir))
	}
	req.free = func(string) (int64, error) { return 500_000, nil }
	mustPull(t, req)
	if n, err := freeBytes(dir); err != nil && !errors.Is(err, errors.ErrUnsupported) || err == nil && n <= 0 {
		t.Errorf("free bytes %d, %v", n, err)
	}
}

func TestNewCommitSharesBlobs(t *testing.T) {
	f := newFake(t, folderRepo())
	dir := t.TempDir()
	first := mustPull(t, f.request(dir, ""))
	fetched := len(f.downloads())
	f.commit = strings.Repeat("ab", 20)
	f.files["config.json"] = []byte(`{"model_type":"llama","new":true}`)
	second := mustPull(t, f.request(dir, ""))
	if first == second || len(f.downloads()) != fetched {
		t.Errorf("paths %s and %s, fetched %q", first, second, f.downloads()[fetched:])
	}
	sameContent(t, filepath.Join(first, "config.json"), []byte(`{"model_type":"llama"}`))
	sameContent(t, filepath.Join(second, "config.json"), f.files["config.json"])
	req := f.request(dir, "")
	req.Revision = "refs/pr/1"
	mustPull(t, req)
	sameContent(t, filepath.Join(dir, "hub", "models--some-one--Small-GGUF", "refs", "refs", "pr", "1"), []byte(f.commit))
}

func TestTwoPullsAtOnce(t *testing.T) {
	f := newFake(t, ggufRepo())
	dir := t.TempDir()
	errs := make(chan error)
	for range 4 {
		go func() {
			_, err := Pull(context.Background(), f.request(dir, "Q8_0"))
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := f.downloads(); len(got) != 1 && (runtime.GOOS == "linux" || runtime.GOOS == "darwin" || runtime.GOOS == "windows") {
		t.Errorf("fetched %d times", len(got))
	}
}

// wantFault checks that err is a fault of this kind, on one line, with these texts in it.
func wantFault(t *testing.T, err error, kind fault.Kind, texts ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("error %v, want a fault of kind %v", err, kind)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q, want %q in it", err, text)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error of several lines: %q", err)
	}
	if testing.Verbose() {
		t.Log(err)
	}
}
