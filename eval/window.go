package eval

// How a text is cut into windows. Every token that has something before it is scored exactly once. A window is the start tokens and then a run of the text; it scores the last
// Stride tokens of the run (the first window: all of it), so that these have at least Window - Stride - 1 tokens before them.

import (
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
)

// window is a run of the text, [begin, end), of which [score, end) is scored.
type window struct{ begin, score, end int }

// cut gives the windows of a text of n tokens and the tokens they score together.
func (o *Options) cut(n int) (windows []window, total int, err error) {
	size := o.Window
	if size == 0 {
		size = DefaultWindow
	}
	room := size - len(o.Start) // of the run
	unscored := 0               // at the start of the text: a first token that nothing stands before
	if len(o.Start) == 0 {
		unscored = 1
	}
	most := room - unscored
	stride := o.Stride
	if stride == 0 {
		stride = most
	}
	switch {
	case most < 1:
		return nil, 0, fault.New(fault.BadInput, "window", fmt.Sprintf("%d tokens", size), fmt.Sprintf("at least %d: one before the one that is scored", size-most+1), "")
	case stride < 1 || stride > most:
		return nil, 0, fault.New(fault.BadInput, "stride", fmt.Sprintf("%d tokens", stride), fmt.Sprintf("1 to %d in windows of %d", most, size), "")
	case o.Limit < 0:
		return nil, 0, fault.New(fault.BadInput, "limit", fmt.Sprintf("%d tokens", o.Limit), "at least 1; 0 = all", "")
	case n <= unscored:
		return nil, 0, fault.New(fault.BadInput, "the text", fmt.Sprintf("%d tokens", n), "nothing to score: one token must follow another", "give a longer text")
	}
	if o.Limit > 0 && o.Limit < n-unscored {
		n = o.Limit + unscored
	}
	for score := unscored; score < n; {
		end := min(score+stride, n)
		if score == unscored {
			end = min(room, n)
		}
		windows = append(windows, window{max(0, end-room), score, end})
		score = end
	}
	return windows, n - unscored, nil
}
