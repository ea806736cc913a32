//go:build linux

package local

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"nimbus/cloud/cloudtest"
)

// tryKeys is this binary as a program that wants the kernel's keyrings.
const tryKeys = "try-keys"

func tryKeysMain() {
	_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)
	fmt.Println("keyctl:", err)
	id, err := unix.AddKey("user", "nimbus-test", []byte("x"), unix.KEY_SPEC_USER_KEYRING)
	fmt.Println("add_key:", err)
	if err == nil {
		defer unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0)
	}
	_, err = unix.RequestKey("user", "nimbus-test", "", 0)
	fmt.Println("request_key:", err)
}

// Keyrings belong to users, and root in a sandbox is the host's root to them.
func TestKeyrings(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, Options{
		SSHD:  "none",
		Files: []File{{Source: self, Target: "/opt/nimbus/test", ReadOnly: true}},
		Boot:  []string{"/opt/nimbus/test", tryKeys},
	})
	i := started(t, d, wanted(cloudtest.Token(), "keys", "x"))[0]
	var said []byte
	eventually(t, "all three were tried", func() bool {
		said, err = d.Console(t.Context(), i)
		return err == nil && bytes.Contains(said, []byte("boot command ended"))
	})
	for _, call := range []string{"keyctl", "add_key", "request_key"} {
		if !bytes.Contains(said, []byte(call+": operation not permitted\n")) {
			t.Errorf("%s was not refused:\n%s", call, said)
		}
	}
}

// What the kernel runs for other architectures leads to the same keyrings.
func TestKeyFilter(t *testing.T) {
	for _, c := range []struct {
		arch, number uint32
		refused      bool
	}{
		{unix.AUDIT_ARCH_X86_64, 247, false}, // waitid
		{unix.AUDIT_ARCH_X86_64, 248, true},
		{unix.AUDIT_ARCH_X86_64, 250, true},
		{unix.AUDIT_ARCH_X86_64, 251, false}, // ioprio_set
		{unix.AUDIT_ARCH_X86_64, 0, false},
		{unix.AUDIT_ARCH_X86_64, 250 | x32, true},
		{unix.AUDIT_ARCH_X86_64, 288, false}, // accept4
		{unix.AUDIT_ARCH_I386, 288, true},
		{unix.AUDIT_ARCH_I386, 250, false}, // fadvise64
		{unix.AUDIT_ARCH_AARCH64, 219, true},
		{unix.AUDIT_ARCH_AARCH64, 220, false}, // clone
		{unix.AUDIT_ARCH_ARM, 311, true},
		{unix.AUDIT_ARCH_MIPS, 250, false},
	} {
		answer := filtered(t, keyFilter(), c.arch, c.number)
		if want := map[bool]uint32{true: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), false: unix.SECCOMP_RET_ALLOW}[c.refused]; answer != want {
			t.Errorf("call %d of architecture %x: %x, want %x", c.number, c.arch, answer, want)
		}
	}
}

// filtered runs a filter as the kernel would.
func filtered(t *testing.T, filter []unix.SockFilter, arch, number uint32) uint32 {
	t.Helper()
	var a uint32
	for at := 0; at < len(filter); at++ {
		switch f := filter[at]; f.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = map[uint32]uint32{offsetNumber: number, offsetArch: arch}[f.K]
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= f.K
		case unix.BPF_ALU | unix.BPF_SUB | unix.BPF_K:
			a -= f.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			at += jump(f, a == f.K)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			at += jump(f, a > f.K)
		case unix.BPF_RET | unix.BPF_K:
			return f.K
		default:
			t.Fatalf("instruction %d: what is %x?", at, f.Code)
		}
	}
	t.Fatal("the filter has no end")
	return 0
}

func jump(f unix.SockFilter, is bool) int {
	if is {
		return int(f.Jt)
	}
	return int(f.Jf)
}
