// Package stats keeps figures of what this node attempted within the last
// hour, per account and profile, in memory and in slots of a minute.
//
// A restart begins anew; nothing depends on the figures.
package stats
