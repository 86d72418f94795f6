package local

import (
	"bytes"
	_ "embed"
	"encoding/xml"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// ActiveMQConfig describes a private broker. Only Dir is required; every zero value has a default that suits a demo.
type ActiveMQConfig struct {
	// Dir is made if missing and belongs to the broker: configuration, store and log. One that a stopped broker left is
	// used again.
	Dir string
	// QuickStart trades speed under load for a shorter start: only the first compiler of the virtual machine works.
	QuickStart bool
	// Unsafe turns the journal's disk syncs off: receipts survive the end of the process, not a power cut.
	Unsafe bool
	Heap   string // as in "512m", the default

	StoreLimit  int64 // bytes of journal and index; default 8 GiB
	MemoryLimit int64 // bytes of messages in memory, at a good third of what they take in the heap; default 64 MiB
	// FailIfNoSpace answers a send that finds no space with an ERROR, FailIfNoSpaceAfter does so after a time.
	// Without either the send waits, unanswered, until there is space.
	FailIfNoSpace      bool
	FailIfNoSpaceAfter time.Duration

	MaxConnections int     // of each connector; default 1000
	MaxFrameSize   int64   // bytes of one STOMP frame; default 100 MiB
	HeartbeatGrace float64 // the broker's patience, as a multiple of the agreed heart-beat; default 1

	// KahaDB holds further attributes of the store, as in {"concurrentStoreAndDispatchQueues", "false"}.
	KahaDB []Attribute

	Users       []User       // none: everybody may do everything without a login
	Permissions []Permission // none: every user may do everything
	TLS         *TLSConfig   // adds a connector, see ActiveMQ.TLSURL
}

// Attribute is one of an element of the broker's configuration.
type Attribute struct{ Name, Value string }

// User may log in. Groups are separated by commas.
type User struct{ Name, Password, Groups string }

// Permission says which groups may do what with the queues (or topics) of a name; ">" stands for all names.
// Several groups are separated by commas.
type Permission struct {
	Topic              bool
	Name               string
	Read, Write, Admin string
}

// Kind is the attribute that names the destination.
func (p Permission) Kind() string {
	if p.Topic {
		return "topic"
	}
	return "queue"
}

// TLSConfig names PKCS12 files with a common password.
type TLSConfig struct {
	KeyStore   string // certificate and key of the broker
	TrustStore string // authorities of client certificates; set: clients must show one
	Password   string
}

func (c ActiveMQConfig) withDefaults() (ActiveMQConfig, error) {
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return c, err
	}
	if c.Heap == "" {
		c.Heap = "512m"
	}
	if c.StoreLimit == 0 {
		c.StoreLimit = 8 << 30
	}
	if c.MemoryLimit == 0 {
		c.MemoryLimit = 64 << 20
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 1000
	}
	if c.MaxFrameSize == 0 {
		c.MaxFrameSize = 100 << 20
	}
	if c.HeartbeatGrace == 0 {
		c.HeartbeatGrace = 1
	}
	return c, nil
}

//go:embed activemq.xml.tmpl
var activemqXML string

//go:embed log4j.properties
var log4jProperties []byte

type connector struct{ Name, URI string }

// writeFiles writes what the broker reads at its start.
func (mq *ActiveMQ) writeFiles() error {
	tmpl, err := template.New("activemq.xml").Funcs(template.FuncMap{"xml": escapeXML}).Parse(activemqXML)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	err = tmpl.Execute(&text, struct {
		ActiveMQConfig
		Data        string
		JournalFile int64
		Connectors  []connector
	}{mq.cfg, mq.dataDir(), mq.journalFile(), mq.connectors()})
	if err != nil {
		return fmt.Errorf("activemq.xml: %w", err)
	}
	if err := os.MkdirAll(mq.cfg.Dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(mq.logSettings(), log4jProperties, 0o600); err != nil {
		return err
	}
	return os.WriteFile(mq.configFile(), text.Bytes(), 0o600)
}

// journalFile is the size of one file of the journal: the store grows and shrinks by it, so a small limit needs small
// files.
func (mq *ActiveMQ) journalFile() int64 { return min(32<<20, max(mq.cfg.StoreLimit/8, 64<<10)) }

func (mq *ActiveMQ) connectors() []connector {
	limits := url.Values{
		"maximumConnections":      {strconv.Itoa(mq.cfg.MaxConnections)},
		"wireFormat.maxFrameSize": {strconv.FormatInt(mq.cfg.MaxFrameSize, 10)},
	}
	stomp := url.Values{"transport.hbGracePeriodMultiplier": {strconv.FormatFloat(mq.cfg.HeartbeatGrace, 'f', -1, 64)}}
	for name, value := range limits {
		stomp[name] = value
	}
	list := []connector{{"openwire", "tcp://" + mq.openWire.Addr() + "?" + limits.Encode()}}
	if mq.cfg.TLS != nil {
		secure := maps.Clone(stomp)
		if mq.cfg.TLS.TrustStore != "" {
			secure.Set("needClientAuth", "true")
		}
		list = append(list, connector{"stomp+ssl", "stomp+ssl://" + mq.stompTLS.Addr() + "?" + secure.Encode()})
	}
	// They start in this order, so the one that Ping asks comes last.
	list = append(list, connector{"stomp", "stomp://" + mq.stomp.Addr() + "?" + stomp.Encode()})
	return list
}

func escapeXML(text string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(text))
	return b.String(), err
}
