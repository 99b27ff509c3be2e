// Command gen writes the assembly of package kernel: run it as `go run . -out ..` in this folder.
//
// One file per family holds the generators; this one lists them and writes asm_FAMILY_amd64.s and its Go declarations.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

type family struct {
	name string
	gen  func(c *build.Context)
}

var families = []family{
	{"vec", genVec},
	{"grad", genGrad},
	{"rows", genRows},
	{"tile", genTile},
	{"tile8", genTile8},
	{"pv8", genPV8},
	{"mm", genMM},
	{"matfloat", genMatFloat},
	{"gemm", genGemm},
	{"flash", genFlash},
	{"peak", genPeak},
	{"amx", genAMX},
}

func main() {
	flags := flag.NewFlagSet("gen", flag.ExitOnError) // avo's own flags sit in the default set
	out := flags.String("out", "..", "folder to write to")
	_ = flags.Parse(os.Args[1:])
	for _, f := range families {
		if err := write(*out, f); err != nil {
			fmt.Fprintf(os.Stderr, "gen: family %s: %v\n", f.name, err)
			os.Exit(1)
		}
	}
}

func write(out string, f family) error {
	c := build.NewContext()
	c.ConstraintExpr("amd64")
	f.gen(c)
	file, err := c.Result()
	if err != nil {
		return err
	}
	if err := pass.Compile.Execute(file); err != nil {
		return err
	}
	cfg := printer.Config{Name: "kernel/gen", Pkg: "kernel"}
	for _, o := range []struct {
		ext string
		new printer.Builder
	}{{"s", printer.NewGoAsm}, {"go", printer.NewStubs}} {
		if err := print(filepath.Join(out, "asm_"+f.name+"_amd64."+o.ext), file, o.new(cfg)); err != nil {
			return err
		}
	}
	return nil
}

func print(path string, file *ir.File, p printer.Printer) error {
	text, err := p.Print(file)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
