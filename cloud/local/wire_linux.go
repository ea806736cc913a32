package local

import (
	"net/netip"
	"os"
	"time"

	"nimbus/cloud"
)

// beginning is what the client tells a keeper that it starts, on its standard
// input.
type beginning struct {
	Launch  string
	Dir     string
	Subnets netip.Prefix
}

// question is what a client asks a keeper: one on each connection. A launch
// that the client gives up is told so by a second value on the connection; a
// client that just went away has not given up.
type question struct {
	Op       op
	Networks map[string]int // prepare
	Expires  time.Time      // prepare, extend
	Requests []request      // launch
	Common   common         // launch
	IDs      []string       // terminate, pid, enter
	Socket   string         // forward

	files []*os.File // go along; enter: a connection for the first process
}

type op string

const (
	opPrepare   op = "prepare"
	opRelease   op = "release"
	opForward   op = "forward"
	opLaunch    op = "launch"
	opList      op = "list"
	opTerminate op = "terminate"
	opPid       op = "pid"
	opExtend    op = "extend"
	opEnter     op = "enter"
)

// request is a cloud's request with its image resolved.
type request struct {
	cloud.Request
	Root    string
	Scripts string
	Own     []string
}

// common is what all sandboxes of a launch question share.
type common struct {
	Files []File
	Links []Link
	Hide  []string
	Boot  []string
	SSHD  string
}

// answer is what the keeper says to a question.
type answer struct {
	Error     string           `json:",omitempty"`
	Full      bool             `json:",omitempty"` // the error is cloud.ErrNoCapacity
	Ending    bool             `json:",omitempty"` // the keeper takes no more questions: ask a new one
	Ended     bool             `json:",omitempty"` // this was the last: the keeper is about to exit
	Hosts     []netip.Addr     `json:",omitempty"`
	Apart     bool             `json:",omitempty"` // the hosts are in the keeper's network namespace only
	Doors     []netip.AddrPort `json:",omitempty"`
	Instances []cloud.Instance `json:",omitempty"`
	Pid       int              `json:",omitempty"`
}

// setup is what the keeper tells a sandbox's first process to build. It is
// answered by a verdict, and so is service.
type setup struct {
	Name    string
	Root    string // of the image
	Scripts string
	Own     []string // paths of the image that are shown all the same
	Scratch string   // a directory that is free to be covered by a mount
	Hide    []string
	Files   []File
	Links   []Link
	NICs    []nic
	Keys    []string // authorized_keys lines
	HostKey hostKey
}

// nic is one interface as the sandbox configures it.
type nic struct {
	Name   string
	Prefix netip.Prefix // own address, and how long the network's part is
}

// service is what the first process does once the sandbox is built.
type service struct {
	ID       string
	Name     string
	Image    string
	Address  netip.Addr // of the first NIC; zero when there is none
	UserData []byte
	Keys     []string
	Boot     []string
	SSHD     string
}

// verdict says how a step went; an empty error is success.
type verdict struct {
	Error string `json:",omitempty"`
	Login bool   `json:",omitempty"` // after service: an ssh server listens
}

// visit is what the keeper tells the first process of a client that wants to
// have a program run: it brings a connection with that client along. There the
// client says program, the first process answers with a verdict and, when the
// program is over, with ending. A client that closes its end, or only its
// sending half, ends the program.
type visit struct{}

// program is what a client wants to have run. It brings standard input, output
// and errors along, unless it wants a terminal, whose master comes back with
// the verdict.
type program struct {
	Command  [][]byte // may hold any bytes; empty: root's login shell
	Terminal *terminal
}

// terminal describes a terminal that is to be made.
type terminal struct {
	Type          string // TERM
	Width, Height int
}

// ending says how a program ended.
type ending struct{ Code int }
