package local

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keyCalls are the numbers of add_key, request_key and keyctl, which follow
// each other everywhere. The kernel also runs programs of an older
// architecture; their calls lead to the same keys.
var keyCalls = []struct{ arch, first uint32 }{
	{unix.AUDIT_ARCH_X86_64, 248},
	{unix.AUDIT_ARCH_I386, 286},
	{unix.AUDIT_ARCH_AARCH64, 217},
	{unix.AUDIT_ARCH_ARM, 309},
	{unix.AUDIT_ARCH_RISCV64, 217},
	{unix.AUDIT_ARCH_LOONGARCH64, 217},
	{unix.AUDIT_ARCH_PPC64LE, 269},
	{unix.AUDIT_ARCH_S390X, 278},
}

// x32 marks calls of the x86 programs with small pointers: the same numbers.
const x32 = 1 << 30

// What a filter sees of a call begins with these.
const (
	offsetNumber = 0
	offsetArch   = 4
)

// keyFilter answers EPERM to these calls, and lets all others pass.
func keyFilter() []unix.SockFilter {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		more   = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
		and    = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		minus  = unix.BPF_ALU | unix.BPF_SUB | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
	)
	filter := []unix.SockFilter{{Code: load, K: offsetArch}}
	for _, c := range keyCalls {
		filter = append(filter,
			unix.SockFilter{Code: equal, K: c.arch, Jf: 6}, // else the next architecture
			unix.SockFilter{Code: load, K: offsetNumber},
			unix.SockFilter{Code: and, K: ^uint32(x32)},
			unix.SockFilter{Code: minus, K: c.first}, // what is below is very large then
			unix.SockFilter{Code: more, K: 2, Jf: 1},
			unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW},
			unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		)
	}
	return append(filter, unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW})
}

// refuseKeys keeps this thread, and all that comes from it, from the kernel's
// keyrings: no namespace divides those, so root in a sandbox would have host
// root's. It needs CAP_SYS_ADMIN, as setuid programs shall go on working.
func refuseKeys() error {
	filter := keyFilter()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, uintptr(unsafe.Pointer(&program)))
	switch {
	case errno == 0:
		return nil
	case errors.Is(errno, unix.ENOSYS), errors.Is(errno, unix.EINVAL):
		fmt.Fprintln(os.Stderr, "nimbus: this kernel filters no system calls: its keyrings are open to the sandbox")
		return nil
	}
	return fmt.Errorf("refuse the kernel's keyrings: %w", errno)
}
