//go:build unix && !linux

package local

import "syscall"

// SignalOnParentDeath does nothing: only Linux can. Elsewhere a crash of this program leaves its servers running.
func SignalOnParentDeath(*syscall.SysProcAttr, syscall.Signal) {}
