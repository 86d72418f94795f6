package testservers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"modulo/internal/local"
)

// Java is a program for ActiveMQ's own client, in one file per public class.
type Java struct {
	Sources map[string]string // by the name of the public class
	Jars    []string          // below /usr/share/java, without .jar, besides those of the client
}

// compile compiles Java files into a folder of classes.
func compile(ctx context.Context, classPath, folder string, files ...string) error {
	args := append([]string{"-proc:none", "-cp", classPath, "-d", folder}, files...)
	if out, err := exec.CommandContext(ctx, "javac", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("javac (Debian's package is default-jdk-headless): %w\n%s", err, out)
	}
	return nil
}

// java runs the main of a class in a virtual machine that starts quickly.
func java(ctx context.Context, classPath, class string, args ...string) *exec.Cmd {
	args = append([]string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classPath, class}, args...)
	return exec.CommandContext(ctx, "java", args...)
}

// Compile compiles it and returns the class path to run it with.
func (j Java) Compile(t testing.TB) (classPath string) {
	t.Helper()
	dir := t.TempDir()
	classPath = local.ClientJars()
	for _, jar := range j.Jars {
		file := "/usr/share/java/" + jar + ".jar"
		if _, err := os.Stat(file); err != nil {
			t.Fatalf("%v: make install installs the Debian package that has it", err)
		}
		classPath += ":" + file
	}
	var files []string
	for name, source := range j.Sources {
		file := filepath.Join(dir, name+".java")
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if err := compile(t.Context(), classPath, dir, files...); err != nil {
		t.Fatal(err)
	}
	return dir + ":" + classPath
}

// Run compiles it and runs the main of a class to its end, with these variables besides the environment.
func (j Java) Run(t testing.TB, class string, env ...string) {
	t.Helper()
	cmd := java(t.Context(), j.Compile(t), class)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", class, err, strings.TrimSpace(string(out)))
	}
}
