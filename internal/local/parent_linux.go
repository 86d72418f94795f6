package local

import "syscall"

// SignalOnParentDeath has the kernel send sig to the child when the thread that started it ends.
func SignalOnParentDeath(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }
