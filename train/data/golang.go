// This file is the corpus "go": the sources of the Go installation at hand. They are on every machine that builds this program, and a
// Go version names them exactly. What near.go calls a near-duplicate is dropped from the validation side.

package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

// pinnedGo is the corpus that the published results were measured on.
const (
	pinnedGo       = "go1.26.8"
	pinnedManifest = "1c843b3744672a1143479957cd15f6ec77cce33211426dac84343924d6646870"
)

const maxGoFile = 200_000 // bytes; larger files are tables

// goRoot finds the Go installation.
func goRoot() (string, error) {
	missing := fault.New(fault.BadInput, "--data go", "no Go installation", "the corpus is the sources that come with Go",
		"install Go (go.dev/dl), or give --data a folder or a file of text")
	if _, err := exec.LookPath("go"); err != nil {
		if root := os.Getenv("GOROOT"); root != "" {
			return root, nil
		}
		return "", missing.Because(err)
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	root := strings.TrimSpace(string(out))
	if err != nil || root == "" {
		return "", missing.Because(err)
	}
	return root, nil
}

// findGo lists src and test of a Go installation: every .go file but generated and large ones. The hash of its directory decides
// the side of a file.
func findGo(root string, share float64) (*Corpus, error) {
	version := goVersion(root)
	c := &Corpus{Name: version + " sources", border: border(share)}
	f := &folder{root: root}
	sum := sha256.New()
	generated, large, notText := 0, 0, 0
	for _, top := range []string{"src", "test"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(name string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() || !strings.HasSuffix(name, ".go") {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			if info.Size() > maxGoFile {
				large++
				return nil
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			switch {
			case len(text) == 0:
				return nil
			case bytes.Contains(text, []byte("Code generated")) && bytes.Contains(text, []byte("DO NOT EDIT")):
				generated++
				return nil
			case bytes.IndexByte(text, 0) >= 0 || !utf8.Valid(text):
				notText++
				return nil
			}
			rel, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			writeHashed(sum, []byte(rel))
			writeHashed(sum, text)
			f.files = append(f.files, file{rel, keyOf(path.Dir(rel))})
			return nil
		})
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.BadInput, "--data go", root+" has no "+top, "the corpus is src and test of a Go installation",
				"install Go from go.dev/dl: some packagers leave parts out").Because(err)
		}
		if err != nil {
			return nil, fault.New(fault.BadInput, "--data go", "cannot be read", "", "install Go, or give --data a folder").Because(err)
		}
	}
	if len(f.files) == 0 {
		return nil, empty(c.Name)
	}
	c.source, c.Manifest = f, hex.EncodeToString(sum.Sum(nil))
	dropped, err := c.dropNear(f)
	if err != nil {
		return nil, err
	}
	if c.Train.Documents == 0 || c.Valid.Documents == 0 {
		return nil, tooSmall(c.Name, fmt.Sprint(len(f.files), " files"))
	}
	c.Notes = append(c.Notes, fmt.Sprintf("left out: %d generated files, %d above %d kB, %d that are no UTF-8; %d near-duplicates of training files from validation",
		generated, large, maxGoFile/1000, notText, dropped))
	if c.Manifest != pinnedManifest {
		c.Notes = append(c.Notes, fmt.Sprintf("another corpus than the published results' (%s, manifest %.12s): losses do not compare", pinnedGo, pinnedManifest))
	}
	return c, nil
}

// goVersion is the first word of GOROOT/VERSION.
func goVersion(root string) string {
	text, err := os.ReadFile(filepath.Join(root, "VERSION"))
	if word := strings.Fields(string(text)); err == nil && len(word) > 0 {
		return word[0]
	}
	return "go (of unknown version)"
}
