// Package index matches events against subscriptions in memory. It keeps an
// immutable table behind an atomic pointer, updated by what the config store
// commits; readers never lock and never wait.
//
// It does not decide what is delivered when, and holds nothing that must
// survive: a restart builds it anew. See DESIGN.md.
package index
