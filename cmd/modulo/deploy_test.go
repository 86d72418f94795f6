package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"modulo/internal/config"
)

// These tests keep deploy/ true to the program. What else was checked of it is in deploy/README.md.

// repository is where deploy/ lies, seen from here.
const repository = "../.."

func readFile(t *testing.T, name ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{repository}, name...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documents reads all YAML of a folder of deploy/. A key that is there twice is an error of the reader.
func documents(t *testing.T, folder string) (all []any) {
	t.Helper()
	for _, file := range yamlFiles(t, folder) {
		text := readFile(t, "deploy", file)
		for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
			var document any
			err := decoder.Decode(&document)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all = append(all, document)
		}
	}
	return all
}

// yamlFiles are the YAML files below a folder of deploy/, as paths in deploy/.
func yamlFiles(t *testing.T, folder string) (files []string) {
	t.Helper()
	deploy := filepath.Join(repository, "deploy")
	err := filepath.WalkDir(filepath.Join(deploy, folder), func(path string, _ fs.DirEntry, err error) error {
		if relative, _ := filepath.Rel(deploy, path); filepath.Ext(path) == ".yaml" {
			files = append(files, relative)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d YAML files in %s: %v", len(files), folder, err)
	}
	return files
}

// under returns what stands under a key, anywhere in a document.
func under(document any, key string) (found []any) {
	switch node := document.(type) {
	case map[string]any:
		for name, value := range node {
			if name == key {
				found = append(found, value)
			}
			found = append(found, under(value, key)...)
		}
	case []any:
		for _, value := range node {
			found = append(found, under(value, key)...)
		}
	}
	return found
}

func texts(values []any) []string {
	all := make([]string, len(values))
	for i, value := range values {
		all[i] = fmt.Sprint(value)
	}
	return all
}

// setting is a line "key=value" of a systemd unit.
func setting(t *testing.T, unit, key string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindStringSubmatch(readFile(t, "deploy", "systemd", unit))
	if found == nil {
		t.Fatalf("%s: no %s", unit, key)
	}
	return found[1]
}

// TestDeployedConfigurations: every modulo.yaml is accepted, with the variables and the password file it is given there.
func TestDeployedConfigurations(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"DATABASE_URL": "postgres://modulo@db/app", "CREDENTIALS_DIRECTORY": "/run/credentials/modulo.service"}
	lookup := func(name string) (string, bool) { value, ok := environment[name]; return value, ok }
	passwordFile := regexp.MustCompile(`(password_file: ).*`)
	password := write(t, "password", "secret\n")
	files := slices.DeleteFunc(yamlFiles(t, "."), func(file string) bool { return filepath.Base(file) != "modulo.yaml" })
	if len(files) != 4 {
		t.Errorf("configurations: %v", files)
	}
	for _, file := range files {
		text := readFile(t, "deploy", file)
		here := write(t, "modulo.yaml", passwordFile.ReplaceAllString(text, "${1}"+password))
		c, err := config.Load(here, lookup, config.Overrides{})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if b := c.BrokerConfig(); b.Password != "secret" || b.Username != "modulo" {
			t.Errorf("%s: the broker's password is not read from a file", file)
		}
		if found := passwordFile.FindString(text); !strings.Contains(found, "/broker-password") {
			t.Errorf("%s: %s, want the file broker-password that it is given", file, found)
		}
	}
}

// TestDeployedCommands: the program knows the commands and flags that it is started with.
func TestDeployedCommands(t *testing.T) {
	t.Parallel()
	var commands [][]string
	for _, document := range append(documents(t, "kubernetes"), documents(t, "compose")...) {
		for _, list := range append(under(document, "args"), under(document, "command")...) {
			if words, ok := list.([]any); ok { // args of a build are a map
				commands = append(commands, texts(words))
			}
		}
	}
	for _, unit := range []string{"modulo.service", "modulo-migrate.service"} {
		commands = append(commands, strings.Fields(setting(t, unit, "ExecStart"))[1:])
	}
	if len(commands) != 6 {
		t.Errorf("commands: %q", commands)
	}
	for _, words := range commands {
		command, rest, err := (&app{}).rootCommand().Find(words)
		if err == nil {
			err = command.ParseFlags(rest)
		}
		if err == nil {
			err = command.ValidateArgs(command.Flags().Args())
		}
		if err != nil {
			t.Errorf("%q: %v", words, err)
		}
	}
}

// TestDeployedStops: whoever sends SIGTERM waits longer for the end than a stop takes.
func TestDeployedStops(t *testing.T) {
	t.Parallel()
	var graces []string
	for _, document := range documents(t, "kubernetes/base") {
		for _, seconds := range under(document, "terminationGracePeriodSeconds") {
			graces = append(graces, fmt.Sprint(seconds, "s"))
		}
	}
	for _, document := range documents(t, "compose") {
		for _, services := range under(document, "services") {
			for _, grace := range under(services.(map[string]any)["modulo"], "stop_grace_period") {
				graces = append(graces, fmt.Sprint(grace))
			}
		}
	}
	graces = append(graces, setting(t, "modulo.service", "TimeoutStopSec"))
	if len(graces) != 3 {
		t.Errorf("times to stop: %v", graces)
	}
	stop, err := time.ParseDuration((&app{}).runCommand().Flag("shutdown-timeout").DefValue)
	if err != nil {
		t.Fatal(err)
	}
	for _, grace := range graces {
		if patience, err := time.ParseDuration(grace); err != nil || patience <= stop {
			t.Errorf("a stop gets %s, and may take %s (%v)", grace, stop, err)
		}
	}
}

// TestDeployedExitCodes: nobody starts anew what ended because of wrong flags or configuration.
func TestDeployedExitCodes(t *testing.T) {
	t.Parallel()
	if codes := setting(t, "modulo.service", "RestartPreventExitStatus"); codes != fmt.Sprint(exitUsage) {
		t.Errorf("modulo.service: RestartPreventExitStatus=%s", codes)
	}
	var rules []string
	for _, document := range documents(t, "kubernetes/base") {
		for _, codes := range under(document, "onExitCodes") {
			rules = append(rules, fmt.Sprint(codes.(map[string]any)["values"]))
		}
	}
	if want := fmt.Sprint([]int{exitUsage, exitRefused}); len(rules) != 1 || rules[0] != want {
		t.Errorf("exit codes that fail the Job at once: %v, want %s", rules, want)
	}
}

// TestDeployedProbes: liveness looks at the process, readiness at what it needs.
func TestDeployedProbes(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"} {
		var paths []any
		for _, document := range documents(t, "kubernetes/base") {
			for _, probe := range under(document, kind) {
				paths = append(paths, under(probe, "path")...)
			}
		}
		if len(paths) != 1 || paths[0] != want {
			t.Errorf("%s: %v, want %s", kind, paths, want)
		}
	}
}

// TestDeployedImage: one name everywhere, and a build that sees all of the program.
func TestDeployedImage(t *testing.T) {
	t.Parallel()
	var images []string
	for _, document := range append(documents(t, "kubernetes/base"), documents(t, "compose")...) {
		images = append(images, texts(under(document, "image"))...)
	}
	ours := slices.DeleteFunc(images, func(image string) bool { return !strings.HasPrefix(image, "modulo") })
	if len(ours) != 4 || len(slices.Compact(ours)) != 1 {
		t.Errorf("images: %v", ours)
	}
	minor := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(readFile(t, "go.mod"))[1]
	if file := readFile(t, "deploy", "Dockerfile"); !strings.Contains(file, "golang:"+minor+"-") {
		t.Errorf("the Dockerfile is not built with Go %s of go.mod", minor)
	}
	visible := strings.Split(readFile(t, ".dockerignore"), "\n")
	entries, err := os.ReadDir(repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		packages, err := filepath.Glob(filepath.Join(repository, entry.Name(), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		if len(packages) > 0 && !slices.Contains(visible, "!"+entry.Name()) {
			t.Errorf(".dockerignore keeps %s from the build", entry.Name())
		}
	}
}
