package stats

import (
	"math"
	"time"
)

const (
	// growth is how much longer the times of one bucket are than those of the
	// one before. The middle of a bucket is within √growth, 9.6 %, of all of it.
	growth = 1.2
	// minTook and maxTook are the shortest and the longest time that are told
	// from others: what is beyond counts as one of them.
	minTook = time.Millisecond
	maxTook = 10 * time.Minute
	// buckets reach from minTook to maxTook: log(600,000) / log(1.2) = 72.98.
	buckets = 73
)

var logGrowth = math.Log(growth)

// bucketOf is the bucket of a time.
func bucketOf(took time.Duration) int {
	if took <= minTook {
		return 0
	}
	return min(int(math.Log(float64(took)/float64(minTook))/logGrowth), buckets-1)
}

// middles are what the buckets stand for, in milliseconds.
var middles = func() (m [buckets]float64) {
	for i := range m {
		m[i] = math.Pow(growth, float64(i)+0.5)
	}
	return m
}()

// histogram counts times by bucket.
type histogram [buckets]int64

// quantile is the time that the share q of all is not longer than, in
// milliseconds.
func (h *histogram) quantile(q float64, total int64) float64 {
	rank := max(int64(math.Ceil(q*float64(total))), 1)
	for i, n := range h {
		if rank -= n; rank <= 0 {
			return math.Round(middles[i]*100) / 100
		}
	}
	return 0
}
