package guard

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/crypto/bcrypt"
)

type role string

const (
	roleRead  role = "read"
	roleWrite role = "write"
)

type account struct {
	hash []byte
	role role
}

// users are the accounts of a file. A password is compared at the cost of its hash only once; and only one at a time, so
// that guessing costs one core at most.
type users struct {
	accounts map[string]account
	nobody   []byte // a hash that unknown names are compared with, to take as long
	key      []byte // of this process, for known

	turn  chan struct{} // held while a hash is compared
	mu    sync.Mutex
	known map[[sha256.Size]byte]bool // names with passwords that were right, by a keyed sum
}

// maxPassword is what bcrypt takes, in bytes.
const maxPassword = 72

// usersFile is a file of users that may change. Safe for concurrent use.
type usersFile struct {
	file    string
	log     zerolog.Logger
	current atomic.Pointer[users]

	mu       sync.Mutex // held while the file is looked at
	lookedAt time.Time
	seen     []byte // as it was read last
	text     []byte // as it was parsed last, right or wrong
	problem  string // with it; empty: none
}

// lookInterval is how often the file is looked at, at most, while people ask.
const lookInterval = time.Second

func openUsers(file string, log zerolog.Logger) (*usersFile, error) {
	f := &usersFile{file: file, log: log}
	return f, f.look()
}

// users are those of the file as it is now, or was two seconds ago; of a file that is wrong, or gone, as it was before.
func (f *usersFile) users() *users {
	if f.mu.TryLock() { // else somebody looks already
		defer f.mu.Unlock()
		if time.Since(f.lookedAt) >= lookInterval {
			f.tell(f.look())
		}
	}
	return f.current.Load()
}

// look reads the file, and makes it count if it is new and right. One that is just being written, and so may lack users,
// counts once it has rested: it was written a while ago, or looks as it did before.
func (f *usersFile) look() error {
	f.lookedAt = time.Now()
	text, written, err := read(f.file)
	if err != nil {
		return fmt.Errorf("http.users_file: %w", err)
	}
	rested := bytes.Equal(text, f.seen) || time.Since(written) >= lookInterval
	f.seen = text
	if f.current.Load() != nil && (bytes.Equal(text, f.text) || !rested) {
		return nil
	}
	f.text = text
	u, err := parseUsers(f.file, text)
	if err != nil {
		return err
	}
	if f.current.Swap(u) != nil {
		f.log.Info().Int("users", len(u.accounts)).Msg("http: users_file has changed; who logs in is looked up in it anew")
	}
	return nil
}

// read asks for the time after the text: what is written meanwhile is newer.
func read(file string) (text []byte, written time.Time, err error) {
	if text, err = os.ReadFile(file); err != nil {
		return nil, time.Time{}, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, time.Time{}, err
	}
	return text, info.ModTime(), nil
}

// tell tells the log of a file that has become wrong.
func (f *usersFile) tell(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if err != nil && problem != f.problem {
		f.log.Error().Err(err).Msg("http: users_file is not taken as it is now; who could log in before still can")
	}
	f.problem = problem
}

// parseUsers reads lines of name:hash, as htpasswd -B writes them, or name:hash:role. The role is read unless it is given.
func parseUsers(file string, text []byte) (*users, error) {
	u := &users{
		accounts: map[string]account{}, key: make([]byte, sha256.Size), turn: make(chan struct{}, 1),
		known: map[[sha256.Size]byte]bool{},
	}
	rand.Read(u.key)
	cost := bcrypt.MinCost
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, a, err := parseUser(line)
		if err == nil && u.accounts[name].hash != nil {
			err = fmt.Errorf("user %q appears twice", name)
		}
		if err != nil {
			return nil, fmt.Errorf("http.users_file %s: line %d: %w", file, number, err)
		}
		u.accounts[name] = a
		hashCost, _ := bcrypt.Cost(a.hash) // parseUser has seen that it is one
		cost = max(cost, hashCost)
	}
	if len(u.accounts) == 0 {
		return nil, fmt.Errorf("http.users_file %s: no user in it", file)
	}
	var err error
	u.nobody, err = bcrypt.GenerateFromPassword(u.key[:16], cost)
	return u, err
}

// parseUser never quotes the line: what stands there may be a password.
func parseUser(line string) (string, account, error) {
	fields := strings.Split(line, ":")
	if len(fields) < 2 || len(fields) > 3 || fields[0] == "" {
		return "", account{}, fmt.Errorf("want name:hash or name:hash:write")
	}
	a := account{hash: []byte(fields[1]), role: roleRead}
	if len(fields) == 3 {
		a.role = role(fields[2])
	}
	if a.role != roleRead && a.role != roleWrite {
		return "", account{}, fmt.Errorf("the role is read or write")
	}
	if _, err := bcrypt.Cost(a.hash); err != nil {
		return "", account{}, fmt.Errorf("the hash is not one of bcrypt: htpasswd -B makes them")
	}
	return fields[0], a, nil
}

// check says whether the password is the user's, and the role.
func (u *users) check(ctx context.Context, name, password string) (role, bool) {
	if name == "" || len(password) > maxPassword {
		return "", false
	}
	a, exists := u.accounts[name]
	sum := u.sum(name, password)
	u.mu.Lock()
	known := u.known[sum]
	u.mu.Unlock()
	if known {
		return a.role, true
	}
	hash := a.hash
	if !exists {
		hash = u.nobody
	}
	select {
	case u.turn <- struct{}{}:
		defer func() { <-u.turn }()
	case <-ctx.Done():
		return "", false
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || !exists {
		return "", false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known[sum] = true // as many as there are users: each has one password
	return a.role, true
}

func (u *users) sum(name, password string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, u.key)
	fmt.Fprintf(mac, "%d:%s%s", len(name), name, password)
	return [sha256.Size]byte(mac.Sum(nil))
}
