package config

// Small helpers for lists and messages.

import (
	"fmt"
	"slices"
	"strings"
)

func contains(set []string, s string) bool { return slices.Contains(set, s) }

func hasInt(set []int, n int) bool { return slices.Contains(set, n) }

func sorted(set []string) []string { slices.Sort(set); return set }

func list(set []string) string { return strings.Join(set, " ") }

// quote makes a word from a file printable and short.
func quote(s string) string {
	if len(s) > 60 {
		s = s[:57] + "..."
	}
	return fmt.Sprintf("%q", s)
}
