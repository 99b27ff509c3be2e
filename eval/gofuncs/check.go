package gofuncs

// Type-checking a completed body against its own file's package, whose imports are read from source.

import (
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
)

// Checker type-checks bodies; imported packages are read once.
type Checker struct {
	fset     *token.FileSet
	imports  types.Importer
	original map[string]bool // files whose package checks as it is
}

// NewChecker reads imports from the sources of GOROOT.
func NewChecker() *Checker {
	fset := token.NewFileSet()
	return &Checker{fset: fset, imports: importer.ForCompiler(fset, "source", nil), original: map[string]bool{}}
}

// Stands reports whether the function's file has no errors in its package as it stands. Files for other systems may have some, and files that import what is not there: the share that stands is the
// most that completed bodies could reach.
func (c *Checker) Stands(f Function) bool {
	known, seen := c.original[f.Path]
	if !seen {
		known = c.errors(f.Path, nil, 0, 1<<30) == 0
		c.original[f.Path] = known
	}
	return known
}

// Body reports whether the function with this body has no type errors inside it; tried is false where the file does not stand as it is.
func (c *Checker) Body(f Function, body string) (ok, tried bool) {
	if !c.Stands(f) {
		return false, false
	}
	from := len(f.Before) - 1
	return c.errors(f.Path, []byte(f.Before+body+f.After), from, from+len(body)+1) == 0, true
}

// errors counts the errors of a file (with other contents, if given) at offsets [from, to), checked together with the other files of its package.
func (c *Checker) errors(path string, contents []byte, from, to int) (count int) {
	dir, base := filepath.Split(path)
	names := []string{base}
	if pkg, err := build.Default.ImportDir(dir, 0); err == nil {
		in := false
		for _, name := range pkg.GoFiles {
			in = in || name == base
		}
		if in {
			names = pkg.GoFiles
		}
	}
	var files []*ast.File
	var name string
	for _, n := range names {
		var src any
		if n == base && contents != nil {
			src = contents
		}
		f, err := parser.ParseFile(c.fset, filepath.Join(dir, n), src, parser.SkipObjectResolution)
		if err != nil {
			return 1
		}
		if n == base {
			name = c.fset.PositionFor(f.Pos(), false).Filename
		}
		files = append(files, f)
	}
	conf := types.Config{Importer: c.imports, FakeImportC: true, Error: func(err error) {
		e, ok := err.(types.Error)
		if !ok {
			count++
			return
		}
		if at := c.fset.PositionFor(e.Pos, false); at.Filename == name && at.Offset >= from && at.Offset < to && !unusedImport(e) {
			count++
		}
	}}
	conf.Check(files[0].Name.Name, c.fset, files, nil)
	return count
}

// unusedImport leaves out what a shorter body does to the head of its file.
func unusedImport(e types.Error) bool { return e.Soft && len(e.Msg) > 0 && e.Msg[0] == '"' }
