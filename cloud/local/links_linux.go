package local

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// linkName is how our bridges and the host's ends of our NICs are called.
var linkName = regexp.MustCompile(`^nm[bv][0-9a-f]{8}$`)

// newLinkName returns a name that is free with near certainty.
func newLinkName(prefix string) string {
	var b [4]byte
	rand.Read(b[:])
	return fmt.Sprintf("%s%x", prefix, b)
}

// The tag of a link says whose it is, to people and to the sweeper.
const (
	tagStart = "nimbus launch "
	tagMost  = 255 // the kernel's IFALIASZ, less the final zero
)

func tag(launch, network string) string {
	t := tagStart + launch + " network " + network
	return t[:min(len(t), tagMost)]
}

// tagged returns the launch that a tag names.
func tagged(alias string) (launch string, ok bool) {
	rest, ok := strings.CutPrefix(alias, tagStart)
	launch, _, _ = strings.Cut(rest, " ")
	return launch, ok
}

// claim makes this process the owner of a launch's links, for as long as it
// lives or until the claim is closed. It is a socket name that belongs to the
// network namespace, as links do: so whoever sees the links can see whether
// their owner lives, and nothing of it needs to be cleaned up.
func claim(launch string) (net.Listener, error) {
	return net.Listen("unix", "@nimbus-launch-"+launch)
}

// lockNetwork keeps other keepers from choosing networks at the same time. The
// lock is on the network namespace itself: it is per machine, root's and other
// users' processes agree on it, and no lock file is left.
func lockNetwork() (unlock func(), err error) {
	f, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	const patience = 10 * time.Second
	for end := time.Now().Add(patience); ; time.Sleep(poll) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if err != unix.EWOULDBLOCK || time.Now().After(end) {
			f.Close()
			return nil, fmt.Errorf("lock the network namespace: %w", err)
		}
	}
}

// sweepLinks removes the bridges of launches whose keeper is gone. The other
// links, to sandboxes, went with the sandboxes.
func sweepLinks() {
	if apart() {
		return // each keeper's were in a network namespace of its own
	}
	if len(orphans()) == 0 {
		return // the usual case takes no lock
	}
	// Under the lock nobody is between making a bridge and tagging it.
	unlock, err := lockNetwork()
	if err != nil {
		return
	}
	defer unlock()
	for _, l := range orphans() {
		netlink.LinkDel(l)
	}
}

// orphans are our bridges without a living owner, or without a tag.
func orphans() []netlink.Link {
	all, _ := dump(netlink.LinkList)
	owned := map[string]bool{} // launch → has an owner
	var found []netlink.Link
	for _, l := range all {
		if l.Type() != "bridge" {
			continue
		}
		launch, ok := tagged(l.Attrs().Alias)
		if !ok {
			if l.Attrs().Alias == "" && linkName.MatchString(l.Attrs().Name) {
				found = append(found, l)
			}
			continue
		}
		if _, known := owned[launch]; !known {
			c, err := claim(launch)
			owned[launch] = err != nil
			if err == nil {
				defer c.Close() // not free for a new owner while we look
			}
		}
		if !owned[launch] {
			found = append(found, l)
		}
	}
	return found
}

// dump asks the kernel for a list, again when it changed under way.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	for range 50 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// removeGroup removes all links of a group at once, which takes the kernel
// hardly longer than one.
func removeGroup(group uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove links: %w", err)
	}
	return nil
}

// quiet turns IPv6 off on a link of the host, before it is up: nobody uses it
// and the kernel would announce itself to all sandboxes.
func quiet(link string) {
	setSysctl("net/ipv6/conf/"+link+"/disable_ipv6", "1")
}

// setSysctl sets a kernel parameter where the kernel has it.
func setSysctl(name, value string) {
	os.WriteFile("/proc/sys/"+name, []byte(value), 0)
}
