package compare

// Rows put together: one line a design, over its seeds, and the difference to the first design by pairs of seeds.

import (
	"math"
	"slices"
)

// Line is a design over its seeds.
type Line struct {
	Design      string  `json:"design"`
	Seeds       int     `json:"seeds"`
	Rate        float64 `json:"learning_rate"`
	Shape       string  `json:"shape"`
	Parameters  int64   `json:"parameters"`
	Loss        float64 `json:"validation_loss"` // mean over seeds
	Spread      float64 `json:"spread"`          // standard deviation over seeds; 0 with one
	BitsPerByte float64 `json:"bits_per_byte"`
	OfFirst     float64 `json:"share_of_first"` // of the first design's cache
	TrainSpeed  float64 `json:"training_tokens_per_second"`
	Pareto      bool    `json:"pareto"` // no other line has fewer bytes and a lower loss
	Served              // of the first seed

	// Difference is the loss relative to the first design's with the same seed, in percent, and Bound the upper end of its 95 % confidence interval (Student's t over pairs of seeds); nil with fewer
	// than two pairs for Bound, none for Difference.
	Difference *float64 `json:"difference_percent,omitempty"`
	Bound      *float64 `json:"difference_bound_percent,omitempty"`
}

// Summary is everything the report shows.
type Summary struct {
	Plan   *Plan     `json:"plan"`
	Lines  []*Line   `json:"lines"`
	Rows   []*Result `json:"rows"`
	Sweeps []*Result `json:"sweeps"`
	Lost   []*Result `json:"diverged,omitempty"` // rows and sweeps without figures
	Pairs  []*Pair   `json:"pairs"`              // of designs with several seeds in common
	Left   int       `json:"rows_left"`
}

// Pair is a design's loss beside another's, seed by seed.
type Pair struct {
	Design     string  `json:"design"`
	To         string  `json:"to"`
	Seeds      int     `json:"seeds"`
	Difference float64 `json:"difference_percent"` // mean, of To's loss
	Bound      float64 `json:"bound_percent"`      // half the width of its 95 % confidence interval
	Bytes      float64 `json:"share_of_bytes"`     // of To's cache
}

// Summary reads the rows that are done.
func (q *Queue) Summary() *Summary {
	s := &Summary{Plan: q.Plan}
	for _, row := range q.Plan.Rows() {
		res, err := q.read(row)
		switch {
		case err != nil:
			s.Left++
		case res.Diverged != "":
			s.Lost = append(s.Lost, res)
		case row.Sweep:
			s.Sweeps = append(s.Sweeps, res)
		default:
			s.Rows = append(s.Rows, res)
		}
	}
	first := s.of(q.Plan.Designs[0])
	for _, d := range q.Plan.Designs {
		if rows := s.of(d); len(rows) > 0 {
			s.Lines = append(s.Lines, lineOf(rows, first))
		}
	}
	markPareto(s.Lines)
	for i, l := range s.Lines {
		for _, to := range s.Lines[:i] {
			if p := pairOf(s.of(l.Design), s.of(to.Design)); p != nil {
				s.Pairs = append(s.Pairs, p)
			}
		}
	}
	return s
}

// Circles reports whether a line's layers read higher ones: prompts are then measured under fast numerics too.
func (s *Summary) Circles() bool {
	return slices.ContainsFunc(s.Lines, func(l *Line) bool { return l.PrefillFast > 0 })
}

// pairOf compares rows with those of the same seeds; nil with fewer than two.
func pairOf(rows, to []*Result) *Pair {
	d := differences(rows, to)
	if len(d) < 2 {
		return nil
	}
	p := &Pair{Design: rows[0].Design, To: to[0].Design, Seeds: len(d), Bytes: rows[0].BytesPerToken / to[0].BytesPerToken}
	p.Difference, p.Bound = meanAndBound(d)
	return p
}

// differences are the losses relative to those of the same seeds, in percent.
func differences(rows, to []*Result) (d []float64) {
	for _, r := range rows {
		for _, f := range to {
			if f.Seed == r.Seed {
				d = append(d, 100*(r.Loss-f.Loss)/f.Loss)
			}
		}
	}
	return d
}

// meanAndBound gives the mean and half the width of its 95 % confidence interval (0 for one value).
func meanAndBound(d []float64) (mean, bound float64) {
	mean, deviation := meanAndDeviation(d)
	if len(d) > 1 {
		bound = student95(len(d)-1) * deviation / math.Sqrt(float64(len(d)))
	}
	return mean, bound
}

func (s *Summary) of(design string) (rows []*Result) {
	for _, r := range s.Rows {
		if r.Design == design {
			rows = append(rows, r)
		}
	}
	return rows
}

func lineOf(rows, first []*Result) *Line {
	r := rows[0]
	l := &Line{Design: r.Design, Seeds: len(rows), Rate: r.Rate, Shape: r.Chosen, Parameters: r.Parameters, TrainSpeed: r.TrainSpeed, Served: r.Served}
	var losses, bits []float64
	for _, r := range rows {
		losses, bits = append(losses, r.Loss), append(bits, r.BitsPerByte)
	}
	l.Loss, l.Spread = meanAndDeviation(losses)
	l.BitsPerByte, _ = meanAndDeviation(bits)
	if len(first) > 0 && first[0].BytesPerToken > 0 {
		l.OfFirst = r.BytesPerToken / first[0].BytesPerToken
	}
	if d := differences(rows, first); len(d) > 0 && r.Design != firstDesign(first) {
		mean, half := meanAndBound(d)
		l.Difference = &mean
		if len(d) > 1 {
			bound := mean + half
			l.Bound = &bound
		}
	}
	return l
}

func firstDesign(first []*Result) string {
	if len(first) == 0 {
		return ""
	}
	return first[0].Design
}

// student95 is the 97.5 % quantile of Student's t: the half-width of a two-sided 95 % interval in standard errors.
func student95(degrees int) float64 {
	table := []float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228}
	return table[min(degrees, len(table))-1]
}

// meanAndDeviation gives the mean and the sample standard deviation (0 for one value).
func meanAndDeviation(v []float64) (mean, deviation float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	if len(v) < 2 {
		return mean, 0
	}
	for _, x := range v {
		deviation += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(deviation / float64(len(v)-1))
}

func markPareto(lines []*Line) {
	for _, l := range lines {
		l.Pareto = !slices.ContainsFunc(lines, func(o *Line) bool {
			return o != l && o.BytesPerToken <= l.BytesPerToken && o.Loss <= l.Loss && (o.BytesPerToken < l.BytesPerToken || o.Loss < l.Loss)
		})
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
