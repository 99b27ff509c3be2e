// Command level prints the instruction level that lowkey's kernels choose on this machine, so that CI knows which lower ones to test as well.
package main

import (
	"fmt"

	"github.com/lowkeylm/lowkey/kernel"
)

func main() { fmt.Println(kernel.Level()) }
