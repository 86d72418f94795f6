package local

import "syscall"

// signalOnParentDeath has the kernel send sig to the child when the thread that started it ends.
func signalOnParentDeath(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }
