// Package browsertest looks at the console with a real browser: a headless
// Chromium with one tab per test, axe-core, and what a page asked for and
// complained about. All of it has the build tag browser; only tests use it.
package browsertest
