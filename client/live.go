package client

import (
	"time"

	"nimbus/client/progress"
)

// repaint is how often a terminal is looked after while rows are on it: the
// time goes on, the window changes, and what came too fast is still to be
// shown.
const repaint = 100 * time.Millisecond

// show puts a frame on the screen and keeps it true; nil takes it away.
func (o *output) show(f *progress.Frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f == nil {
		o.stopRepaint()
		o.screen.Hide()
		return
	}
	o.screen.Show(f)
	if o.log != nil {
		o.log.Show(f)
	}
	if _, is := o.screen.(*progress.Terminal); is && o.still == nil {
		o.startRepaint()
	}
}

// settle leaves the rows where they are, as plain text.
func (o *output) settle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopRepaint()
	o.screen.Settle()
}

func (o *output) startRepaint() {
	end := make(chan struct{})
	o.still = func() { close(end) }
	ticker := time.NewTicker(repaint)
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				o.mu.Lock()
				o.screen.Tick() // nothing, when the frame has just been taken away
				o.mu.Unlock()
			case <-end:
				return
			}
		}
	}()
}

func (o *output) stopRepaint() {
	if o.still != nil {
		o.still()
		o.still = nil
	}
}
