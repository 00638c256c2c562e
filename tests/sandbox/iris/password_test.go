package main

import (
	"os"
	"strings"
	"testing"
)

// vectors reads the hashes that are publicly known with their passwords.
func vectors(t *testing.T) map[string]string {
	data, err := os.ReadFile("testdata/password-hashes.txt")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, line := range strings.Split(string(data), "\n") {
		if password, hash, ok := strings.Cut(line, " "); ok && password != "#" {
			found[hash] = password
		}
	}
	return found
}

func TestPublicPasswordHashes(t *testing.T) {
	known := vectors(t)
	if len(known) != 5 {
		t.Fatalf("%d vectors, not 5", len(known))
	}
	for hash, password := range known {
		h, err := parsePasswordHash(hash)
		if err != nil {
			t.Fatal(err)
		}
		if !h.matches(password) {
			t.Errorf("%s does not match %.16s...", password, hash)
		}
		if h.matches(strings.ToLower(password)) {
			t.Errorf("%s matches in lower case too", password)
		}
		// A salt's hex digits are not the salt.
		if f := strings.Split(hash, ","); len(f) == 4 {
			h.salt = []byte(f[1])
			if h.matches(password) {
				t.Error("the salt's text matches as well")
			}
		}
	}
}

func TestBadPasswordHashes(t *testing.T) {
	for _, bad := range []string{"", "zz,salt", ",salt", "aa,bb,10000", "aa,zz,10000,SHA512", "aa,bb,10,SHA512", "aa,bb,10000,MD5", "aa,bb,10000,SHA512"} {
		if _, err := parsePasswordHash(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestPasswordHashWorksOnce(t *testing.T) {
	s := newSecurity()
	var first, second string
	for hash, password := range vectors(t) {
		if password == "IRIS" {
			first = hash
		} else {
			second = hash
		}
	}
	for i, hash := range []string{first, second} {
		used, err := s.applyPasswordHash(hash)
		if err != nil || used != (i == 0) {
			t.Errorf("use %d: %v, %v", i+1, used, err)
		}
	}
	if _, right := s.check("superuser", "IRIS"); !right {
		t.Error("the first password is not in effect")
	}
	if _, right := s.check("SuperUser", "SYS"); right {
		t.Error("the second password is in effect")
	}
	if _, right := s.check("CSPSystem", "IRIS"); right {
		t.Error("CSPSystem, which has no role, got the password")
	}
	if !s.Users["SuperUser"].ChangePassword {
		t.Error("the password need not be changed any more")
	}
}
