package bench

// A straight line through points: cost against depth must be one.

import "math"

// Slope is the straight line of the cost of a decoded token against the rows it reads, beside the floor's.
type Slope struct {
	NsPerRow      float64 `json:"ns_per_row"`
	MsAtZero      float64 `json:"ms_at_zero"`
	OffLine       float64 `json:"off_line"` // largest distance of a measured point from the line, as a share of the point
	FloorNsPerRow float64 `json:"floor_ns_per_row,omitempty"`
	Ratio         float64 `json:"ratio,omitempty"`          // measured / floor: 1 would be perfect
	Share         float64 `json:"share,omitempty"`          // floor / measured
	Bound         string  `json:"bound,omitempty"`          // of the floor's slope: "bytes" or "operations"
	RowBytes      float64 `json:"row_bytes,omitempty"`      // that a cached row costs a token, all layers together
	RowOps        float64 `json:"row_ops,omitempty"`        // multiplications and additions
	RowOpsOfMHA   float64 `json:"row_ops_of_mha,omitempty"` // times those of MHA with as many query heads of the same widths
}

// fitLine is the least-squares line y = a + b x through at least two different x.
func fitLine(x, y []float64) (a, b float64) {
	var mx, my float64
	for i := range x {
		mx, my = mx+x[i]/float64(len(x)), my+y[i]/float64(len(y))
	}
	var xy, xx float64
	for i := range x {
		xy, xx = xy+(x[i]-mx)*(y[i]-my), xx+(x[i]-mx)*(x[i]-mx)
	}
	b = xy / xx
	return my - b*mx, b
}

// offLine is the largest |y - line| / |y|.
func offLine(x, y []float64, a, b float64) float64 {
	most := 0.0
	for i := range x {
		most = max(most, math.Abs(y[i]-a-b*x[i])/math.Abs(y[i]))
	}
	return most
}

// median of a list that it may reorder; the lower of the two middle ones where there are two, so that it is a run that happened.
func median(v []float64) float64 {
	s := append([]float64{}, v...)
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	return s[(len(s)-1)/2]
}
