package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"nimbus/cloud"
)

// serve answers one question on each connection.
func (k *keeper) serve(l *net.UnixListener) {
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			k.log.Error("accept", "error", err)
			time.Sleep(time.Second) // too many open files, say
			continue
		}
		go k.talk(conn)
	}
}

func (k *keeper) talk(conn *net.UnixConn) {
	defer conn.Close()
	known := beside(conn)
	most := int64(anyLength)
	if !known {
		most = maxReply
		conn.SetDeadline(time.Now().Add(quickPatience))
	}
	l := newLine(conn, most)
	var q question
	files, err := l.receive(&q)
	if err != nil {
		return // somebody looked whether we are here
	}
	q.files = files
	defer closeAll(files)
	if !known {
		k.log.Warn("refused a question from another pid namespace", "op", q.Op)
		json.NewEncoder(conn).Encode(answer{Error: errStranger})
		return
	}
	makes := q.Op == opPrepare || q.Op == opLaunch
	if !k.admit(makes) {
		json.NewEncoder(conn).Encode(answer{Ending: true})
		return
	}
	defer k.talks.Done()
	ctx, cancel := context.WithCancel(k.life)
	defer cancel()
	go func() {
		var word string
		files, err := l.receive(&word)
		closeAll(files)
		if err == nil {
			cancel()
		}
	}()
	a, err := k.answer(ctx, q)
	if makes {
		k.work.Done()
	}
	if a.Ended || makes && !k.isPrepared() {
		a.Ended = k.endIfEmpty()
	}
	if err != nil {
		k.log.Error(string(q.Op), "error", err)
		a.Error, a.Full = err.Error(), errors.Is(err, cloud.ErrNoCapacity)
	}
	conn.SetWriteDeadline(time.Now().Add(quickPatience)) // a client that hangs shall not hold up the end
	json.NewEncoder(conn).Encode(a)
}

// admit counts a question in, unless the keeper is ending.
func (k *keeper) admit(makes bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ending {
		return false
	}
	k.talks.Add(1)
	if makes {
		k.work.Add(1)
		k.making++
		k.asked = true
	}
	return true
}

func (k *keeper) answer(ctx context.Context, q question) (answer, error) {
	switch q.Op {
	case opPrepare:
		return k.prepare(q)
	case opLaunch:
		return k.launchAll(ctx, q)
	case opList:
		return k.list(), nil
	case opTerminate:
		found := k.find(q.IDs)
		k.remove(found)
		return answer{Ended: len(found) > 0}, nil // if that was all: see talk
	case opForward:
		return k.forward(q)
	case opRelease:
		return k.release()
	case opPid:
		return k.pid(q.IDs)
	case opExtend:
		return k.extend(q.Expires)
	case opEnter:
		return k.enter(q)
	}
	return answer{}, fmt.Errorf("unknown question %q: another version of Nimbus keeps this launch", q.Op)
}

// prepare makes networks and sets the deadline.
func (k *keeper) prepare(q question) (answer, error) {
	names := make([]string, 0, len(q.Networks))
	for name := range q.Networks {
		names = append(names, name)
	}
	slices.Sort(names)
	err := k.ensureNetworks(names)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.making--
	if err != nil {
		return answer{}, err
	}
	k.prepared = true
	if !q.Expires.IsZero() {
		k.expires = q.Expires
	}
	k.look()
	return answer{Hosts: k.hosts(), Apart: apart()}, nil
}

// hosts are this machine's addresses in the launch's networks. Caller holds mu.
func (k *keeper) hosts() []netip.Addr {
	var all []netip.Addr
	for _, n := range k.networks {
		all = append(all, n.host())
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

func (k *keeper) isPrepared() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.prepared
}

func (k *keeper) list() answer {
	k.mu.Lock()
	defer k.mu.Unlock()
	var a answer
	for _, i := range k.instances {
		a.Instances = append(a.Instances, i.Instance)
	}
	return a
}

func (k *keeper) release() (answer, error) {
	live := 0
	ended := k.endUnless(func() bool {
		live = k.making
		for _, i := range k.instances {
			if i.State != cloud.Ended && i.State != cloud.Failed {
				live++
			}
		}
		return live > 0
	})
	if !ended {
		return answer{}, fmt.Errorf("launch %s still has %d instances: terminate them first", k.launch, live)
	}
	return answer{Ended: true}, nil
}

func (k *keeper) pid(ids []string) (answer, error) {
	i, err := k.running(ids)
	if err != nil {
		return answer{}, err
	}
	return answer{Pid: i.cmd.Process.Pid}, nil
}

// extend gives the launch and all its instances another end.
func (k *keeper) extend(expires time.Time) (answer, error) {
	if !expires.After(time.Now()) {
		return answer{}, fmt.Errorf("%v is over", expires.Format(time.DateTime))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expires = expires
	for _, i := range k.instances {
		i.Expires = expires
	}
	k.look()
	return answer{}, nil
}

var errNotRunning = errors.New("it is not running")

// running returns the first of the instances that runs.
func (k *keeper) running(ids []string) (*instance, error) {
	found := k.find(ids)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range found {
		if i.State == cloud.Running {
			return i, nil
		}
	}
	return nil, errNotRunning
}

// find returns those of the instances that exist.
func (k *keeper) find(ids []string) []*instance {
	k.mu.Lock()
	defer k.mu.Unlock()
	var found []*instance
	for _, i := range k.instances {
		if slices.Contains(ids, i.ID) {
			found = append(found, i)
		}
	}
	return found
}

// endIfEmpty ends the launch when it has no instance any more, and says
// whether it has ended.
func (k *keeper) endIfEmpty() bool {
	return k.endUnless(func() bool { return len(k.instances) > 0 || k.making > 0 })
}

// end removes all that the launch has. It returns when nothing is left but
// this process.
func (k *keeper) end() {
	k.endUnless(func() bool { return false })
}

// endUnless ends the launch unless something is still needed of it, which is
// asked under the lock: nobody is admitted between the answer and the end.
func (k *keeper) endUnless(needed func() bool) (ended bool) {
	k.mu.Lock()
	if needed() {
		k.mu.Unlock()
		return false
	}
	already := k.ending
	k.ending = true
	k.mu.Unlock()
	if already {
		<-k.ended
		return true
	}
	k.kill()
	k.work.Wait()
	k.mu.Lock()
	instances := slices.Clone(k.instances) // none is added now, but some may be removed
	k.mu.Unlock()
	for _, i := range instances {
		<-i.done
	}
	if err := removeGroup(k.group); err != nil {
		k.log.Error("end", "error", err)
	}
	if err := removeLaunch(k.dir); err != nil {
		k.log.Error("end", "error", err)
	}
	close(k.ended)
	return true
}
