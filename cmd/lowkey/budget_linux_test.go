package main

// The memory budget, held to what the system says of the whole program.

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lowkeylm/lowkey"
)

// asProgram makes the test binary be the program.
const asProgram = "LOWKEY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// peak runs the program and gives the most anonymous memory it was seen to hold, looking every half millisecond.
func peak(t *testing.T, env []string, line ...string) (most int64, looks int, said string) {
	t.Helper()
	c := exec.Command(os.Args[0], line...)
	c.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(done)
	}()
	for {
		select {
		case <-done:
			return most, looks, out.String()
		case <-time.After(500 * time.Microsecond):
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid))
		if err != nil {
			continue
		}
		if _, rest, ok := strings.Cut(string(b), "RssAnon:"); ok {
			var kb int64
			if _, err := fmt.Sscanf(rest, "%d kB", &kb); err == nil {
				most, looks = max(most, kb<<10), looks+1
			}
		}
	}
}

// The whole process stays within --memory while the collector is off but for the limit, so that garbage would pile up: answering, with a prompt far larger than the budget, and in the other commands
// that load a model. A text that the heap could not hold with its tokens is refused.
func TestBudgetOfProcess(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, n int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Repeat([]byte("func f(x int) int { return x }\n"), n/31), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	large := file("large.txt", 120<<20)
	// Without a limit of the heap they take 133, 65, 97, 38, 206 and 57 MiB: three would break their budget.
	for _, c := range []struct {
		name, said, budget, line string
	}{
		{"answer", "tok", "88m", "run --ctx 256 -n 100 --json --logprobs 1000 func"},
		{"prompt of 120 MB", "tokens; the context is 256", "88m", "run --ctx 256 -f " + large},
		{"prompt of 8 MB", "tokens; the context is 256", "88m", "run --ctx 256 -f " + file("small.txt", 8<<20)},
		{"text of 120 MB", "longer than 16.7 MiB", "100m", "eval -m mfa --ctx 256 --text " + large},
		{"text of 6 MB, two models", "mean KL", "200m", "eval -m mfa --ctx 128 --limit 300 --kv q8h --text " + file("text.txt", 6<<20)},
		{"text of 7 MB, bench", "floors are of reading", "88m", "bench -m mfa --kv q4 --depths 0 --pp 32 --tg 4 --positions 60 --text " + file("quality.txt", 7<<20)},
	} {
		limit, err := lowkey.ParseBytes(c.budget)
		if err != nil {
			t.Fatal(err)
		}
		line := append(strings.Fields(c.line), "--threads", "1", "--memory", c.budget)
		most, looks, said := peak(t, []string{"GOGC=off", "GOMEMLIMIT=off"}, line...)
		t.Logf("%s: at most %s in %d looks", c.name, lowkey.Bytes(most), looks)
		if most > limit || looks < 3 || most < 8<<20 { // the weights alone are 9 MB
			t.Errorf("%s: RssAnon was at most %s in %d looks, the budget is %s", c.name, lowkey.Bytes(most), looks, lowkey.Bytes(limit))
		}
		if !strings.Contains(said, c.said) {
			t.Errorf("%s: no %q in\n%.500s", c.name, c.said, said)
		}
	}
}
