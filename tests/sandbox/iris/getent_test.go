package main

import "testing"

func TestNamesAreLookedUp(t *testing.T) {
	if code := getent([]string{"ahostsv4", "localhost"}); code != 0 {
		t.Errorf("localhost is not found: exit %d", code)
	}
	if code := getent([]string{"ahostsv4", "no-such-name.invalid"}); code != 2 {
		t.Errorf("a name that nobody has exits with %d, not 2", code)
	}
}
