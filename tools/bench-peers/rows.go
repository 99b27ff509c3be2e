package main

// The rows: what each engine is asked, and how its answer is read.

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// setting is what holds for all rows.
type setting struct {
	model, llama, ik, lowkey string // absolute paths
	dir                      string // to run in
	threads                  int
	slowQ4                   bool
	quietUntil               time.Time // until then runs wait for a still machine
}

// row is one line of the table. Bars and aims are ratios of lowkey to the best peer: at least so much, or at most where less is better; "" where none is set.
type row struct {
	name, title string
	bar, aim    string
	seconds     bool // the whole process is timed, less is better; else tokens/s are read from its output
	contenders  func(s *setting) []contender
}

// contender is one engine with one setting.
type contender struct {
	name   string
	args   []string
	column string // heading of the column that holds the rate; "" where lowkey's "tok/s=" does, or the process is timed
}

func allRows() []row {
	return []row{
		{name: "decode-0", title: "decode, empty cache", bar: "1.0", aim: "1.3", contenders: decode(0, 64, 3, "f16")},
		{name: "decode-4096-f16", title: "decode at 4096, f16", bar: "1.7", aim: "2.5", contenders: decode(4096, 32, 1, "f16")},
		{name: "decode-4096-q8", title: "decode at 4096, q8_0", bar: "1.5", aim: "2.5", contenders: decode(4096, 32, 1, "q8")},
		{name: "decode-4096-q8h", title: "decode at 4096, q8h beside q8_0", bar: "1.5", aim: "2.5", contenders: decode(4096, 32, 1, "q8h")},
		{name: "decode-4096-q4h", title: "decode at 4096, q4h beside q4_0", contenders: decode(4096, 32, 1, "q4h")},
		{name: "decode-8192-f16", title: "decode at 8192, f16", bar: "2", aim: "3", contenders: decode(8192, 32, 1, "f16")},
		{name: "decode-8192-q8", title: "decode at 8192, q8_0", bar: "3", aim: "5", contenders: decode(8192, 32, 1, "q8")},
		{name: "decode-8192-q4", title: "decode at 8192, q4_0", bar: "6", aim: "12", contenders: decode(8192, 32, 1, "q4")},
		{name: "decode-8192-q8h", title: "decode at 8192, q8h beside q8_0", bar: "3", aim: "5", contenders: decode(8192, 32, 1, "q8h")},
		{name: "decode-8192-q4h", title: "decode at 8192, q4h beside q4_0", bar: "6", aim: "12", contenders: decode(8192, 32, 1, "q4h")},
		{name: "prefill-512", title: "prefill 512", bar: "1.0", aim: "1.4", contenders: prefill(512, 3)},
		{name: "prefill-4096", title: "prefill 4096, f16", bar: "1.0", aim: "1.4", contenders: prefill(4096, 1)},
		{name: "batch-16", title: "16 sequences together (128 + 32), in all", bar: "3", aim: "4.5", contenders: together},
		{name: "load", title: "load to first token, seconds", bar: "1", aim: "0.5", seconds: true, contenders: load},
	}
}

// bench is one llama-bench contender for each peer and setting. plain are arguments that both understand.
func (s *setting) bench(llama, ik []string) []contender {
	common := []string{"-m", s.model, "-t", strconv.Itoa(s.threads), "-fa", "1"}
	var out []contender
	if s.llama != "" && llama != nil {
		out = append(out, contender{"llama.cpp", words(filepath.Join(s.llama, "llama-bench"), common, llama), "t/s"})
	}
	if s.ik != "" && ik != nil {
		for _, repack := range []string{"0", "1"} {
			name := "ik_llama.cpp"
			if repack == "1" {
				name += " -rtr 1"
			}
			out = append(out, contender{name, words(filepath.Join(s.ik, "llama-bench"), common, []string{"-rtr", repack}, ik), "t/s"})
		}
	}
	return out
}

// own is lowkey bench, measuring nothing but speed.
func (s *setting) own(args ...string) contender {
	return contender{"lowkey", words(s.lowkey, []string{"bench", "-m", s.model, "--threads", strconv.Itoa(s.threads), "--quality=false", "--shares=false", "--lines"}, args), ""}
}

func words(first string, lists ...[]string) []string {
	out := []string{first}
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func decode(depth, tokens, reps int, kv string) func(*setting) []contender {
	return func(s *setting) []contender {
		theirs := map[string]string{"f16": "f16", "q8": "q8_0", "q8h": "q8_0", "q4": "q4_0", "q4h": "q4_0"}[kv] // they have no rotated types
		cache := []string{"-ctk", theirs, "-ctv", theirs}
		d, n, r := strconv.Itoa(depth), strconv.Itoa(tokens), strconv.Itoa(reps)
		var out []contender
		if theirs != "q4_0" || s.slowQ4 {
			llama, ik := words("-p", []string{"0", "-n", n, "-r", r}, cache), words("-p", []string{"0", "-n", n, "-r", r}, cache)
			if depth > 0 {
				llama = append(llama, "-d", d)
				ik = words("-p", []string{"0", "-n", "0", "-gp", d + "," + n, "-r", r}, cache) // prints the decoding alone, as tgN@ppD
			}
			out = s.bench(llama, ik)
		}
		return append(out, s.own("--kv", kv, "--pp", "", "--depths", d, "--tg", n, "--reps", r))
	}
}

func prefill(tokens, reps int) func(*setting) []contender {
	return func(s *setting) []contender {
		n, r := strconv.Itoa(tokens), strconv.Itoa(reps)
		theirs := []string{"-p", n, "-n", "0", "-r", r}
		return append(s.bench(theirs, theirs), s.own("--kv", "f16", "--pp", n, "--depths", "", "--reps", r))
	}
}

func together(s *setting) []contender {
	args := []string{"-m", s.model, "-t", strconv.Itoa(s.threads), "-c", "8192", "-b", "2048", "-ub", "512", "-npp", "128", "-ntg", "32", "-npl", "16", "-fa", "on"}
	var out []contender
	if s.llama != "" {
		out = append(out, contender{"llama.cpp", words(filepath.Join(s.llama, "llama-batched-bench"), args), "S t/s"})
	}
	if s.ik != "" {
		program := filepath.Join(s.ik, "llama-batched-bench")
		out = append(out, contender{"ik_llama.cpp", words(program, args), "S t/s"}, contender{"ik_llama.cpp -rtr 1", words(program, args, []string{"-rtr"}), "S t/s"})
	}
	return append(out, s.own("--kv", "f16", "--seqs", "16", "--pp", "128", "--tg", "32", "--reps", "1"))
}

// prompt is 8 tokens to SmolLM2, as many as the peers are given.
const prompt = "The mill at the river was very old"

// load times whole processes: they start, load, compute a prompt of 8 tokens, and have the first new token. The peers do not sample it, lowkey does.
func load(s *setting) []contender {
	t := strconv.Itoa(s.threads)
	args := []string{"-m", s.model, "-t", t, "-fa", "1", "-p", "8", "-n", "0", "-r", "1"}
	var out []contender
	if s.llama != "" {
		out = append(out, contender{"llama.cpp", words(filepath.Join(s.llama, "llama-bench"), args, []string{"--no-warmup"}), ""})
	}
	if s.ik != "" {
		out = append(out, contender{"ik_llama.cpp", words(filepath.Join(s.ik, "llama-bench"), args, []string{"-w", "0"}), ""})
	}
	return append(out, contender{"lowkey", []string{s.lowkey, "run", "-m", s.model, "--threads", t, "--raw", "--ctx", "512", "-n", "1", prompt}, ""})
}

// rate reads tokens/s from what an engine printed, and the line that holds it.
func rate(output, column string) (value float64, line string, err error) {
	if column == "" {
		return ownRate(output)
	}
	at := -1
	for _, l := range strings.Split(output, "\n") {
		if !strings.HasPrefix(l, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(l), "|"), "|")
		for i, c := range cells {
			if strings.TrimSpace(c) == column {
				at, line = i, ""
			}
		}
		if at < 0 || at >= len(cells) {
			continue
		}
		number, _, _ := strings.Cut(strings.TrimSpace(cells[at]), " ")
		if v, err := strconv.ParseFloat(number, 64); err == nil && v > 0 {
			if line != "" {
				return 0, "", fmt.Errorf("more than one row was printed")
			}
			value, line = v, l
		}
	}
	if line == "" {
		return 0, "", fmt.Errorf("no row with a column %q was printed", column)
	}
	return value, line, nil
}

func ownRate(output string) (value float64, line string, err error) {
	for _, l := range strings.Split(output, "\n") {
		for _, word := range strings.Fields(l) {
			text, ok := strings.CutPrefix(word, "tok/s=")
			if !ok {
				continue
			}
			if line != "" {
				return 0, "", fmt.Errorf("more than one rate was printed")
			}
			if value, err = strconv.ParseFloat(text, 64); err != nil {
				return 0, "", err
			}
			line = l
		}
	}
	if line == "" {
		return 0, "", fmt.Errorf("no rate was printed")
	}
	return value, line, nil
}
