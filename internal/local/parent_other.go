//go:build unix && !linux

package local

import "syscall"

// signalOnParentDeath does nothing: only Linux can. Elsewhere a crash of this program leaves its servers running.
func signalOnParentDeath(*syscall.SysProcAttr, syscall.Signal) {}
