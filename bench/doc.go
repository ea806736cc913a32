// Package bench holds benchmarks that measure Nimbus as its users meet it:
// whole commands, from the start to the end. make bench runs them.
package bench
