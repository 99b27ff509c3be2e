package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const (
	benchLines = `| model                          |       size |     params | backend    | threads | rtr |          test |              t/s |
| ------------------------------ | ---------: | ---------: | ---------- | ------: | --: | ------------: | ---------------: |
| llama ?B Q4_1                  | 120.79 MiB |   162.83 M | CPU        |       2 |   1 |   tg32@pp4096 |     78.65 ± 0.40 |

build: 8337e4cd3 (4840)
`
	batchedLines = `llama_batched_bench: n_kv_max = 8192, n_batch = 2048

|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |
|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|
|   128 |     32 |   16 |   2560 |    6.014 |   340.55 |    3.006 |   170.33 |    9.020 |   283.81 |
`
	ownLine = "lowkey decode model=m.gguf threads=2 reps=1 kv=f16 depth=4096 tokens=32 tok/s=101.25\n"
)

func TestRate(t *testing.T) {
	for _, c := range []struct {
		output, column string
		want           float64
	}{{benchLines, "t/s", 78.65}, {batchedLines, "S t/s", 283.81}, {ownLine, "", 101.25}} {
		got, line, err := rate(c.output, c.column)
		if err != nil || got != c.want || !strings.Contains(c.output, line) {
			t.Errorf("%v, %q, %v, want %v", got, line, err, c.want)
		}
	}
	twice := benchLines + strings.Split(benchLines, "\n")[2] + "\n"
	for _, c := range [][2]string{{"", "t/s"}, {twice, "t/s"}, {batchedLines, "t/s"}, {"", ""}, {ownLine + ownLine, ""}} {
		if _, line, err := rate(c[0], c[1]); err == nil {
			t.Errorf("%q was read from %q", line, c[0])
		}
	}
}

// TestRows runs every row with scripts in place of the engines: they print what the engines would, twice as fast for lowkey.
func TestRows(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("llama-bench", "cat <<'E'\n"+benchLines+"E\n")
	write("llama-batched-bench", "cat >&2 <<'E'\n"+batchedLines+"E\n")
	s := &setting{model: write("m.gguf", ""), llama: dir, ik: dir, threads: 2, dir: dir, lowkey: write("lowkey", "[ \"$1\" = run ] || echo 'lowkey row tok/s=157.30'\n")}
	r := &result{about: describe(s, 2)}
	for _, w := range allRows() {
		r.rows = append(r.rows, measure(context.Background(), w, s, 2, io.Discard))
	}
	text := r.markdown()
	for _, want := range []string{"**2.00** to llama.cpp", "**0.55** to llama.cpp", "| decode at 8192, q4_0 | - | - | - | 157.3 (157.3 to 157.3) | - | >= 6 | 12 |", "-gp 4096,32", "-d 8192",
		"    lowkey row tok/s=157.30", "--kv q8 --pp \"\" --depths 4096", "--kv q8h --pp \"\" --depths 8192",
		"| decode at 4096, q4h beside q4_0 | - | - | - | 157.3 (157.3 to 157.3) | - | - | - |"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing; the table is\n%s", want, r.table())
		}
	}
	if _, known := busy(); known && !strings.Contains(text, "tok/s=157.30 (others: ") {
		t.Error("no line tells what else ran")
	}
	if strings.Contains(text, dir) {
		t.Error("a folder of this machine is in the report")
	}
	write("llama-bench", "echo no such model >&2; exit 3\n")
	m := measure(context.Background(), allRows()[0], s, 1, io.Discard)
	if peer, _ := m.best(); peer != nil || !strings.HasPrefix(m.series[0].lines[0], "FAILED: exit status 3: no such model") {
		t.Errorf("a failing peer: %+v", m.series[0])
	}
	if _, err := choose("decode-0,nothing"); err == nil {
		t.Error("an unknown row was taken")
	}
}
