package local

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestActiveMQConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg  ActiveMQConfig
		want []string
	}{
		"default": {ActiveMQConfig{}, []string{
			`enableJournalDiskSyncs="true"`, `journalMaxFileLength="33554432"`, `useJmx="false"`, `<systemUsage>`,
			`"stomp://127.0.0.1:1?maximumConnections=1000&amp;transport.hbGracePeriodMultiplier=1&amp;wireFormat.maxFrameSize=104857600"`,
			`"tcp://127.0.0.1:2?maximumConnections=1000&amp;wireFormat.maxFrameSize=104857600"`,
		}},
		"unsafe":    {ActiveMQConfig{Unsafe: true}, []string{`enableJournalDiskSyncs="false"`}},
		"heartbeat": {ActiveMQConfig{HeartbeatGrace: 2.5}, []string{`hbGracePeriodMultiplier=2.5`}},
		"space": {ActiveMQConfig{StoreLimit: 4 << 20, MemoryLimit: 1 << 20, FailIfNoSpaceAfter: 2 * time.Second}, []string{
			`<storeUsage limit="4194304"/>`, `<memoryUsage limit="1048576"/>`, `journalMaxFileLength="524288"`,
			`sendFailIfNoSpaceAfterTimeout="2000"`,
		}},
		"store": {ActiveMQConfig{KahaDB: []Attribute{{"cleanupInterval", "500"}}}, []string{` cleanupInterval="500"/>`}},
		"tls": {ActiveMQConfig{TLS: &TLSConfig{KeyStore: "k", TrustStore: "t", Password: "p"}}, []string{
			`keyStore="k" keyStoreType="PKCS12" keyStorePassword="p" trustStore="t"`, `"stomp+ssl://127.0.0.1:3?`, `needClientAuth=true`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.cfg.Dir = t.TempDir()
			cfg, err := c.cfg.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			mq := &ActiveMQ{cfg: cfg, stomp: Port{number: 1}, openWire: Port{number: 2}, stompTLS: Port{number: 3}}
			if err := mq.writeFiles(); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(mq.configFile())
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !strings.Contains(string(text), want) {
					t.Errorf("no %s in\n%s", want, text)
				}
			}
		})
	}
}
