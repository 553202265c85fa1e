// Package webhook makes one attempt: it checks the address, connects, adds the
// credentials, sends, and says what came of it. It is the only package that
// dials out of the cluster: deliveries, token requests and connection tests go
// through one guard.
//
// It does not decide when to try again, keeps no queue and reads no config:
// see package dispatch. DESIGN.md has the reasons.
package webhook
