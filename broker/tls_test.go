package broker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"modulo/broker"
	"modulo/broker/brokertest"
	"modulo/internal/local"
	"modulo/internal/testservers"
	"modulo/jobs"
)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // PEM
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{}
	template := x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	pair := a.issue(t, template)
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	a.file, _ = writePair(t, pair)
	return a
}

// issue returns a certificate of the authority, or of itself for the first one. It is valid now unless the template says
// otherwise.
func (a *authority) issue(t testing.TB, template x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: "modulo test"}
	template.NotBefore = time.Now().Add(-48 * time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := &template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// writePair writes certificate and key as PEM files.
func writePair(t testing.TB, pair tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		keyFile:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

var loopback = []net.IP{net.IPv4(127, 0, 0, 1)}

// tlsServer greets like a STOMP broker, over TLS with this configuration; nil: in plain text. It counts the CONNECT
// frames that arrive in plain text.
func tlsServer(t testing.TB, config *tls.Config) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				if config != nil {
					conn = tls.Server(conn, config)
				}
				if _, err := conn.Read(make([]byte, 4096)); err == nil {
					_, _ = io.WriteString(conn, "CONNECTED\nversion:1.2\n\n\x00") // the client may be gone
					_, _ = io.Copy(io.Discard, conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

// handshake is how long a handshake may take, on a machine that has a lot to do.
const handshake = time.Minute

// open returns a publisher that connects within a time, or not.
func open(t testing.TB, url string, settings broker.TLS, within time.Duration) jobs.Publisher {
	t.Helper()
	b, err := broker.New(broker.Config{URL: url, TLS: settings, ConnectTimeout: within})
	if err != nil {
		t.Fatal(err)
	}
	p := b.Publisher(nil)
	t.Cleanup(func() {
		_ = p.Close() // the server of the test answers no goodbye
	})
	return p
}

// Case 17: certificates that must be refused, by us or by the broker, and those that must not.
func TestCertificates(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.issue(t, x509.Certificate{IPAddresses: loopback})
	named := ca.issue(t, x509.Certificate{DNSNames: []string{"mq.example.com"}})
	expired := ca.issue(t, x509.Certificate{IPAddresses: loopback, NotAfter: time.Now().Add(-24 * time.Hour)})
	client := x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	certFile, keyFile := writePair(t, ca.issue(t, client))
	strangerCert, strangerKey := writePair(t, other.issue(t, client))
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	server := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	strict := &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	strict12 := strict.Clone()
	strict12.MaxVersion = tls.VersionTLS12
	old := server(good)
	old.MaxVersion = tls.VersionTLS11
	trusting := broker.TLS{CAFile: ca.file}
	for _, test := range []struct {
		name     string
		server   *tls.Config
		settings broker.TLS
		ok       bool
	}{
		{"good", server(good), trusting, true},
		{"name given", server(named), broker.TLS{CAFile: ca.file, ServerName: "mq.example.com"}, true},
		{"client certificate", strict, broker.TLS{CAFile: ca.file, CertFile: certFile, KeyFile: keyFile}, true},
		{"wrong host", server(named), trusting, false},
		{"expired", server(expired), trusting, false},
		{"unknown authority", server(good), broker.TLS{CAFile: other.file}, false},
		{"authorities of the system", server(good), broker.TLS{}, false},
		{"old version", old, trusting, false},
		{"no client certificate", strict, trusting, false},
		{"no client certificate, TLS 1.2", strict12, trusting, false},
		{"client of another authority", strict, broker.TLS{CAFile: ca.file, CertFile: strangerCert, KeyFile: strangerKey}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := brokertest.Connect(t.Context(), open(t, "stomp+tls://"+tlsServer(t, test.server), test.settings, handshake))
			if test.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if failed := brokertest.ConnectFailed(t, err); failed.Fault != jobs.FaultConfiguration {
				t.Errorf("%s fault: %v", failed.Fault, err)
			}
		})
	}
}

// Cases 16 and 17 on ActiveMQ with a certificate of its own and clients that must show one.
func TestTLSOnActiveMQ(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	certFile, keyFile := writePair(t, ca.issue(t, x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}))
	dir := t.TempDir()
	stores := local.TLSConfig{
		KeyStore: filepath.Join(dir, "broker.p12"), TrustStore: filepath.Join(dir, "clients.p12"), Password: "changeit",
	}
	brokerCert := filepath.Join(dir, "broker.pem")
	keytool(t, "-genkeypair", "-alias", "broker", "-keyalg", "EC", "-dname", "CN=broker", "-ext", "san=ip:127.0.0.1",
		"-storetype", "PKCS12", "-keystore", stores.KeyStore, "-storepass", stores.Password)
	keytool(t, "-exportcert", "-rfc", "-alias", "broker", "-file", brokerCert, "-keystore", stores.KeyStore, "-storepass", stores.Password)
	keytool(t, "-importcert", "-noprompt", "-alias", "clients", "-file", ca.file,
		"-storetype", "PKCS12", "-keystore", stores.TrustStore, "-storepass", stores.Password)
	mq := testservers.OwnBroker(t, local.ActiveMQConfig{TLS: &stores})

	settings := broker.TLS{CAFile: brokerCert, CertFile: certFile, KeyFile: keyFile}
	p := open(t, mq.TLSURL(), settings, handshake)
	brokertest.Await(t, "the connector for TLS, the last to open", func() bool { return brokertest.Connect(t.Context(), p) == nil })
	queue := brokertest.Queue(t)
	messages := brokertest.Texts(queue, "row ", 2000)
	if err := p.Publish(t.Context(), messages, nil); err != nil {
		t.Fatal(err)
	}
	plain := brokertest.Target{Addr: strings.TrimPrefix(mq.URL(), "stomp://")}
	brokertest.SameTexts(t, plain.Drain(t, queue), messages)

	for name, test := range map[string]struct {
		url      string
		settings broker.TLS
		fault    jobs.Fault // at least
		within   time.Duration
	}{
		"no client certificate":    {mq.TLSURL(), broker.TLS{CAFile: brokerCert}, jobs.FaultConfiguration, handshake},
		"unknown authority":        {mq.TLSURL(), broker.TLS{CAFile: ca.file}, jobs.FaultConfiguration, handshake},
		"TLS to the plain port":    {"stomp+tls://" + plain.Addr, settings, jobs.FaultConnection, 2 * time.Second}, // ActiveMQ waits for more
		"plain to the port of TLS": {"stomp://" + strings.TrimPrefix(mq.TLSURL(), "stomp+tls://"), broker.TLS{}, jobs.FaultConfiguration, handshake},
	} {
		began := time.Now()
		err := brokertest.Connect(t.Context(), open(t, test.url, test.settings, test.within))
		if failed := brokertest.ConnectFailed(t, err); failed.Fault < test.fault || time.Since(began) > handshake/2 {
			t.Errorf("%s: %s after %s", name, err, time.Since(began))
		}
	}
}

func keytool(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("keytool", args...).CombinedOutput(); err != nil {
		t.Fatal(errors.Join(err, errors.New(string(out))))
	}
}
