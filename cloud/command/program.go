package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// find looks a program up, in PATH when it is a bare name, and sees whether it
// can begin at all: better now than after a launch was begun.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if errors.Is(err, exec.ErrDot) {
		return "", fmt.Errorf("program %q is in this directory by a PATH that has \".\": write its whole path", program)
	}
	if err != nil {
		return "", unfound(program, err)
	}
	// The program runs elsewhere.
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return path, nil // what may be run need not be readable
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	first, err := io.ReadAll(io.LimitReader(f, 256)) // the kernel reads no more
	if err != nil {
		return "", fmt.Errorf("program %s: %w", path, err)
	}
	line, _, _ := bytes.Cut(first, []byte("\n"))
	script := bytes.HasPrefix(line, []byte("#!"))
	switch {
	case len(first) == 0:
		return "", fmt.Errorf("program %s is empty", path)
	case script && bytes.HasSuffix(line, []byte("\r")):
		return "", fmt.Errorf("program %s has lines that end as on Windows; run: sed -i 's/\\r$//' %s", path, path)
	case !script && !bytes.ContainsRune(first, 0): // a text: the kernel would not know what to do with it
		return "", fmt.Errorf("program %s has no #! line; let it begin with #!/bin/sh", path)
	}
	return path, nil
}

// unfound says why there is no program of that name.
func unfound(program string, err error) error {
	words := strings.Fields(program)
	info, there := os.Stat(program)
	switch {
	case there == nil && info.IsDir():
		return fmt.Errorf("program %q is a directory", program)
	case there == nil && errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("program %s is not executable; run: chmod +x %s", program, program)
	case len(words) > 1 && there != nil:
		if _, err := exec.LookPath(words[0]); err == nil {
			return fmt.Errorf("there is no program %q; it is called without arguments of yours: write a script that calls %s with them", program, words[0])
		}
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("there is no program %q in PATH; one that is elsewhere is given by its path", program)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no program %q", program)
	}
	return err
}

// beginning is why a program could not be started by the kernel.
func beginning(err error) error {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return errors.New("it is no program for this machine")
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("it is not there, or the program that its #! line names is not")
	}
	return err
}
