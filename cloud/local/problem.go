package local

// A Problem is what keeps this user from starting sandboxes here.
type Problem struct {
	Text   string // what does not work, and why
	Advice string // what to do about it; may be empty
}
