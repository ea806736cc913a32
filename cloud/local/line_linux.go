package local

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A line is a connection between two processes of this package. It carries
// JSON values, and open files along with them.
type line struct {
	conn  *net.UnixConn
	dec   *json.Decoder
	left  int64      // bytes that may still come
	files []*os.File // came along and were not handed out yet
}

// mostFiles is how many open files may come with one value: a program's
// standard input, output and errors.
const mostFiles = 3

// anyLength is for a peer that is trusted.
const anyLength = math.MaxInt64

var errTooMuch = errors.New("the other side says too much")

// newLine listens to a peer that may say so many bytes in all.
func newLine(conn *net.UnixConn, most int64) *line {
	l := &line{conn: conn, left: most}
	l.dec = json.NewDecoder(l)
	return l
}

// receive waits for a value and returns the files that came with it, which are
// the caller's to close.
func (l *line) receive(v any) ([]*os.File, error) {
	err := l.dec.Decode(v)
	files := l.files
	l.files = nil
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// Read takes files in as it reads, for the decoder. The kernel never hands out
// those of two messages at once.
func (l *line) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooMuch
	}
	oob := make([]byte, unix.CmsgSpace(4*mostFiles))
	n, oobn, _, _, err := l.conn.ReadMsgUnix(b[:min(int64(len(b)), l.left)], oob)
	n = max(n, 0) // -1 after an error
	l.left -= int64(n)
	l.take(oob[:oobn])
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func (l *line) take(oob []byte) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if len(l.files) == mostFiles {
				unix.Close(fd)
				continue
			}
			l.files = append(l.files, os.NewFile(uintptr(fd), "passed"))
		}
	}
}

// send says a value and passes open files along, which block from then on.
func send(conn *net.UnixConn, v any, files ...*os.File) error {
	defer runtime.KeepAlive(files) // collected before they are sent, they would be closed
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	return sendFDs(conn, v, fds...)
}

// sendFDs is send for files that the caller keeps open.
func sendFDs(conn *net.UnixConn, v any, fds ...int) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	n := 0
	if len(fds) > 0 {
		n, _, err = conn.WriteMsgUnix(text, unix.UnixRights(fds...), nil)
	}
	// Not even nothing may be written to one who has answered and left.
	if err == nil && n < len(text) {
		_, err = conn.Write(text[n:])
	}
	return err
}

// conversation returns the two ends of a private connection: one to talk on,
// and one to give away.
func conversation() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "theirs")
	if ours, err = connection(os.NewFile(uintptr(fds[0]), "ours")); err != nil {
		theirs.Close()
	}
	return ours, theirs, err
}

// connection makes a file that is a socket a connection; the file is closed.
func connection(f *os.File) (*net.UnixConn, error) {
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, err
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errors.New("this is no Unix socket")
	}
	return u, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
