// Package command gets instances from a program of the operator's own, for
// clouds that Nimbus has no driver for. The program is called with a verb:
//
//	PROGRAM launch LAUNCH DIR   starts an instance for each directory DIR/TOKEN
//	PROGRAM list [LAUNCH]       prints what there is of a launch, or of all
//	PROGRAM terminate ID...     ends instances, and returns when they are gone
//	PROGRAM console ID          prints what an instance printed (optional)
//
// docs/clouds.md is the contract, word by word.
//
// What list prints is the truth: launch says by its exit code whether it got
// through, and the driver then asks what there is. So a program can fail, or
// be interrupted, anywhere, and what it started is still known. It has to tag
// its machines with launch and token; the rest of what a cloud.Instance says
// (name, image, time of creation) is in notes of the driver's own, and is
// missing where these are lost.
//
// The program's output comes from outside: it is bounded and checked strictly.
// User data are secrets: the program finds them in files below a directory of
// mode 0700, which is removed when it has returned. A call that is given up, or
// takes too long, ends with all processes of its group.
package command
