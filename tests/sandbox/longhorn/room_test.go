package main

import "testing"

const gib = int64(1) << 30

// Four claims of 5 GiB, as two databases have: which disks take them, by the rules of both versions. The limits are 14.3 and 28.6 GiB.
func TestFourClaimsFit(t *testing.T) {
	for _, c := range []struct {
		version string
		disk    int64
		taken   int
	}{
		{"v1.2.3", 14 * gib, 3}, {"v1.2.3", 15 * gib, 4}, {"v1.11.3", 20 * gib, 2}, {"v1.11.3", 28 * gib, 3}, {"v1.11.3", 29 * gib, 4},
	} {
		over := map[string]int64{"200": 200, "100": 100}[releases[c.version].overProvisioning]
		r := room{maximum: c.disk, available: c.disk, reserved: c.disk * 30 / 100, overProvisioning: over, minimal: 25}
		taken := 0
		for range 4 {
			if r.fits(5*gib, 0) {
				r.scheduled += 5 * gib
				taken++
			}
		}
		if taken != c.taken {
			t.Errorf("%s takes %d of 4 claims on %d GiB, not %d", c.version, taken, c.disk/gib, c.taken)
		}
	}
}

// A disk that is three quarters full takes nothing, however little is promised.
func TestAFullDiskTakesNothing(t *testing.T) {
	r := room{maximum: 100 * gib, available: 25 * gib, overProvisioning: 100, minimal: 25}
	if r.fits(1, 0) {
		t.Error("a quarter is free, and that is not more than a quarter")
	}
	r.available++
	if !r.fits(1, 0) {
		t.Error("more than a quarter is free")
	}
}
