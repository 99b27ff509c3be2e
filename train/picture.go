package train

// The picture of a run, or of runs that went on from one another: loss of training and of the validation side against tokens, of all that the logs hold.

import (
	"fmt"
	"io"
	"path/filepath"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/internal/picture"
)

// pictureDots is how many points the line of training has at most for a run: each is the mean of the steps behind it.
const pictureDots = 200

// Picture writes loss.svg into a run's folder, from its log; nothing for a log of fewer than two steps.
func Picture(dir string) error {
	if steps, err := ReadLog(dir); err != nil || len(steps) < 2 {
		return err
	}
	return PicturePhases(filepath.Join(dir, "loss.svg"), dir)
}

// PicturePhases draws the runs in these folders one after another into an SVG file: the tokens of each count on from those of the one before.
func PicturePhases(path string, dirs ...string) error {
	var training, validation plotter.XYs
	before := int64(0)
	for _, dir := range dirs {
		steps, err := ReadLog(dir)
		if err != nil {
			return err
		}
		if len(steps) < 2 {
			return fault.New(fault.BadInput, dir, fmt.Sprintf("%d steps", len(steps)), "a line needs at least 2", "give folders of runs, with their log.jsonl")
		}
		each := (len(steps) + pictureDots - 1) / pictureDots
		sum, n := 0.0, 0
		for i, s := range steps {
			at := float64(before+s.Tokens) / 1e6
			if sum, n = sum+s.Loss, n+1; n == each || i+1 == len(steps) {
				training = append(training, plotter.XY{X: at, Y: sum / float64(n)})
				sum, n = 0, 0
			}
		}
		for _, s := range Looks(steps) {
			validation = append(validation, plotter.XY{X: float64(before+s.Tokens) / 1e6, Y: s.Valid.Loss})
		}
		before += steps[len(steps)-1].Tokens
	}
	p := picture.New("tokens trained on (millions)", "loss (nats per token)")
	p.Legend.Top = true
	if err := picture.Line(p, "training", training, picture.Colours[6], vg.Points(0.8)); err != nil {
		return err
	}
	if len(validation) > 1 {
		if err := picture.Line(p, "validation", validation, picture.Colours[0], vg.Points(1.4)); err != nil {
			return err
		}
	}
	svg, err := picture.SVG(p, 1)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := io.WriteString(w, svg)
		return err
	})
}
