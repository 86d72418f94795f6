package testservers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"modulo/internal/local"
)

// storePassword is that of the key stores, which hold nothing but the test's own keys.
const storePassword = "not-a-secret"

// Authority issues certificates for one test.
type Authority struct {
	File string // its certificate as PEM

	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority of the test's own, which nobody trusts yet.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir()}
	a.File = filepath.Join(a.dir, "ca.pem")
	a.key = newKey(t)
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of " + t.Name()},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	writePEM(t, a.File, "CERTIFICATE", a.sign(a.cert, a.key))
	return a
}

// Broker issues a broker's certificate for a host, an address or a name. A validity below zero gives one that has
// expired.
func (a *Authority) Broker(host string, validity time.Duration) *local.TLSConfig {
	a.t.Helper()
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "broker"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		leaf.IPAddresses = []net.IP{ip}
	} else {
		leaf.DNSNames = []string{host}
	}
	cert, key := a.issue("broker", leaf)
	store := filepath.Join(a.dir, "broker.p12")
	a.run("openssl", "pkcs12", "-export", "-in", cert, "-inkey", key, "-certfile", a.File, "-out", store,
		"-passout", "pass:"+storePassword)
	return &local.TLSConfig{KeyStore: store, Password: storePassword}
}

// Client issues a client's certificate and returns the PEM files of certificate and key.
func (a *Authority) Client(name string) (certFile, keyFile string) {
	a.t.Helper()
	return a.issue(name, &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// TrustStore is for local.TLSConfig: the broker then wants a client certificate of this authority.
func (a *Authority) TrustStore() string {
	a.t.Helper()
	store := filepath.Join(a.dir, "trust.p12")
	a.run("keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", a.File, "-keystore", store,
		"-storetype", "PKCS12", "-storepass", storePassword)
	return store
}

func (a *Authority) issue(name string, leaf *x509.Certificate) (certFile, keyFile string) {
	a.t.Helper()
	key := newKey(a.t)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+"-key.pem")
	writePEM(a.t, certFile, "CERTIFICATE", a.sign(leaf, key))
	writePEM(a.t, keyFile, "PRIVATE KEY", secret)
	return certFile, keyFile
}

func (a *Authority) sign(cert *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func (a *Authority) run(program string, args ...string) {
	a.t.Helper()
	if out, err := exec.CommandContext(a.t.Context(), program, args...).CombinedOutput(); err != nil {
		a.t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
