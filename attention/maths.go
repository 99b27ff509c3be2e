package attention

// The mathematics of each design stands once: above its type. Maths reads it from there for whoever asks the program.

import (
	"embed"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"strings"
)

//go:embed *.go
var sources embed.FS

// Maths is the comment above a design's type: its formulas, what is cached, what folds, what it will not do; "" where there is none.
func Maths(d Design) string {
	return comment(reflect.Indirect(reflect.ValueOf(d)).Type().Name())
}

// SharingMaths is the comment about layers that read the rows of another.
func SharingMaths() string { return comment("Sharer") }

// comment is what stands above a type of this package.
func comment(name string) string {
	files, _ := fs.Glob(sources, "*.go")
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, _ := sources.ReadFile(file)
		f, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			continue
		}
		for _, decl := range f.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				if spec.(*ast.TypeSpec).Name.Name == name {
					return g.Doc.Text()
				}
			}
		}
	}
	return ""
}
