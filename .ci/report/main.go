// Command report reads the event stream of `go test -json` and prints what a person wants from it: every top-level test that passed, every skip with its
// reason, the whole output of what failed, and build errors. It writes "TESTS SKIPS" (tests and subtests that ran, and that skipped) to the file -counts.
//
// It will not decide whether the run passed: the exit status of `go test` does.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json` and `go help buildjson`.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

func main() {
	counts := flag.String("counts", "", "file for the two counts")
	raw := flag.String("log", "", "file for the whole stream as text")
	flag.Parse()
	log.SetFlags(0)
	log.SetPrefix("report: ")

	full, err := os.Create(*raw)
	if err != nil {
		log.Fatal(err)
	}
	tests, skips, err := report(bufio.NewReaderSize(os.Stdin, 1<<20), full)
	if err != nil {
		log.Fatal(err)
	}
	if err := full.Close(); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*counts, fmt.Appendf(nil, "%d %d\n", tests, skips), 0o644); err != nil {
		log.Fatal(err)
	}
}

func report(in *bufio.Reader, full *os.File) (tests, skips int, err error) {
	output := map[string][]string{} // by package and test, until its result is known
	dec := json.NewDecoder(in)
	for dec.More() {
		var e event
		if err := dec.Decode(&e); err != nil {
			return tests, skips, fmt.Errorf("not a go test -json stream: %w", err)
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			fmt.Fprint(full, e.Output)
			output[key] = append(output[key], e.Output)
		case "build-output":
			fmt.Fprint(full, e.Output)
			fmt.Print(e.Output)
		case "pass":
			if e.Test != "" {
				tests++
			}
			if e.Test != "" && !strings.Contains(e.Test, "/") {
				fmt.Printf("  PASS %s %s (%.2fs)\n", e.Package, e.Test, e.Elapsed)
			}
			if e.Test == "" {
				fmt.Printf("ok     %s (%.1fs)\n", e.Package, e.Elapsed)
			}
			delete(output, key)
		case "skip":
			if e.Test != "" { // a package without tests skips too, and is not worth a line
				skips++
				fmt.Printf("  SKIP %s %s: %s\n", e.Package, e.Test, reason(output[key]))
			}
			delete(output, key)
		case "fail":
			if e.Test != "" {
				tests++
			}
			fmt.Printf("  FAIL %s %s\n", e.Package, e.Test)
			for _, line := range output[key] {
				fmt.Print("       ", line)
			}
			delete(output, key)
		}
	}
	return tests, skips, nil
}

// reason is what a skipped test printed, without the marks that go test puts around it.
func reason(lines []string) string {
	var said []string
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return "(no reason given)"
	}
	return strings.Join(said, " | ")
}
