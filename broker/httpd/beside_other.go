//go:build !linux

package httpd

import "net"

// beside says whether a connection comes from a process of this system, as all
// do where there are no namespaces.
func beside(net.Conn) bool { return true }
