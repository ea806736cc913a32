package progress

// State is how far one node has come.
type State int

// The states of a node, in the order in which bars and sums show them.
const (
	NodeOK          State = iota
	NodeConfiguring       // it has its answer, its scripts run
	NodeJoined            // it waits for others
	NodeBooted            // its instance runs
	NodeLaunched          // the cloud has taken the request
	NodeRequested
	NodeFailed
	states
)

// Counts is how many nodes are in each state.
type Counts [states]int

func (c Counts) total() (n int) {
	for _, count := range c {
		n += count
	}
	return n
}

func (c Counts) undone() int { return c.total() - c[NodeOK] - c[NodeFailed] }

func (c Counts) plus(other Counts) Counts {
	for s := range c {
		c[s] += other[s]
	}
	return c
}

// A face is how a state looks: a character of its own, so that colour is never
// needed to tell two apart.
type face struct {
	word    string
	unicode string
	ascii   string
	color   string // SGR parameters
}

var faces = [states]face{
	NodeOK:          {"ok", "█", "#", "32"},
	NodeConfiguring: {"configuring", "▓", ">", "33"},
	NodeJoined:      {"joined", "▒", "=", "36"},
	NodeBooted:      {"booted", "░", "-", "94"},
	NodeLaunched:    {"launched", "▁", ":", "90"},
	NodeRequested:   {"requested", "·", ".", "90"},
	NodeFailed:      {"failed", "╳", "!", "1;31"},
}

// cells shares the width of a bar among the states: in proportion, and one at
// least for a state that has any node. A bar that is full of ok means that all
// are.
func cells(c Counts, width int) Counts {
	var share Counts
	total, sum := c.total(), 0
	if total == 0 || width < int(states) {
		return share
	}
	for s, n := range c {
		if n > 0 {
			share[s] = max(1, n*width/total)
			sum += share[s]
		}
	}
	for ; sum != width; sum += sign(width - sum) {
		best := -1
		for s, n := range c {
			if n == 0 || sum > width && share[s] == 1 {
				continue
			}
			// Who is furthest from its due gets one more, or gives one away.
			if best < 0 || sign(width-sum)*(n*width-share[s]*total) > sign(width-sum)*(c[best]*width-share[best]*total) {
				best = s
			}
		}
		share[best] += sign(width - sum)
	}
	return share
}

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}
