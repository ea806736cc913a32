// Package software knows which builds of this program are at hand, for which
// platform, and what they must look like: the broker hands them out, and the
// client copies them to hosts.
package software
