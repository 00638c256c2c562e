package main

import (
	"crypto/tls"
	"encoding/json"
	"strings"
	"testing"
)

func of(version string) *cluster {
	return &cluster{release: releases[version], ns: "longhorn-system", node: "vm1"}
}

// The same condition in the shape of each API: a map by type, and a list.
func TestConditionsHaveTheShapeOfTheirAPI(t *testing.T) {
	ready := [4]string{"Ready", "True", "", "it is"}
	for version, start := range map[string]string{"v1.2.3": `{"Ready":{`, "v1.11.3": `[{`} {
		made := of(version).conditions(&object{Object: dict{}}, ready)
		data, err := json.Marshal(made)
		if err != nil || !strings.HasPrefix(string(data), start) {
			t.Errorf("%s: %s %v", version, data, err)
		}
		if found := conditionIn(made, "Ready"); found["status"] != "True" || found["message"] != "it is" {
			t.Errorf("%s: not found again: %v", version, found)
		}
	}
}

// What has not changed keeps its time, so that the object is not written again.
func TestConditionsKeepTheirTime(t *testing.T) {
	c := of("v1.11.3")
	was := &object{Object: dict{"status": dict{"conditions": list{dict{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}}}}}
	for status, kept := range map[string]bool{"True": true, "False": false} {
		now := conditionIn(c.conditions(was, [4]string{"Ready", status, "", ""}), "Ready")
		if (now["lastTransitionTime"] == "2026-01-01T00:00:00Z") != kept {
			t.Errorf("%s: %v", status, now)
		}
	}
}

func TestRefusals(t *testing.T) {
	c := of("v1.11.3")
	ready := dict{"conditions": list{dict{"type": "Ready", "status": "True"}}}
	named := func(name string, notes dict, more dict) *object {
		o := dict{"metadata": dict{"name": name, "annotations": notes}}
		for key, value := range more {
			o[key] = value
		}
		return &object{Object: o}
	}
	for _, each := range []struct {
		what    string
		r       review
		refused string
	}{
		{"a setting goes", review{"DELETE", "settings", nil, named("auto-salvage", nil, nil)}, "can be modified but not deleted"},
		{"somebody's own setting goes", review{"DELETE", "settings", nil, named("mine", nil, nil)}, ""},
		{"the flag is no flag", review{"UPDATE", "settings", named("deleting-confirmation-flag", nil, dict{"value": "yes"}), nil}, "is not a boolean"},
		{"the flag is set", review{"UPDATE", "settings", named("deleting-confirmation-flag", nil, dict{"value": "true"}), nil}, ""},
		{"a node goes with the uninstaller", review{"DELETE", "nodes", nil, named("vm1", dict{uninstalling: ""}, dict{"status": ready})}, ""},
	} {
		_, err := c.validate(t.Context(), each.r)
		if (err == nil) != (each.refused == "") || err != nil && !strings.Contains(err.Error(), each.refused) {
			t.Errorf("%s: %v", each.what, err)
		}
	}
}

func TestFinalizersAreGiven(t *testing.T) {
	c := of("v1.11.3")
	for plural, given := range map[string]bool{"nodes": true, "settings": false} {
		change, err := c.mutate(t.Context(), review{"CREATE", plural, &object{Object: dict{"metadata": dict{"name": "x"}}}, nil})
		if err != nil || (len(change) > 0) != given {
			t.Errorf("%s: %v %v", plural, change, err)
		}
	}
}

func TestCertificatesFitTogether(t *testing.T) {
	made, err := newCertificates("longhorn-admission-webhook.longhorn-system.svc")
	if err != nil {
		t.Fatal(err)
	}
	own := made["longhorn-webhook-tls"]
	if _, err := tls.X509KeyPair(own[0], own[1]); err != nil {
		t.Error(err)
	}
}

func TestFlags(t *testing.T) {
	args := []string{"-d", "--manager-url", "http://x", "--nodeid=vm1"}
	for name, want := range map[string]string{"manager-url": "http://x", "nodeid": "vm1", "absent": ""} {
		if got := flagOf(args, name); got != want {
			t.Errorf("--%s is %q, not %q", name, got, want)
		}
	}
}
