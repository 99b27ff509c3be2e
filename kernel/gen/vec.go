package main

import "github.com/mmcloughlin/avo/build"

func genVec(c *build.Context) {}
