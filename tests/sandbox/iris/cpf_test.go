package main

import (
	"reflect"
	"testing"
)

func TestCPF(t *testing.T) {
	c := parseCPF("stray=1\n[Startup]\n SystemMode=TEST \n\n[config]\nglobals=0,0,32,0,0,0\n[Actions]\nCreateDatabase:Name=A,Directory=/d/A\n[STARTUP]\nWebServer=1\n")
	for key, want := range map[string]string{"SystemMode": "TEST", "WebServer": "1"} {
		if got, _ := c.get("startup", key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	if again := parseCPF(c.String()).String(); again != c.String() {
		t.Errorf("written and read again it differs:\n%s\n%s", c, again)
	}
	if c.section("config").set("globals", "0,0,32,0,0,0") {
		t.Error("the same value counts as a change")
	}
	if !c.section("config").set("globals", "0,0,64,0,0,0") {
		t.Error("another value counts as none")
	}
}

func TestComments(t *testing.T) {
	c := parseCPF("; see [Startup]\nPasswordHash=x\n/* [Startup]\nWebServer=0 */\n[Startup] ; settings\nSystemMode=TEST // not for production\n" +
		"C=80^#,$C(27)\n[Actions] # once\nCreateDatabase:Name=A,Directory=/d/A // orders\nCreateApplication:Name=/a,Description=\"http://h/#a; b\"\n")
	for key, want := range map[string]string{"SystemMode": "TEST", "C": "80^#,$C(27)", "PasswordHash": "", "WebServer": ""} {
		if got, _ := c.get("startup", key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	actions := c.section("Actions").lines
	if len(actions) != 2 || actions[0].value != "CreateDatabase:Name=A,Directory=/d/A" || actions[1].value != `CreateApplication:Name=/a,Description="http://h/#a; b"` {
		t.Errorf("actions: %v", actions)
	}
}

func TestParseAction(t *testing.T) {
	got, err := parseAction(`CreateUser:Name=app,PasswordHash="h,s,10000,SHA512",Comment="say ""hi""",Roles=%SQL`)
	want := action{"CreateUser", map[string]string{"Name": "app", "PasswordHash": "h,s,10000,SHA512", "Comment": `say "hi"`, "Roles": "%SQL"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"CreateUser", ":Name=x", "CreateUser:Name", `CreateUser:Name="x`} {
		if a, err := parseAction(bad); err == nil {
			t.Errorf("%s is taken as %v", bad, a)
		}
	}
}
