package kernel

// Instruction levels. The best one that the machine has is chosen when the program starts; LOWKEY_CPU forces a lower one, for tests and for comparing.

import (
	"os"

	"github.com/lowkeylm/lowkey/fault"
)

// Levels, from the plainest. A level runs everything the levels below it run.
var levels = []string{"plain", "avx2", "avx512", "amx"}

// levelAMX is AVX-512 with AMX tiles for products of many rows; lower levels are numbered as vecForm.
const levelAMX = int(vecAVX512) + 1

var level, levelErr = chooseLevel(os.Getenv("LOWKEY_CPU"))

func chooseLevel(want string) (int, error) {
	best := int(detectVecLevel())
	if best == int(vecAVX512) && detectAMX() {
		best = levelAMX
	}
	if want == "" {
		return best, nil
	}
	for i, name := range levels {
		if name != want {
			continue
		}
		if i > best {
			return best, fault.New(fault.Unsupported, "LOWKEY_CPU="+want, "this machine does not have it", "its best is "+levels[best], "unset LOWKEY_CPU")
		}
		return i, nil
	}
	return best, fault.New(fault.BadInput, "LOWKEY_CPU="+want, "unknown level", "levels: plain avx2 avx512 amx", "unset LOWKEY_CPU")
}

// Level is the name of the instruction level in use.
func Level() string { return levels[level] }

// LevelError says why LOWKEY_CPU could not be followed; nil if it was, or is not set.
func LevelError() error { return levelErr }
