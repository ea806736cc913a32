// Package command gets instances from a program of the operator's own, for
// clouds that Nimbus has no driver for.
package command
