//go:build race

package console

// raceDetector: it takes many times as long, so nothing is measured.
const raceDetector = true
