package train

// KHA on GQA's sizes (--kv-heads 1 and as many as heads are MQA and MHA), and on MLA's. The transforms are small squares, which the MLP makes room for.

func init() {
	for _, design := range []string{"kha-linear", "kha-mlp"} {
		register(design, sizer{defaults: thirds, check: dividesHeads, fields: groupedFields})
	}
	register("kha-mla", sizer{defaults: latent(1), check: rotaryPart, fields: latentFields})
}
