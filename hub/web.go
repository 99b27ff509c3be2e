package hub

// This file speaks the hub's HTTP interface: the listing of a repository, what its refusals mean, and retries. It will not write files.

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/lowkeylm/lowkey/fault"
)

const (
	maxListing = 64 << 20         // bytes of a listing; the largest repositories have some 10 MB
	listTries  = 3                // a listing can be answered from the cache instead, so it gives up early
	fileTries  = 6                // in a row without a new byte
	longest    = time.Minute      // between two tries
	stall      = 60 * time.Second // without a byte before a connection counts as dead
)

// web sends requests, with the token to the endpoint's own host alone.
type web struct {
	base   *url.URL
	token  string
	client *http.Client
}

func newWeb(endpoint, token string) (*web, error) {
	base, err := url.Parse(endpoint)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fault.New(fault.BadInput, "hub address", strconv.Quote(printable(endpoint)), "it begins with https:// or http://", "set HF_ENDPOINT to an address such as https://huggingface.co, or unset it")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fault.New(fault.BadInput, "hub token", "it has spaces or other characters that a token never has", "", "copy it again into HF_TOKEN")
	}
	w := &web{base: base, token: token}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = stall
	w.client = &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("10 redirects in a row")
		}
		if base.Scheme == "https" && req.URL.Scheme != "https" {
			return errors.New("a redirect to plain http was refused")
		}
		if !w.own(req.URL) { // net/http would still send it to subdomains
			req.Header.Del("Authorization")
		}
		return nil
	}}
	return w, nil
}

// own reports whether a URL is on the endpoint's own host.
func (w *web) own(u *url.URL) bool {
	return u.Scheme == w.base.Scheme && strings.EqualFold(u.Host, w.base.Host)
}

func (w *web) do(ctx context.Context, client *http.Client, method, address string, headers map[string]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "lowkey (https://github.com/lowkeylm/lowkey)")
	req.Header.Set("Accept-Encoding", "identity") // sizes and ranges are those of the file itself
	if w.token != "" && w.own(req.URL) {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, w.network(err)
	}
	return resp, nil
}

// temporary is an error that another try may cure.
type temporary struct {
	err   error
	after time.Duration // what the server asked to wait, or 0
}

func (t *temporary) Error() string { return t.err.Error() }
func (t *temporary) Unwrap() error { return t.err }

// unreachable means that no answer of use came from the hub at all.
type unreachable struct{ err error }

func (u *unreachable) Error() string { return u.err.Error() }
func (u *unreachable) Unwrap() error { return u.err }

// network sorts an error of the HTTP client, and takes out the URL: on a download host it holds a signature.
func (w *web) network(err error) error {
	host := w.base.Host
	var in *url.Error
	if errors.As(err, &in) {
		if u, e := url.Parse(in.URL); e == nil && u.Host != "" {
			host = u.Host
		}
		err = in.Err
	}
	err = fmt.Errorf("cannot reach %s: %w", host, err)
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	if (errors.As(err, &dns) && dns.IsNotFound) || errors.As(err, &certificate) {
		return &unreachable{err}
	}
	return &temporary{err: err}
}

// retry calls f until it succeeds, fails for good, or fails `tries` times in a row while high() does not rise.
func (p *puller) retry(ctx context.Context, name string, tries int, high func() int64, f func() error) error {
	best := high()
	for failed := 0; ; {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("pull %s: %w; what has arrived is kept, and the next pull goes on from there", p.repo, ctx.Err())
		}
		var t *temporary
		if !errors.As(err, &t) {
			return err
		}
		if now := high(); now > best {
			best, failed = now, 0
		}
		if failed++; failed >= tries {
			return &unreachable{t.err}
		}
		delay := min(max(time.Second<<(failed-1), t.after), longest)
		p.progress(Progress{File: name, Note: fmt.Sprintf("%s: %v; trying again in %v", printable(name), t.err, delay)})
		if p.wait(ctx, delay) != nil && ctx.Err() != nil {
			return fmt.Errorf("pull %s: %w; what has arrived is kept, and the next pull goes on from there", p.repo, ctx.Err())
		}
	}
}

// list asks for the commit that the revision means, and its files with sizes and hashes.
func (p *puller) list(ctx context.Context) (commit string, files []file, err error) {
	address := p.endpoint + "/api/models/" + p.repo + "/revision/" + url.PathEscape(p.revision) + "?blobs=true"
	err = p.retry(ctx, p.repo, listTries, func() int64 { return 0 }, func() error {
		resp, err := p.web.do(ctx, p.web.client, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return p.refusal(resp, "")
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxListing+1))
		if err != nil {
			return &temporary{err: fmt.Errorf("listing cut: %w", err)}
		}
		commit, files, err = parseListing(p.repo, data)
		return err
	})
	return commit, files, err
}

// parseListing reads the answer of GET /api/models/OWNER/NAME/revision/REVISION?blobs=true. It is data from the network: every name and hash that it lets
// through is safe as a path.
func parseListing(repo string, data []byte) (commit string, files []file, err error) {
	bad := func(value, limit string) (string, []file, error) {
		return "", nil, fault.New(fault.BadFile, "listing of "+repo, value, limit, "check HF_ENDPOINT: is it a hub?")
	}
	if len(data) > maxListing {
		return bad("longer than "+bytesText(maxListing), "")
	}
	var listing struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name   string `json:"rfilename"`
			Size   *int64 `json:"size"`
			BlobID string `json:"blobId"`
			LFS    *struct {
				SHA256 string `json:"sha256"`
				OID    string `json:"oid"`
				Size   *int64 `json:"size"`
			} `json:"lfs"`
		} `json:"siblings"`
	}
	if err := json.Unmarshal(data, &listing); err != nil {
		return bad("not the JSON of a hub ("+printable(err.Error())+")", "")
	}
	if !commitName.MatchString(listing.SHA) {
		return bad(fmt.Sprintf("commit %.60q", listing.SHA), "a commit has 40 hexadecimal digits")
	}
	seen := map[string]bool{}
	for _, s := range listing.Siblings {
		if !safeName(s.Name) {
			return bad(fmt.Sprintf("file name %.200q", s.Name), "a name stays inside the repository")
		}
		if seen[s.Name] {
			return bad(fmt.Sprintf("file name %.200q twice", s.Name), "")
		}
		seen[s.Name] = true
		f := file{name: s.Name, size: -1, hash: s.BlobID}
		if s.Size != nil {
			f.size = *s.Size
		}
		if s.LFS != nil {
			f.hash = firstOf(s.LFS.SHA256, strings.TrimPrefix(s.LFS.OID, "sha256:"))
			if s.LFS.Size != nil {
				f.size = *s.LFS.Size
			}
		}
		if f.size < -1 || (f.hash != "" && !hashName.MatchString(f.hash)) {
			return bad(fmt.Sprintf("%s: size %d, hash %.80q", printable(f.name), f.size, f.hash), "a hash is SHA-1 or SHA-256 in hexadecimal digits")
		}
		files = append(files, f)
	}
	return listing.SHA, files, nil
}

var hashName = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// complete asks for the size and hash of the files whose listing lacks them (mirrors often leave them out).
func (p *puller) complete(ctx context.Context, commit string, files []file) error {
	for i := range files {
		f := &files[i]
		if f.size >= 0 && f.hash != "" {
			continue
		}
		err := p.retry(ctx, f.name, fileTries, func() int64 { return 0 }, func() error { return p.head(ctx, commit, f) })
		if err != nil {
			return p.lost(f.name, err)
		}
	}
	return nil
}

// head reads size and hash from the headers of one file. The redirect to the download host names both, so it is not followed.
func (p *puller) head(ctx context.Context, commit string, f *file) error {
	still := *p.web.client
	still.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	address := p.address(commit, f.name)
	for range 5 {
		resp, err := p.web.do(ctx, &still, http.MethodHead, address, nil)
		if err != nil {
			return err
		}
		resp.Body.Close()
		redirect := resp.StatusCode >= 300 && resp.StatusCode < 400
		if resp.StatusCode != http.StatusOK && !redirect {
			return p.refusal(resp, f.name)
		}
		hash := strings.Trim(strings.TrimPrefix(firstOf(resp.Header.Get("X-Linked-Etag"), resp.Header.Get("ETag")), "W/"), `"`)
		size := resp.Header.Get("X-Linked-Size")
		if size == "" && !redirect {
			size = resp.Header.Get("Content-Length")
		}
		if n, err := strconv.ParseInt(size, 10, 64); err == nil && n >= 0 && hashName.MatchString(hash) {
			f.size, f.hash = n, hash
			return nil
		}
		next, err := resp.Location()
		if !redirect || err != nil || !p.web.own(next) { // a renamed repository redirects within the hub
			break
		}
		address = next.String()
	}
	return fault.New(fault.BadFile, p.repo+" "+printable(f.name), "the server names no size and hash", "lowkey keeps no file that it cannot check", "use https://huggingface.co, or a mirror that passes X-Linked-Etag and X-Linked-Size on")
}

// address is where a file of a commit is fetched.
func (p *puller) address(commit, name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return p.endpoint + "/" + p.repo + "/resolve/" + commit + "/" + strings.Join(parts, "/")
}

// refusal turns a status other than success into one line with a way out, or into a temporary error. name is the file asked for, "" for the listing.
func (p *puller) refusal(resp *http.Response, name string) error {
	thing := p.repo
	if name != "" {
		thing += " " + printable(name)
	}
	host := resp.Request.URL.Host
	said := printable(firstOf(resp.Header.Get("X-Error-Message"), http.StatusText(resp.StatusCode)))
	status := fmt.Sprintf("%s answers %d (%s)", host, resp.StatusCode, said)
	refuse := func(value, wayOut string) error {
		return fault.New(fault.BadInput, thing, value, "", wayOut)
	}
	code := resp.Header.Get("X-Error-Code")
	page := p.endpoint + "/" + p.repo
	tokens := p.endpoint + "/settings/tokens"
	again := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout || resp.StatusCode >= 500
	switch {
	case again || !p.web.own(resp.Request.URL): // a download host refuses when its signed address is too old: the next try gets a new one
		seconds, _ := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 32)
		return &temporary{err: errors.New(status), after: time.Duration(max(seconds, 0)) * time.Second}
	case code == "GatedRepo" && p.token == "":
		return refuse(status, "the model is gated: accept its terms at "+page+", then set HF_TOKEN to a token from "+tokens)
	case code == "GatedRepo" || resp.StatusCode == http.StatusForbidden:
		return refuse(status, "accept the model's terms at "+page+" with the account of the token, or set HF_TOKEN to a token that may read it")
	case resp.StatusCode == http.StatusUnauthorized && p.token == "":
		return refuse(status, "no such repository, or a private one: check the name at "+page+", or set HF_TOKEN to a token from "+tokens)
	case resp.StatusCode == http.StatusUnauthorized:
		return refuse(status, "check the name at "+page+"; if it is right, "+p.tokenFrom+" is not accepted or may not read it: make a new token at "+tokens)
	case code == "RevisionNotFound":
		return refuse(status, "there is no branch, tag or commit "+p.revision+": leave the revision out for main")
	case resp.StatusCode == http.StatusNotFound && name != "":
		return refuse(status, "the file is gone from this revision: pull again")
	case resp.StatusCode == http.StatusNotFound:
		return refuse(status, "check the name and the revision ("+p.revision+") at "+page)
	}
	return refuse(status, "check HF_ENDPOINT ("+p.endpoint+"): is it a hub?")
}

// lost words the end of all tries at one file.
func (p *puller) lost(name string, err error) error {
	var u *unreachable
	if !errors.As(err, &u) {
		return err
	}
	return &fault.Error{Kind: fault.BadInput, Thing: p.repo + " " + printable(name), Value: u.Error(), WayOut: "pull again: it goes on from what has arrived"}
}
