package compare

import (
	"context"

	"github.com/lowkeylm/lowkey"
)

// cacheOf fills a context of the model and looks at the pages it holds: elements and bytes (f16) a token by the accounting, bytes a token as allocated.
func cacheOf(ctx context.Context, path string) (elements, perToken int, allocated float64, err error) {
	m, err := lowkey.Load(path, lowkey.Options{KV: "f16"})
	if err != nil {
		return 0, 0, 0, err
	}
	defer m.Close()
	s := m.NewSession("")
	defer s.Close()
	tokens := make([]int32, m.Context)
	for i := range tokens {
		tokens[i] = int32(i % m.Vocab())
	}
	if err := s.Feed(ctx, tokens); err != nil {
		return 0, 0, 0, err
	}
	const bytesOfF16 = 2
	return m.Account.PerToken / bytesOfF16, m.Account.PerToken, float64(s.Bytes()) / float64(len(tokens)), nil
}
