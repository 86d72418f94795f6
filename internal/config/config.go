// Package config reads the configuration: defaults, then the file, then the environment, then the flags. It is read
// once, strictly: a key that is not known is an error that names its line.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"modulo/broker"
	"modulo/broker/stomp"
	"modulo/jobs"
	"modulo/store"
)

// Config is everything that can be set. Load returns it complete and checked.
type Config struct {
	Database  Database          `yaml:"database"`
	Broker    Broker            `yaml:"broker"`
	Ownership Ownership         `yaml:"ownership"`
	HTTP      HTTP              `yaml:"http"`
	Traces    string            `yaml:"traces"` // TracesOTLP or TracesOff; the rest is in the variables of OpenTelemetry
	Retention Retention         `yaml:"retention"`
	Jobs      map[string]rawJob `yaml:"jobs"`

	jobs     []*jobs.Job
	others   []*jobs.Job
	document yaml.Node // of the file
	over     Overrides
}

// Database says where the rows are.
type Database struct {
	// URL is a PostgreSQL connection string. Empty: the PG* variables of libpq.
	URL string `yaml:"url"`
	// ListenURL is for the one connection that listens, where URL leads through a pooler in transaction mode.
	ListenURL string `yaml:"listen_url"`
	MaxConns  int    `yaml:"max_conns"` // connections of this instance; each worker uses up to two at a time
	// StatementTimeout is how long one statement may take, from our side: a database that does not answer is noticed.
	StatementTimeout Duration `yaml:"statement_timeout"`
}

// Broker says where the messages go.
type Broker struct {
	URL            string   `yaml:"url"`
	Username       string   `yaml:"username"`
	Password       string   `yaml:"password"`
	PasswordFile   string   `yaml:"password_file"`
	VirtualHost    string   `yaml:"virtual_host"`
	Heartbeat      Duration `yaml:"heartbeat"` // both ways; 0 or less: none, which `repeats: none` does not allow
	ReceiptTimeout Duration `yaml:"receipt_timeout"`
	Confirm        string   `yaml:"confirm"`
	Window         int      `yaml:"window"`
	KeepPrefix     bool     `yaml:"keep_prefix"`
	TokenPrefix    string   `yaml:"token_prefix"` // begins the names of the queues that hold the workers' tokens
	TLS            TLS      `yaml:"tls"`
}

// TLS names the files for stomp+tls URLs.
type TLS struct {
	CAFile     string `yaml:"ca_file"`
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`
	ServerName string `yaml:"server_name"`
}

// Ownership says how soon instances notice that one of them is gone.
type Ownership struct {
	Lease     Duration `yaml:"lease"`     // after this time without a heartbeat an instance's workers are taken over
	Heartbeat Duration `yaml:"heartbeat"` // between renewals of the lease
	Margin    Duration `yaml:"margin"`    // that much earlier an instance stops sending
	Tick      Duration `yaml:"tick"`      // between looks at who runs what
}

// HTTP says where metrics and health can be asked for.
type HTTP struct {
	// Pprof answers /debug/pprof/, for callers on this machine.
	Pprof bool `yaml:"pprof"`
	// Listen is host:port; "off" or empty: nowhere. Nil: DefaultListen, or another port where that one is taken.
	Listen *string `yaml:"listen"`
	// Prefix is the path that API and dashboard stand under, as in /modulo; probes and metrics stay where they are.
	Prefix    string   `yaml:"prefix"`
	UsersFile string   `yaml:"users_file"` // of name:bcrypt or name:bcrypt:write; empty: nobody logs in
	ReadOnly  *bool    `yaml:"read_only"`  // nil: changes only after a login or, without users, from this machine
	Payloads  bool     `yaml:"payloads"`   // show bodies of messages
	Hosts     []string `yaml:"hosts"`      // names that are answered without a login, besides localhost and addresses
}

// What Config.Traces can be. Empty is off.
const (
	TracesOTLP = "otlp"
	TracesOff  = "off"
)

// Retention says how long rows are kept that nobody needs any more. 0: for ever.
type Retention struct {
	Done   Duration `yaml:"done"`   // rows of modulo.outbox that are done: then they are deleted
	Failed Duration `yaml:"failed"` // failed rows that wait for a person: then they are discarded
	Audit  Duration `yaml:"audit"`  // entries of modulo.audit: then they are deleted
	Every  Duration `yaml:"every"`  // between looks for old rows
}

// minRetention is short enough for every use, and too long for a typing error like 7s instead of 7d.
const (
	minRetention = Duration(time.Minute)
	minLook      = Duration(100 * time.Millisecond)
)

// DefaultListen can be reached from this machine only.
const DefaultListen = "127.0.0.1:8080"

// Overrides are the values of flags and environment variables; nil or empty where none was given.
type Overrides struct {
	DatabaseURL, BrokerURL string
	Confirm, Repeats       string
	Traces                 string
	Window                 *int
	HTTP                   *string
	Pprof                  bool
	Workers, Batch         *int // of every selected job
	Every                  *time.Duration
	Cron, Timezone         string
	JobNames               []string // only these jobs
	Environment            []string // names of the flags whose values came from the environment
}

// Load reads the file (none if path is empty) and applies the overrides. The errors are for the operator: each says
// what, where and what to do.
func Load(path string, lookup func(string) (string, bool), over Overrides) (*Config, error) {
	c := defaults()
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		if err := c.parse(text, lookup, over); err != nil {
			return nil, fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	if len(c.Jobs) == 0 {
		c.Jobs = map[string]rawJob{outboxJob: {}}
	}
	if err := c.apply(over); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}

func defaults() *Config {
	timing := jobs.DefaultTiming()
	return &Config{
		Traces:   TracesOff,
		Database: Database{MaxConns: store.DefaultMaxConns, StatementTimeout: Duration(store.DefaultStatementTimeout)},
		Broker: Broker{
			URL: "stomp://127.0.0.1:61613", Confirm: string(stomp.Auto), Window: stomp.DefaultWindow,
			Heartbeat: Duration(stomp.DefaultHeartbeat), ReceiptTimeout: Duration(stomp.DefaultReceiptTimeout),
			TokenPrefix: stomp.DefaultTokenPrefix,
		},
		Ownership: Ownership{
			Lease: Duration(timing.Lease), Heartbeat: Duration(timing.Heartbeat),
			Margin: Duration(timing.Margin), Tick: Duration(timing.Tick),
		},
		Retention: Retention{Every: Duration(time.Minute)},
	}
}

func (c *Config) parse(text []byte, lookup func(string) (string, bool), over Overrides) error {
	var second yaml.Node
	document := &c.document
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(document); err != nil && !errors.Is(err, io.EOF) {
		return readable(err)
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return fmt.Errorf("line %d: a second document begins here: want one", second.Line)
	}
	if err := unknownKeys(text); err != nil {
		return err
	}
	e := expansion{lookup, over}
	if err := e.expandAll("", document); err != nil {
		return err
	}
	fractionsAsText(document)
	return readable(document.Decode(c))
}

var (
	unknownField = regexp.MustCompile(`^(line \d+): field (\S+) not found in type .*$`)
	wrongType    = regexp.MustCompile(`^(line \d+): cannot unmarshal .*into (\S+)$`)
)

// unknownKeys reads the file strictly, for its keys only: the values still hold variables.
func unknownKeys(text []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	typeError, ok := errors.AsType[*yaml.TypeError](decoder.Decode(new(Config)))
	if !ok {
		return nil // other errors come up again when the values are read
	}
	typeError.Errors = slices.DeleteFunc(typeError.Errors, func(text string) bool { return !unknownField.MatchString(text) })
	if len(typeError.Errors) == 0 {
		return nil
	}
	return readable(typeError)
}

// readable words yaml's complaints for people who do not know our types, and without the value: it may be a secret.
func readable(err error) error {
	typeError, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return err
	}
	var problems []error
	for _, text := range typeError.Errors {
		text = unknownField.ReplaceAllString(text, `$1: unknown key "$2"`)
		if found := wrongType.FindStringSubmatch(text); found != nil {
			text = found[1] + ": want " + kindOf(found[2])
		}
		problems = append(problems, errors.New(text))
	}
	return errors.Join(problems...)
}

// kindOf says what stands for a Go type in the file.
func kindOf(goType string) string {
	switch goType {
	case "int":
		return "a whole number"
	case "bool":
		return "true or false"
	case "string":
		return "text"
	case "[]string":
		return "a list"
	}
	return "keys with values"
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expansion replaces ${NAME} in values by the environment. It works on values after parsing, so that what a variable
// holds cannot change the structure of the file.
type expansion struct {
	lookup func(string) (string, bool)
	over   Overrides
}

// expandAll expands a node, which stands at key, and all below it. A variable that is not set is an error where its value
// would be in force.
func (e expansion) expandAll(key string, node *yaml.Node) error {
	var problems []error
	if node.Kind == yaml.ScalarNode && variable.MatchString(node.Value) {
		overridden := node.Anchor == "" && e.over.flagOf(key) != ""
		node.Value = variable.ReplaceAllStringFunc(node.Value, func(match string) string {
			name := match[2 : len(match)-1]
			value, ok := e.lookup(name)
			if !ok && !overridden {
				problems = append(problems, fmt.Errorf("line %d: environment variable %s is not set", node.Line, name))
			}
			return value
		})
		if node.Tag = tagOf(node.Value); overridden && node.Value == "" {
			node.Tag = "!!null" // what a flag gives counts
		}
	}
	for i, child := range node.Content {
		below := key
		if node.Kind == yaml.MappingNode && i%2 == 1 {
			below = strings.TrimPrefix(key+"."+node.Content[i-1].Value, ".")
		}
		problems = append(problems, e.expandAll(below, child))
	}
	return errors.Join(problems...)
}

// fractionsAsText keeps yaml from cutting a fraction off where a whole number is wanted; nothing wants a fraction.
func fractionsAsText(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!float" {
		node.Tag = "!!str"
	}
	for _, child := range node.Content {
		fractionsAsText(child)
	}
}

// tagOf says what the value of a variable is: a number, true or false, or else text, even if YAML gives it a meaning.
func tagOf(value string) string {
	plain := yaml.Node{Kind: yaml.ScalarNode, Value: value}
	if tag := plain.ShortTag(); tag == "!!int" || tag == "!!bool" {
		return tag
	}
	return "!!str"
}

func (c *Config) apply(over Overrides) error {
	c.over = over
	if over.DatabaseURL != "" {
		c.Database.URL = over.DatabaseURL
	}
	if over.BrokerURL != "" {
		c.Broker.URL = over.BrokerURL
	}
	if over.Confirm != "" {
		c.Broker.Confirm = over.Confirm
	}
	if over.Window != nil {
		c.Broker.Window = *over.Window
	}
	c.HTTP.Listen = cmp.Or(over.HTTP, c.HTTP.Listen)
	c.HTTP.Pprof = c.HTTP.Pprof || over.Pprof
	c.Traces = cmp.Or(over.Traces, c.Traces)
	problems := []error{c.checkDatabase(), c.checkBroker(), c.readPassword(), c.checkOwnership(), c.checkHTTP(), c.Retention.check()}
	if c.Traces != TracesOTLP && c.Traces != TracesOff {
		problems = append(problems, fmt.Errorf("traces: %.20q, want otlp or off", c.Traces))
	}
	for _, name := range over.JobNames {
		if _, ok := c.Jobs[name]; !ok {
			problems = append(problems, fmt.Errorf("job %q is not in the configuration; it has: %s", name, strings.Join(c.names(), ", ")))
		}
	}
	for _, name := range c.names() {
		if len(over.JobNames) > 0 && !slices.Contains(over.JobNames, name) {
			if c.Retention.Done > 0 { // what is pending for it must not be deleted
				raw := c.Jobs[name]
				job, err := raw.job(name, Overrides{})
				problems, c.others = append(problems, err), append(c.others, job)
			}
			continue
		}
		raw := c.Jobs[name]
		job, err := raw.job(name, over)
		c.Jobs[name] = raw
		job.Message.Reserved = []string{strings.ToLower(c.Broker.TokenPrefix)}
		problems = append(problems, err, c.checkFence(job))
		c.jobs = append(c.jobs, job)
	}
	return errors.Join(problems...)
}

// Kept is how long rows are kept, by the keys that are set.
func (r Retention) Kept() map[string]Duration {
	kept := map[string]Duration{"done": r.Done, "failed": r.Failed, "audit": r.Audit}
	maps.DeleteFunc(kept, func(_ string, d Duration) bool { return d == 0 })
	return kept
}

// Listen is the address for HTTP, empty for none, and whether somebody has chosen it.
func (c *Config) Listen() (address string, chosen bool) {
	switch {
	case c.HTTP.Listen == nil:
		return DefaultListen, false
	case *c.HTTP.Listen == "off":
		return "", true
	}
	return *c.HTTP.Listen, true
}

// Timing is the ownership part as the package jobs wants it.
func (c *Config) Timing() jobs.Timing {
	o := c.Ownership
	return jobs.Timing{
		Lease: time.Duration(o.Lease), Heartbeat: time.Duration(o.Heartbeat),
		Margin: time.Duration(o.Margin), Tick: time.Duration(o.Tick),
	}
}

// Patience is how long a worker may need for a batch if each call takes as long as it may, twice.
func (c *Config) Patience() time.Duration {
	return 2 * time.Duration(c.Database.StatementTimeout+c.Broker.ReceiptTimeout)
}

func (c *Config) readPassword() error {
	switch {
	case c.Broker.PasswordFile == "":
		return nil
	case c.Broker.Password != "":
		return errors.New("broker: password and password_file exclude each other")
	}
	text, err := os.ReadFile(c.Broker.PasswordFile)
	if err != nil {
		return fmt.Errorf("broker.password_file: %w", err)
	}
	c.Broker.Password = strings.TrimRight(string(text), "\r\n")
	return nil
}

func (c *Config) names() []string {
	names := make([]string, 0, len(c.Jobs))
	for name := range c.Jobs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// JobList returns the selected jobs, checked, by name.
func (c *Config) JobList() []*jobs.Job { return c.jobs }

// Others are the jobs that run elsewhere, as --job says; only known where done rows are deleted.
func (c *Config) Others() []*jobs.Job { return c.others }

// BrokerConfig is the broker part as the package broker wants it.
func (c *Config) BrokerConfig() broker.Config {
	b := c.Broker
	if b.Heartbeat <= 0 {
		b.Heartbeat = -1 // 0 would be the default
	}
	return broker.Config{
		URL: b.URL, Username: b.Username, Password: b.Password, VirtualHost: b.VirtualHost,
		TLS:       broker.TLS{CAFile: b.TLS.CAFile, CertFile: b.TLS.CertFile, KeyFile: b.TLS.KeyFile, ServerName: b.TLS.ServerName},
		Heartbeat: time.Duration(b.Heartbeat), ReceiptTimeout: time.Duration(b.ReceiptTimeout),
		Confirm: b.Confirm, Window: b.Window, KeepPrefix: b.KeepPrefix, TokenPrefix: b.TokenPrefix,
	}
}
