package ssh

import (
	"bufio"
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"nimbus/cloud"
)

// maxFollowed is how much of an agent's log is passed on, in bytes: a host must
// not fill this machine's disk.
const maxFollowed = 16 << 20

// maxLine bounds a line of an agent's log in bytes; longer ones are cut into
// several.
const maxLine = 32 << 10

// follow passes what an agent logs from an offset on to Options.Log. A negative
// offset is the end.
func (d *Driver) follow(i cloud.Instance, h Host, offset int64) {
	if d.o.Log == nil {
		return
	}
	d.inBackground(follows, i.ID, func(ctx context.Context) {
		room := int64(maxFollowed)
		for pause := firstPause; ; pause = min(2*pause, maxPause) {
			if conn, err := d.conns.to(ctx, h); err == nil {
				if offset < 0 {
					offset = conn.logSize(ctx)
				}
				if n := conn.follow(ctx, offset, room, func(line string) { d.o.Log(h.String(), line) }); n > 0 {
					offset += n
					room -= n
					pause = firstPause
				}
			}
			if room <= 0 {
				d.said(h, "its agent logs more than %d MiB: the rest is not taken along", maxFollowed>>20)
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
	})
}

// logSize is how long the log is now; less than nothing where that is not known.
func (c *connection) logSize(ctx context.Context) int64 {
	a, err := c.ask(ctx, "logsize", nil, nil)
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(a["log"], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// follow passes lines on until the connection breaks or there is no room for
// more, and returns how many bytes they had.
func (c *connection) follow(ctx context.Context, offset, room int64, line func(string)) (n int64) {
	if offset < 0 {
		return 0
	}
	s, err := c.session(ctx)
	if err != nil {
		return 0
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	in, err := s.StdinPipe()
	if err != nil {
		return 0
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return 0
	}
	text := program("follow", values{"offset": strconv.FormatInt(offset, 10)})
	if err := s.Start(command(len(text), c.as.prefix())); err != nil {
		return 0
	}
	if _, err := io.WriteString(in, text); err != nil { // the rest never comes
		return 0
	}
	lines := bufio.NewReaderSize(out, maxLine)
	for {
		part, err := lines.ReadSlice('\n')
		if len(part) > 0 && (err == nil || err == bufio.ErrBufferFull) {
			n += int64(len(part))
			line(strings.TrimSuffix(string(part), "\n"))
		}
		if err != nil && err != bufio.ErrBufferFull || n >= room {
			return n
		}
	}
}
