package console

import (
	"strconv"
	"strings"
	"time"

	"example.com/belfry/dispatch/event"
)

// chartScripts are the scripts of a screen with charts.
var chartScripts = []string{"vendor/uplot.min.js", "js/chart.js"}

// chart is a table of figures over time that a script draws as lines.
type chart struct {
	// Title is the caption of the table.
	Title string
	// Unit stands behind the numbers of the axis.
	Unit    string
	Columns []chartColumn
	Rows    []chartRow
}

// chartColumn is one line; Tone is its colour: ok, warn, bad, info or accent.
type chartColumn struct {
	Label, Tone string
	// Fill: the area below the line has its colour too.
	Fill bool
}

// chartRow is one instant. Values are texts for data-value; empty: no figure.
type chartRow struct {
	At     time.Time
	Values []string
}

// chartsOf are the charts of a series: what came and went, and how long it
// took. withAccepted adds the events of the account.
func chartsOf(s event.Series, withAccepted bool) []chart {
	per := float64(max(s.StepSeconds, 1))
	rate := func(n int64) string { return strconv.FormatFloat(float64(n)/per, 'f', 3, 64) }
	flow := chart{Title: "Deliveries per second", Columns: []chartColumn{{"Delivered", "ok", true}, {"Failed attempts", "bad", false}}}
	if withAccepted {
		flow.Title = "Events and deliveries per second"
		flow.Columns = append(flow.Columns, chartColumn{"Accepted", "info", false})
	}
	took := chart{Title: "Latency of attempts", Unit: " ms", Columns: []chartColumn{{"p50", "info", true}, {"p90", "warn", false}, {"p99", "bad", false}}}
	points := s.Points
	if len(points) > 1 {
		points = points[:len(points)-1] // the last minute has only begun
	}
	for _, p := range points {
		values := []string{rate(p.Delivered), rate(p.Failed)}
		if withAccepted {
			values = append(values, rate(p.Accepted))
		}
		flow.Rows = append(flow.Rows, chartRow{p.At, values})
		row := chartRow{p.At, []string{"", "", ""}}
		if q := p.LatencyMs; q != nil {
			for i, ms := range []float64{q.P50, q.P90, q.P99} {
				row.Values[i] = strconv.FormatFloat(ms, 'f', 1, 64)
			}
		}
		took.Rows = append(took.Rows, row)
	}
	return []chart{flow, took}
}

// Charts are those of the last hour; none without figures.
func (o *overviewView) Charts() []chart {
	if o.Series == nil {
		return nil
	}
	return chartsOf(*o.Series, true)
}

// sparkline is a small picture of a series: the points of an SVG polyline in a
// box of 100 by 24. The minute that has only begun is left out. Nothing but
// zeros gives "".
func sparkline(points []event.SeriesPoint, of func(event.SeriesPoint) int64) string {
	points = points[:max(len(points)-1, 0)]
	top := int64(0)
	for _, p := range points {
		top = max(top, of(p))
	}
	if top == 0 {
		return ""
	}
	var b []byte
	for i, p := range points {
		b = strconv.AppendFloat(b, 100*float64(i)/float64(max(len(points)-1, 1)), 'f', 1, 64)
		b = append(b, ',')
		b = strconv.AppendFloat(b, 23-22*float64(of(p))/float64(top), 'f', 1, 64)
		b = append(b, ' ')
	}
	return strings.TrimSpace(string(b))
}
