// Accounts, and the two forms of PasswordHash: `hash,salt` is PBKDF2-HMAC-SHA1 with 1024 rounds over the salt's text;
// `hash,salt,workfactor,algorithm` takes the salt as hex-coded bytes.
package main

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
)

type User struct {
	PasswordHash   string   `json:"passwordHash"`
	Roles          []string `json:"roles"`
	ChangePassword bool     `json:"changePassword"`
	Enabled        bool     `json:"enabled"`
}

// Security lives in the database IRISSYS, that is in the durable directory.
type Security struct {
	Users        map[string]*User `json:"users"`
	Resources    []string         `json:"resources"`
	PasswordUsed bool             `json:"passwordHashUsed"` // the default password has been changed once
}

// The password that every image has before anybody sets one.
const defaultPasswordHash = "FBFE8593AEFA510C27FD184738D6E865A441DE98,u4ocm4qh"

// newSecurity holds the predefined accounts as an image has them: SYS, to be changed at the first login.
func newSecurity() *Security {
	s := &Security{Users: map[string]*User{}}
	for _, name := range []string{"_SYSTEM", "SuperUser", "Admin"} {
		s.Users[name] = &User{defaultPasswordHash, []string{"%All"}, true, true}
	}
	s.Users["CSPSystem"] = &User{defaultPasswordHash, nil, false, true}
	return s
}

// applyPasswordHash is [Startup] PasswordHash: all enabled accounts with a role, and only while the default password
// stands. It does not clear ChangePassword. Reports whether it did anything.
func (s *Security) applyPasswordHash(value string) (bool, error) {
	if s.PasswordUsed {
		return false, nil
	}
	if _, err := parsePasswordHash(value); err != nil {
		return false, err
	}
	for name, u := range s.Users {
		if u.Enabled && len(u.Roles) > 0 && name != "CSPSystem" {
			u.PasswordHash = value
		}
	}
	s.PasswordUsed = true
	return true, nil
}

// check says whether a password is right, and the account's user. Passwords are case-sensitive, names are not.
func (s *Security) check(name, password string) (*User, bool) {
	for n, u := range s.Users {
		if strings.EqualFold(n, name) && u.Enabled {
			h, err := parsePasswordHash(u.PasswordHash)
			return u, err == nil && h.matches(password)
		}
	}
	return nil, false
}

type passwordHash struct {
	hash, salt []byte
	rounds     int
	algorithm  func() hash.Hash
}

func parsePasswordHash(value string) (passwordHash, error) {
	f := strings.Split(value, ",")
	h := passwordHash{rounds: 1024, algorithm: sha1.New}
	var err error
	if len(f) != 2 && len(f) != 4 {
		return h, fmt.Errorf("PasswordHash has %d fields, not 2 or 4", len(f))
	}
	if h.hash, err = hex.DecodeString(f[0]); err != nil || len(h.hash) == 0 {
		return h, fmt.Errorf("PasswordHash is not in hex: %.8s...", f[0])
	}
	if len(f) == 2 {
		h.salt = []byte(f[1])
		return h, nil
	}
	if h.salt, err = hex.DecodeString(f[1]); err != nil {
		return h, fmt.Errorf("the salt of PasswordHash is not in hex: %.8s...", f[1])
	}
	if h.rounds, err = strconv.Atoi(f[2]); err != nil || h.rounds < 1024 {
		return h, fmt.Errorf("the work factor of PasswordHash is not a number from 1024 on: %s", f[2])
	}
	algorithms := map[string]func() hash.Hash{"SHA1": sha1.New, "SHA224": sha256.New224, "SHA256": sha256.New,
		"SHA384": sha512.New384, "SHA512": sha512.New}
	var known bool
	if h.algorithm, known = algorithms[f[3]]; !known {
		return h, fmt.Errorf("unknown algorithm in PasswordHash: %s", f[3])
	}
	if size := h.algorithm().Size(); len(h.hash) != size || len(h.salt) != size {
		return h, fmt.Errorf("PasswordHash and its salt must have %d bytes for %s, not %d and %d", size, f[3], len(h.hash), len(h.salt))
	}
	return h, nil
}

func (h passwordHash) matches(password string) bool {
	got, err := pbkdf2.Key(h.algorithm, password, h.salt, h.rounds, len(h.hash))
	return err == nil && subtle.ConstantTimeCompare(got, h.hash) == 1
}

// roles splits a list of roles as CreateUser gives it.
func roles(list string) []string {
	r := strings.Split(list, ",")
	return slices.DeleteFunc(r, func(s string) bool { return s == "" })
}
