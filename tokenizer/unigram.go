package tokenizer

type lattice struct{ best []int }
