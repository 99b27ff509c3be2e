package main

// Running a row: the contenders take turns.

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// measured is a row with what its contenders reached.
type measured struct {
	row    row
	series []series
}

// series is one contender's runs. A run that failed has a line and no value.
type series struct {
	contender
	values []float64
	lines  []string
}

func measure(ctx context.Context, r row, s *setting, n int, log io.Writer) measured {
	m := measured{row: r}
	for _, c := range r.contenders(s) {
		m.series = append(m.series, series{contender: c})
	}
	fmt.Fprintf(log, "\n## %s\n\n", r.title)
	for _, c := range m.series {
		fmt.Fprintf(log, "%-19s  %s\n", c.name, c.command())
	}
	for i := range n {
		for j := range m.series {
			one := &m.series[(j+i)%len(m.series)] // who begins changes
			value, line, err := onceQuiet(ctx, one.contender, s, r.seconds)
			if ctx.Err() != nil {
				return m
			}
			if err != nil {
				line = "FAILED: " + err.Error()
			} else {
				one.values = append(one.values, value)
			}
			one.lines = append(one.lines, line)
			fmt.Fprintf(log, "%d %-19s  %s\n", i+1, one.name, line)
		}
	}
	return m
}

// once runs a contender, in a folder of its own: some leave a log behind. own is the processor time it took.
func once(ctx context.Context, c contender, dir string, timed bool) (value float64, line string, own time.Duration, err error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err = cmd.Run()
	took, own := time.Since(start).Seconds(), used(cmd)
	if err != nil {
		last := strings.Split(strings.TrimSpace(errs.String()), "\n")
		return 0, "", own, fmt.Errorf("%w: %s", err, strings.Join(last[max(0, len(last)-2):], " / "))
	}
	if timed {
		return took, fmt.Sprintf("%.3f s in all", took), own, nil
	}
	if value, line, err = rate(out.String(), c.column); err != nil && c.column != "" { // ik_llama.cpp's batched bench prints its table to standard error
		if v, l, e := rate(errs.String(), c.column); e == nil {
			return v, l, own, nil
		}
	}
	return value, line, own, err
}

// command is the command line without folders.
func (c contender) command() string {
	args := []string{}
	for _, a := range c.args {
		if filepath.IsAbs(a) || strings.Contains(a, "/") {
			a = filepath.Base(a)
		}
		if a == "" || strings.Contains(a, " ") {
			a = "\"" + a + "\""
		}
		args = append(args, a)
	}
	return strings.Join(args, " ")
}

// median is 0 without values.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// best is the peer setting with the best median, and lowkey's series; nil where one has no value.
func (m *measured) best() (peer, own *series) {
	for i := range m.series {
		c := &m.series[i]
		switch {
		case len(c.values) == 0:
		case c.name == "lowkey":
			own = c
		case peer == nil:
			peer = c
		case m.row.seconds && median(c.values) < median(peer.values), !m.row.seconds && median(c.values) > median(peer.values):
			peer = c
		}
	}
	return peer, own
}
