package phase

// A Group is the processes of a script that runs. Whoever keeps it can end
// them after an agent was killed and could not.
type Group struct {
	ID    int    `json:"id"`             // of the process group, and of its first process
	Start string `json:"start"`          // when that process began: numbers are given out again
	Boot  string `json:"boot,omitempty"` // of the machine
}
