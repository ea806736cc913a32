// Package install puts Nimbus into a machine, or into an image that is mounted
// somewhere, and takes it out again.
package install
