// Package hub downloads models from the Hugging Face hub, or a server with the same interface, into the cache folder that its public client uses too, so that
// both share what either has fetched (https://huggingface.co/docs/hub/local-cache).
//
// It fetches either the GGUF file of one quantisation or a folder of safetensors with its configuration and tokenizer; every byte is checked against the
// hash that the hub names. It will not upload, log in, run code from a repository, or open what it fetched.
package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lowkeylm/lowkey/fault"
)

// Request says what to pull and how. Only Repo is needed; the other fields have the defaults of the public client.
type Request struct {
	Repo     string // OWNER/NAME
	Quant    string // which GGUF file: a quantisation as in Q4_K_M, or a file's whole name. Empty: safetensors if there are any, else the only GGUF, else Q4_K_M
	Revision string // branch, tag or commit; default main
	Endpoint string // default $HF_ENDPOINT, else https://huggingface.co
	Token    string // default $HF_TOKEN, else the file $HF_TOKEN_PATH or HOME-OF-HF/token; sent to the endpoint's host only
	Dir      string // the HF_HOME folder; its subfolder hub is the cache. Default $HF_HUB_CACHE as the cache itself, else $HF_HOME, else ~/.cache/huggingface
	Offline  bool   // answer from the cache alone; $HF_HUB_OFFLINE=1 does the same

	// Progress, if not nil, is called from the goroutine of Pull: after every piece that arrives, and with a Note when there is something to tell.
	Progress func(Progress)

	wait  func(context.Context, time.Duration) error // tests replace the pauses between tries
	free  func(dir string) (int64, error)            // tests replace the size of the disk
	stall time.Duration                              // tests shorten the time without a byte after which a connection counts as dead
}

// Progress is where a download stands, in bytes. What was on disk already counts as done.
type Progress struct {
	File              string // path in the repository
	Done, Total       int64  // of this file
	AllDone, AllTotal int64  // of all files of this pull
	Note              string // a line for a person (a retry, a wait, an answer from the cache), mostly empty
}

// Parse splits OWNER/NAME[:QUANT], the form that people type.
func Parse(name string) (repo, quant string, err error) {
	repo, quant, colon := strings.Cut(name, ":")
	if err := checkRepo(repo); err != nil {
		return "", "", err
	}
	if colon && quant == "" {
		return "", "", fault.New(fault.BadInput, name, "nothing after the colon", "", "write OWNER/NAME:Q4_K_M, or OWNER/NAME alone")
	}
	return repo, quant, nil
}

// Pull makes sure that the model is in the cache and returns its path there: a .gguf file (the first one, if it is split), or a folder with config.json and
// safetensors. What is present is not fetched again; what an earlier pull left unfinished is continued. If the hub cannot be reached, a complete copy in
// the cache answers. Errors that a person can act on are *fault.Error; a cancelled context keeps the unfinished file for the next pull.
func Pull(ctx context.Context, req Request) (string, error) {
	p, err := newPuller(req)
	if err != nil {
		return "", err
	}
	if p.offline {
		return p.cached(nil)
	}
	commit, files, err := p.list(ctx)
	if ctx.Err() != nil {
		return "", fmt.Errorf("pull %s: %w", p.repo, ctx.Err())
	}
	var away *unreachable
	if errors.As(err, &away) {
		return p.cached(away)
	}
	if err != nil {
		return "", err
	}
	chosen, err := choose(p.repo, files, p.quant)
	if err != nil {
		return "", err
	}
	if err := p.complete(ctx, commit, chosen.files); err != nil {
		return "", err
	}
	if err := p.download(ctx, commit, chosen.files); err != nil {
		return "", err
	}
	for _, f := range chosen.files {
		if err := p.store.link(commit, f); err != nil {
			return "", err
		}
	}
	if err := p.store.setRef(p.revision, commit); err != nil {
		return "", err
	}
	return p.store.path(commit, chosen.main), nil
}

// puller is one Pull with its defaults filled in.
type puller struct {
	repo, quant, revision string
	endpoint              string // no slash at the end
	token, tokenFrom      string
	offline               bool
	progress              func(Progress)
	store                 store
	web                   *web
	wait                  func(context.Context, time.Duration) error
	free                  func(dir string) (int64, error)
	stall                 time.Duration
	allDone, allTotal     int64
}

func newPuller(req Request) (*puller, error) {
	p := &puller{repo: req.Repo, quant: req.Quant, revision: req.Revision, progress: req.Progress, wait: req.wait, free: req.free, stall: req.stall}
	if err := checkRepo(p.repo); err != nil {
		return nil, err
	}
	if p.revision == "" {
		p.revision = "main"
	}
	if err := checkRevision(p.revision); err != nil {
		return nil, err
	}
	if p.progress == nil {
		p.progress = func(Progress) {}
	}
	if p.wait == nil {
		p.wait = pause
	}
	if p.free == nil {
		p.free = freeBytes
	}
	if p.stall == 0 {
		p.stall = stall
	}
	switch strings.ToLower(os.Getenv("HF_HUB_OFFLINE")) {
	case "1", "true", "yes", "on":
		p.offline = true
	}
	p.offline = p.offline || req.Offline

	home, cache, err := folders(req.Dir)
	if err != nil {
		return nil, err
	}
	p.store = newStore(cache, p.repo)
	p.endpoint = firstOf(req.Endpoint, os.Getenv("HF_ENDPOINT"), "https://huggingface.co")
	p.token, p.tokenFrom = findToken(req.Token, home)
	p.web, err = newWeb(p.endpoint, p.token)
	if err != nil {
		return nil, err
	}
	p.endpoint = strings.TrimRight(p.endpoint, "/")
	return p, nil
}

// cached answers from the cache alone; why is the reason for not asking the hub, or nil when that was wanted.
func (p *puller) cached(why *unreachable) (string, error) {
	fail := func(value string, cause error) (string, error) {
		wayOut := "pull once with a network (and without HF_HUB_OFFLINE)"
		if why != nil {
			value = why.Error() + ", and " + value
			wayOut = "check the network, HF_ENDPOINT (" + p.endpoint + ") and HTTPS_PROXY"
		}
		return "", &fault.Error{Kind: fault.BadInput, Thing: p.repo, Value: value, WayOut: wayOut, Err: cause}
	}
	commit, files, err := p.store.snapshot(p.revision)
	if err != nil {
		return fail("the cache "+p.store.cache+" holds no copy of revision "+p.revision, nil)
	}
	chosen, err := choose(p.repo, files, p.quant)
	if err != nil {
		return fail("the copy in the cache does not serve", err)
	}
	note := "offline: using the copy in the cache, commit " + commit[:12]
	if why != nil {
		note = why.Error() + ": using the copy in the cache, commit " + commit[:12]
	}
	p.progress(Progress{Note: note})
	return p.store.path(commit, chosen.main), nil
}

// folders finds the home of the public client's files and its cache.
func folders(dir string) (home, cache string, err error) {
	if dir != "" {
		return dir, filepath.Join(dir, "hub"), nil
	}
	if home = os.Getenv("HF_HOME"); home == "" {
		base := os.Getenv("XDG_CACHE_HOME")
		if base == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				return "", "", &fault.Error{Kind: fault.BadInput, Thing: "cache folder", Value: "this user has no home folder", WayOut: "set HF_HOME to a folder for downloads", Err: err}
			}
			base = filepath.Join(user, ".cache")
		}
		home = filepath.Join(base, "huggingface")
	}
	return home, firstOf(os.Getenv("HF_HUB_CACHE"), filepath.Join(home, "hub")), nil
}

// findToken returns the token, or "", and where it came from, for messages.
func findToken(given, home string) (token, from string) {
	if given != "" {
		return strings.TrimSpace(given), "the given token"
	}
	if t := strings.TrimSpace(os.Getenv("HF_TOKEN")); t != "" {
		return t, "HF_TOKEN"
	}
	file := firstOf(os.Getenv("HF_TOKEN_PATH"), filepath.Join(home, "token"))
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() || info.Size() > 64<<10 {
		return "", ""
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", ""
	}
	return strings.TrimSpace(string(data)), file
}

// checkRepo holds OWNER/NAME to the hub's own rules for names, which also make it safe as part of a path.
func checkRepo(repo string) error {
	bad := func(value string) error {
		return fault.New(fault.BadInput, fmt.Sprintf("repository %.120q", repo), value, "", "write OWNER/NAME, as in bartowski/SmolLM2-135M-Instruct-GGUF")
	}
	owner, name, slash := strings.Cut(repo, "/")
	if !slash {
		return bad("no slash")
	}
	for _, part := range []string{owner, name} {
		if part == "" || len(part) > 96 {
			return bad("each part has 1 to 96 characters")
		}
		for _, c := range part {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
				return bad(fmt.Sprintf("character %q", c))
			}
		}
		if strings.ContainsAny(part[:1]+part[len(part)-1:], "-.") || strings.Contains(part, "..") || strings.Contains(part, "--") {
			return bad("no part begins or ends with - or . or has -- or .. in it")
		}
	}
	return nil
}

func checkRevision(revision string) error {
	ok := len(revision) <= 255 && safeName(revision) && !strings.ContainsAny(revision, " ~^:?*[")
	if !ok {
		return fault.New(fault.BadInput, fmt.Sprintf("revision %.120q", revision), "not a branch, tag or commit", "", "leave it out for main")
	}
	return nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
