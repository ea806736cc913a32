// Package cloud says what Nimbus asks of a place that starts machines: launch
// these, what runs there, end these. It knows nothing of roles, contexts or
// brokers, and imports nothing of ours; every driver is a package below it.
package cloud

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"
)

// A Driver is one way to get instances. All methods may be called again after
// a failure: a request is known by its Token, an instance by its ID.
type Driver interface {
	// Launch starts one instance for each request and returns those that did
	// start, in the order of the requests, also when it fails as a whole. A
	// request whose token has an instance already starts nothing new: that
	// instance is returned.
	Launch(ctx context.Context, requests []Request) ([]Instance, error)
	// List returns the instances of one launch as the cloud knows them now;
	// with an empty launch, all that this user started with Nimbus.
	List(ctx context.Context, launch string) ([]Instance, error)
	// Terminate ends instances and returns when they are gone. An instance
	// that does not exist any more is success.
	Terminate(ctx context.Context, instances []Instance) error
}

// A Preparer has work to do once for each launch, before the first request:
// networks of the launch's own, say. Where instances reach this machine at an
// address that only exists afterwards, it is in the answer.
type Preparer interface {
	// Prepare makes what a launch needs. It may be repeated.
	Prepare(ctx context.Context, p Preparation) (Prepared, error)
	// Release undoes Prepare when no instance is left; Terminate of the last
	// instance does it too. Nothing prepared is success.
	Release(ctx context.Context, launch string) error
}

// Preparation says what a launch will need.
type Preparation struct {
	Launch   string
	Networks map[string]int // network name → how many NICs it will get
	Expires  time.Time      // when everything of the launch ends by itself; zero: not by itself
}

// Prepared is what Prepare made.
type Prepared struct {
	// Hosts are this machine's addresses as the launch's instances see it.
	Hosts []netip.Addr
	// Apart says that these addresses exist for the instances only, and that
	// nothing on this machine can listen there: a Forwarder leads in.
	Apart bool
}

// An Abandoner has machines that nobody ends but itself, and that may be gone
// for good without its knowing.
type Abandoner interface {
	// Abandon forgets the instances of a launch whose machines cannot be
	// reached now, and returns them, each with the reason. Whatever is there
	// stays; should such a machine come back, Terminate still ends what it has.
	Abandon(ctx context.Context, launch string) ([]Instance, error)
}

// A Forwarder lets the instances of a launch reach what they share no network
// with: a Unix socket on this machine.
type Forwarder interface {
	// Forward answers for the launch's instances at each of Prepared.Hosts and
	// passes every connection on to the socket, until the launch ends. What
	// listens there may come and go. It returns where instances connect to.
	Forward(ctx context.Context, launch, socket string) ([]netip.AddrPort, error)
}

// A Limiter knows before a launch what its cloud has room for. It changes
// nothing; somebody else may take the room before the launch does.
type Limiter interface {
	// Limits compares what a launch will need with what there is. The error
	// wraps ErrNoCapacity when that is too little.
	Limits(ctx context.Context, d Demand) ([]Limit, error)
}

// Demand is what a launch will need in all.
type Demand struct {
	Groups   map[string]int // group → how many instances
	Networks map[string]int // network name → how many NICs
}

// A Surveyor looks, before a launch, at the machines that it would get, where
// those are there already. It changes nothing.
type Surveyor interface {
	// Survey returns the error that the launch would meet.
	Survey(ctx context.Context, d Demand) error
}

// An Encloser's instances may have no way out: they reach this machine at
// Prepared.Hosts, and nothing else.
type Encloser interface {
	Encloses() bool
}

// Limit is one bound of a cloud.
type Limit struct {
	What  string `json:"what"` // in words, in the plural: `NICs in network "public"`
	Asked int    `json:"asked"`
	Most  int    `json:"most"`
}

// A Networker can say which network names its users may write in a NIC.
type Networker interface {
	Networks(ctx context.Context) ([]Network, error)
}

// An Imager can say which image names its users may write.
type Imager interface {
	Images(ctx context.Context) ([]Image, error)
}

// A Consoler has what an instance printed since it started.
type Consoler interface {
	Console(ctx context.Context, instance Instance) ([]byte, error)
}

// An Extender ends instances by itself when their time is over, and can be
// given another time. A driver that is none never ends them.
type Extender interface {
	// Extend moves the end of everything of a launch. An earlier end than
	// before is allowed, one in the past is not.
	Extend(ctx context.Context, launch string, expires time.Time) error
}

// An Enterer can run a program inside an instance without the network.
type Enterer interface {
	// Enter runs a program as root and returns its exit code: 128 and the
	// signal's number when one ended it. The program ends with ctx.
	Enter(ctx context.Context, instance Instance, p Program) (code int, err error)
}

// Program is what Enter runs.
type Program struct {
	Command []string  // looked up in the instance's PATH; empty: root's login shell
	Stdin   io.Reader // nil: empty
	Stdout  io.Writer // with a terminal, everything that the program writes
	Stderr  io.Writer
	// Terminal gives the program a terminal of its own; nil: none.
	Terminal *Terminal
}

// Terminal describes the terminal that a program gets.
type Terminal struct {
	Type   string      // TERM
	Size   Size        // at first
	Resize <-chan Size // later ones; nil: it stays
}

// Size of a terminal in characters.
type Size struct{ Width, Height int }

// An Equipper brings the agent into its instances by itself. Their user data is
// the bare bootstrap document: nothing has to be fetched, nor run, by what the
// image has for user data.
type Equipper interface {
	// Equips tells whether it does that for the instances of an image.
	Equips(image string) bool
}

// A Checker can tell beforehand what would keep its cloud from being used from
// here: rights, credentials, quota. It changes nothing.
type Checker interface {
	Check(ctx context.Context) []Finding
}

// Finding is one thing that a check looked at.
type Finding struct {
	Level  Level  `json:"level"`
	Text   string `json:"text"`           // what was looked at and how it is, one line
	Advice string `json:"hint,omitempty"` // what to do; Warn and Fail have it
}

// Level says how much a finding matters.
type Level string

// The levels of findings.
const (
	Fine Level = "ok"
	Info Level = "info" // neither good nor bad
	Warn Level = "warn" // some things will not work
	Fail Level = "fail" // a launch will not
)

// Request asks for one instance.
type Request struct {
	Launch     string    // random id of the launch, the tag by which List finds it
	Token      string    // unique in the launch; the same token again starts nothing new
	Name       string    // full host name, "head-0.cluster-001"
	Group      string    // what instances that are alike have in common: their workspace
	Index      int       // of the instance in its group, from 0
	Image      string    // as the user wrote it; the driver resolves it
	Networks   []string  // network name of each NIC, in order
	UserData   []byte    // given to the instance as it is
	PublicKeys []string  // authorized_keys lines for the login user
	Expires    time.Time // when the instance ends by itself; zero where the driver is no Extender
}

// Instance is a machine that a cloud started.
type Instance struct {
	ID        string    `json:"id"` // unique in this cloud
	Launch    string    `json:"launch"`
	Token     string    `json:"token"`
	Name      string    `json:"name"`
	Image     string    `json:"image"`
	State     State     `json:"state"`
	Reason    string    `json:"reason,omitempty"` // why it is Failed, in the cloud's words
	Addresses []Address `json:"addresses"`        // one for each NIC, in order
	Login     string    `json:"login"`            // user name that PublicKeys let in by SSH; empty: nobody gets in that way
	HostKey   string    `json:"host_key,omitempty"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires,omitzero"` // zero: not by itself
}

// Address is where one NIC of an instance can be reached.
type Address struct {
	Network string     `json:"network"`
	IP      netip.Addr `json:"ip"`
}

// State of an instance, the few that every cloud can be mapped to.
type State string

// The states of an instance.
const (
	Starting State = "starting"
	Running  State = "running"
	Ended    State = "ended"
	Failed   State = "failed"
)

// Network is a name for NICs and what it means here.
type Network struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// Image is a name for images and what it means here.
type Image struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// ErrNoCapacity marks a launch that the cloud has no room or quota for.
var ErrNoCapacity = errors.New("no capacity")
