package main

// The report: a table of medians and ratios, then every raw line, the machine and the commands.

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

type result struct {
	about string
	rows  []measured
}

// table is Markdown: a column for each contender, with the median and the range.
func (r *result) table() string {
	var names []string
	for _, m := range r.rows {
		for _, c := range m.series {
			if !slices.Contains(names, c.name) && c.name != "lowkey" {
				names = append(names, c.name)
			}
		}
	}
	names = append(names, "lowkey")
	var b strings.Builder
	fmt.Fprintf(&b, "| tokens/s, median (least to most) | %s | ratio to the best peer | bar | aim |\n|---|%s---|---|---|\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	for _, m := range r.rows {
		fmt.Fprintf(&b, "| %s |", m.row.title)
		for _, name := range names {
			i := slices.IndexFunc(m.series, func(c series) bool { return c.name == name })
			if i < 0 || len(m.series[i].values) == 0 {
				b.WriteString(" - |")
				continue
			}
			v := m.series[i].values
			digits := 1
			if m.row.seconds {
				digits = 3
			}
			fmt.Fprintf(&b, " %.*f (%.*f to %.*f) |", digits, median(v), digits, slices.Min(v), digits, slices.Max(v))
		}
		ratio := "-"
		if peer, own := m.best(); peer != nil && own != nil {
			ratio = fmt.Sprintf("**%.2f** to %s", median(own.values)/median(peer.values), peer.name)
		}
		bar, aim := ">= "+m.row.bar, m.row.aim
		switch {
		case m.row.bar == "":
			bar, aim = "-", "-"
		case m.row.seconds:
			bar = "<= " + m.row.bar
		}
		fmt.Fprintf(&b, " %s | %s | %s |\n", ratio, bar, aim)
	}
	return b.String()
}

func (r *result) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# lowkey beside its peers\n\n%s\n%s\n## Raw lines\n", r.about, r.table())
	for _, m := range r.rows {
		fmt.Fprintf(&b, "\n### %s\n\n", m.row.title)
		for _, c := range m.series {
			fmt.Fprintf(&b, "%s: `%s`\n\n", c.name, c.command())
			for _, l := range c.lines {
				fmt.Fprintf(&b, "    %s\n", l)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// describe says what was measured on what. What the system does not tell is left out.
func describe(s *setting, n int) string {
	var b strings.Builder
	say := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "- %s: %s\n", name, value)
		}
	}
	say("date", time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	say("model", shorten(s.model))
	say("processor", field("/proc/cpuinfo", "model name"))
	var flags []string
	for _, f := range strings.Fields(field("/proc/cpuinfo", "flags")) {
		if slices.Contains([]string{"avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"}, f) {
			flags = append(flags, f)
		}
	}
	say("instructions", strings.Join(flags, " "))
	say("cores", fmt.Sprintf("%d, threads of every engine: %d", runtime.NumCPU(), s.threads))
	say("memory", field("/proc/meminfo", "MemTotal"))
	say("huge pages", line("/sys/kernel/mm/transparent_hugepage/enabled"))
	say("system", strings.TrimSpace(runtime.GOOS+" "+line("/proc/sys/kernel/osrelease")))
	say("load average before", quiet(line("/proc/loadavg")))
	say("lowkey", strings.TrimSpace(revision()+" "+runtime.Version()))
	say("alternations", fmt.Sprint(n))
	return b.String()
}

// quiet marks a load average of a machine on which something else runs: such numbers are no result.
func quiet(load string) string {
	if first, _, _ := strings.Cut(load, " "); first != "" {
		if v, err := strconv.ParseFloat(first, 64); err == nil && v > 0.5 {
			return load + " -- NOT QUIET, ratios from this run mean nothing"
		}
	}
	return load
}

func shorten(path string) string {
	st, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s, %d bytes", st.Name(), st.Size())
}

func line(path string) string {
	text, _ := os.ReadFile(path)
	first, _, _ := strings.Cut(string(text), "\n")
	return first
}

// field finds "name : value" in a file of such lines.
func field(path, name string) string {
	text, _ := os.ReadFile(path)
	for _, l := range strings.Split(string(text), "\n") {
		if key, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// revision is the commit of this module, marked where files differ from it.
func revision() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
