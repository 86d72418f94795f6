package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// The kernel counts CPU time in hundredths of a second, see proc(5).
const clockTick = 10 * time.Millisecond

// Fields of /proc/PID/stat, counted from the state, which is the third.
const (
	statParent   = 4 - 3
	statUser     = 14 - 3
	statSystem   = 15 - 3
	statChildren = 16 - 3 // user and system time of children that have ended
	statFields   = 18 - 3
)

func readStat(pid string) ([statFields]int64, error) {
	var values [statFields]int64
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return values, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	for i := 1; i < statFields && i < len(fields); i++ {
		if values[i], err = strconv.ParseInt(string(fields[i]), 10, 64); err != nil {
			return values, fmt.Errorf("stat of process %s: %w", pid, err)
		}
	}
	return values, nil
}

// processCPU is what a process has used.
func processCPU(pid int) (time.Duration, error) {
	stat, err := readStat(strconv.Itoa(pid))
	return time.Duration(stat[statUser]+stat[statSystem]) * clockTick, err
}

// familyCPU is what a process and its children have used, also those that have ended.
func familyCPU(pid int) (time.Duration, error) {
	stat, err := readStat(strconv.Itoa(pid))
	if err != nil {
		return 0, err
	}
	ticks := stat[statUser] + stat[statSystem] + stat[statChildren] + stat[statChildren+1]
	processes, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, file := range processes {
		child, err := readStat(filepath.Base(filepath.Dir(file)))
		if err == nil && child[statParent] == int64(pid) { // else it has ended meanwhile
			ticks += child[statUser] + child[statSystem]
		}
	}
	return time.Duration(ticks) * clockTick, nil
}

// peakMemory is the most physical memory that a process had, in bytes.
func peakMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			var kilobytes int64
			_, err := fmt.Sscanf(string(value), "%d kB", &kilobytes)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("status of process %d: no VmHWM", pid)
}
