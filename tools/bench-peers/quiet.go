package main

// What else runs: on Linux the tool tells, for each run, which share of the machine's processor time went to others meanwhile. With --quiet a run waits for a still machine,
// and one that was disturbed is done again. Elsewhere nothing is known and every run counts.

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	stillShare = 0.05 // others may take so much of the machine in a run that counts
	stillTime  = 3 * time.Second
)

// busy is the processor time all cores have worked since the start of the system, in its ticks; ok is false where that is not known.
func busy() (ticks float64, ok bool) {
	words := strings.Fields(line("/proc/stat"))
	if len(words) < 9 || words[0] != "cpu" {
		return 0, false
	}
	for i, w := range words[1:9] { // user nice system idle iowait irq softirq steal
		if i == 3 || i == 4 {
			continue
		}
		v, err := strconv.ParseFloat(w, 64)
		if err != nil {
			return 0, false
		}
		ticks += v
	}
	return ticks, true
}

// watch measures what others take until done is called with what is one's own.
func watch() (done func(own time.Duration) (share float64, known bool)) {
	const ticksPerSecond = 100
	before, ok := busy()
	start := time.Now()
	return func(own time.Duration) (float64, bool) {
		after, still := busy()
		seconds := (after-before)/ticksPerSecond - own.Seconds()
		return max(0, seconds) / (time.Since(start).Seconds() * float64(runtime.NumCPU())), ok && still
	}
}

// waitStill returns once others left the machine alone for a while, or at the deadline.
func waitStill(ctx context.Context, deadline time.Time) {
	for ctx.Err() == nil && time.Now().Before(deadline) {
		done := watch()
		select {
		case <-ctx.Done():
		case <-time.After(stillTime):
		}
		if share, known := done(0); !known || share <= stillShare {
			return
		}
	}
}

// used is the processor time of a process that has ended.
func used(cmd *exec.Cmd) time.Duration {
	if cmd.ProcessState == nil {
		return 0
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// onceQuiet is once; until the deadline it waits for a still machine and repeats disturbed runs.
func onceQuiet(ctx context.Context, c contender, s *setting, timed bool) (value float64, text string, err error) {
	for {
		waitStill(ctx, s.quietUntil)
		done := watch()
		var own time.Duration
		value, text, own, err = once(ctx, c, s.dir, timed)
		share, known := done(own)
		if err != nil || !known {
			return value, text, err
		}
		text += fmt.Sprintf(" (others: %.0f %%)", 100*share)
		if share <= stillShare || !time.Now().Before(s.quietUntil) || ctx.Err() != nil {
			return value, text, nil
		}
		fmt.Fprintf(os.Stderr, "again: %s\n", text)
	}
}
