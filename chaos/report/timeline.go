package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// The picture is made of boxes in the units of its viewBox; the page scales it.
const (
	width      = 1000.0
	left       = 64.0 // room for the labels of the axes
	right      = 12.0
	plot       = width - left - right
	rateTop    = 14.0
	rateHeight = 150.0
	lateTop    = rateTop + rateHeight + 30
	lateHeight = 110.0
	laneTop    = lateTop + lateHeight + 34
	laneHeight = 26.0
	barHeight  = 8.0
	letter     = 6.1 // width of one of a fault's name, about
)

// picture is the timeline as the template draws it.
type picture struct {
	Width, Height         float64
	Left, Right           float64
	RateTop, RateBottom   float64
	LateBottom            float64
	PlotHeight            float64 // of both plots and what is between
	Bottom                float64
	Acked, AckedArea      string // paths
	Not, Arrivals         string
	P50, P99              string
	RateTicks, LateTicks  []tick
	TimeTicks             []tick
	Bands                 []band
	Columns               []column
	HasArrivals, HasFault bool
}

type tick struct {
	At   float64
	Text string
}

// band is a fault: a bar in a lane with its name, and a shade over the plots.
type band struct {
	X, W, Y  float64
	TextX    float64
	TextY    float64
	End      bool // the text ends at TextX
	Text     string
	Tip      string
	Majority bool
}

// column is what is told of one moment when the pointer is over it.
type column struct {
	X, W float64
	Tip  string
}

func draw(s *Summary) picture {
	p := picture{
		Width: width, Left: left, Right: width - right, RateTop: rateTop, RateBottom: rateTop + rateHeight,
		LateBottom: lateTop + lateHeight, PlotHeight: lateTop + lateHeight - rateTop, HasFault: len(s.Faults) > 0,
	}
	total := float64(max(s.Length, 1))
	x := func(ns int64) float64 { return left + plot*math.Min(1, math.Max(0, float64(ns)/total)) }
	p.bands(s, x)
	p.Height = p.Bottom + 6
	p.TimeTicks = timeTicks(s.Length, x)
	if len(s.Points) == 0 {
		return p
	}
	p.rates(s, x)
	p.latencies(s, x)
	for i := range s.Points {
		pt, from := &s.Points[i], int64(i)*s.Step
		tip := fmt.Sprintf("%s: %s/s acknowledged, %s/s not, %s/s arrivals", clock(from), short(pt.Acked), short(pt.Not), short(pt.Arrivals))
		if pt.P99 > 0 {
			tip += fmt.Sprintf("; p50 %s, p99 %s", millis(pt.P50), millis(pt.P99))
		}
		p.Columns = append(p.Columns, column{X: x(from), W: math.Max(0.5, x(from+s.Step)-x(from)), Tip: tip})
	}
	return p
}

func (p *picture) rates(s *Summary, x func(int64) float64) {
	most := 1.0
	for i := range s.Points {
		pt := &s.Points[i]
		most = max(most, pt.Acked, pt.Not, pt.Arrivals)
		p.HasArrivals = p.HasArrivals || pt.Arrivals > 0
	}
	step := nice(most / 3)
	top := step * math.Ceil(most/step)
	y := func(v float64) float64 { return p.RateBottom - rateHeight*v/top }
	for v := 0.0; v <= top+step/2; v += step {
		p.RateTicks = append(p.RateTicks, tick{y(v), short(v)})
	}
	line := func(value func(*Point) float64) string {
		return curve(s, x, func(pt *Point) (float64, bool) { return y(value(pt)), true })
	}
	p.Acked = line(func(pt *Point) float64 { return pt.Acked })
	p.Arrivals = line(func(pt *Point) float64 { return pt.Arrivals })
	p.Not = line(func(pt *Point) float64 { return pt.Not })
	first, last := middle(0, s, x), middle(len(s.Points)-1, s, x)
	p.AckedArea = fmt.Sprintf("%sL%.1f %.1fL%.1f %.1fZ", p.Acked, last, p.RateBottom, first, p.RateBottom)
}

// latencies are drawn on a logarithmic scale of whole decades.
func (p *picture) latencies(s *Summary, x func(int64) float64) {
	least, most := math.Inf(1), 0.0
	for i := range s.Points {
		if pt := &s.Points[i]; pt.P99 > 0 {
			least, most = min(least, max(pt.P50, 0.1)), max(most, pt.P99)
		}
	}
	if most == 0 {
		return
	}
	from, to := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	if to <= from {
		to = from + 1
	}
	y := func(v float64) float64 {
		return p.LateBottom - lateHeight*(math.Log10(max(v, math.Pow(10, from)))-from)/(to-from)
	}
	for e := from; e <= to; e++ {
		p.LateTicks = append(p.LateTicks, tick{y(math.Pow(10, e)), millis(math.Pow(10, e))})
	}
	p.P50 = curve(s, x, func(pt *Point) (float64, bool) { return y(pt.P50), pt.P99 > 0 })
	p.P99 = curve(s, x, func(pt *Point) (float64, bool) { return y(pt.P99), pt.P99 > 0 })
}

func middle(i int, s *Summary, x func(int64) float64) float64 {
	return x(int64(i)*s.Step + s.Step/2)
}

// curve draws a line through the points that have a value.
func curve(s *Summary, x func(int64) float64, y func(*Point) (float64, bool)) string {
	var b strings.Builder
	pen := "M"
	for i := range s.Points {
		v, ok := y(&s.Points[i])
		if !ok {
			pen = "M"
			continue
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", pen, middle(i, s, x), v)
		if pen == "M" { // so that a point alone can be seen
			fmt.Fprint(&b, "h0.1")
		}
		pen = "L"
	}
	return b.String()
}

// bands puts the faults into lanes so that their names do not overlap.
func (p *picture) bands(s *Summary, x func(int64) float64) {
	var lanes []float64 // where the last text of each ends
	for i := range s.Faults {
		f := &s.Faults[i]
		from, to := x(f.Begin), x(f.End)
		text := f.Title()
		b := band{
			X: from, W: max(2, to-from), Text: text, TextX: from, Majority: !f.Minority && !f.Planned && !f.Harmless,
			Tip: fmt.Sprintf("%s, %s to %s", text, clock(f.Begin), clock(f.End)),
		}
		taken, until := from, max(to, from+letter*float64(len([]rune(text))))
		if until > width {
			b.End, b.TextX = true, min(width-right, max(to, from+2))
			taken, until = b.TextX-letter*float64(len([]rune(text))), b.TextX
		}
		lane := slices.IndexFunc(lanes, func(end float64) bool { return end+8 <= taken })
		if lane < 0 {
			lane = len(lanes)
			lanes = append(lanes, 0)
		}
		lanes[lane] = until
		b.Y = laneTop + laneHeight*float64(lane)
		b.TextY = b.Y + barHeight + 11
		p.Bands = append(p.Bands, b)
	}
	p.Bottom = laneTop + laneHeight*float64(len(lanes))
}

// Title names the fault for people.
func (f *Fault) Title() string {
	t := f.Kind
	if t == "" {
		t = f.Name
	}
	if len(f.Nodes) > 0 && len(f.Nodes) <= 3 && !strings.Contains(t, f.Nodes[0]) {
		t += " " + strings.Join(f.Nodes, ", ")
	}
	return t
}

// Lasted is the time from its begin to its end, ns.
func (f *Fault) Lasted() int64 { return f.End - f.Begin }

// nice is the next of 1, 2, 5, 10, 20, … that is not below v.
func nice(v float64) float64 {
	if v <= 0 {
		return 1
	}
	e := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*e >= v {
			return m * e
		}
	}
	return 10 * e
}

func timeTicks(length int64, x func(int64) float64) []tick {
	steps := []time.Duration{
		time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 6 * time.Hour, 24 * time.Hour,
	}
	const most = 12
	step := steps[len(steps)-1]
	for _, d := range steps {
		if length/int64(d) <= most {
			step = d
			break
		}
	}
	var out []tick
	for t := int64(0); t <= length; t += int64(step) {
		out = append(out, tick{x(t), clock(t)})
	}
	return out
}
