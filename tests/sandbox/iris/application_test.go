package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const simpleCPF = `[Startup]
WebServer=1
PasswordHash=FBFE8593AEFA510C27FD184738D6E865A441DE98,u4ocm4qh

[Actions]
CreateDatabase:Name=MYAPP-DATA-EXT,Directory=VOL/MYAPP-DATA
ModifyNamespace:Name=MYAPP,Globals=MYAPP-DATA-EXT,Routines=MYAPP-CODE
CreateUser:Name=reader,PasswordHash="FBFE8593AEFA510C27FD184738D6E865A441DE98,u4ocm4qh"
`

func (b *bed) ask(path, user, password string, cookie *http.Cookie) (int, string, []*http.Cookie) {
	q, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d%s", b.set.WebPort, path), nil)
	if user != "" {
		q.SetBasicAuth(user, password)
	}
	if cookie != nil {
		q.AddCookie(cookie)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), answer.Cookies()
}

func simpleBed(t *testing.T) *bed {
	b := newBed(t)
	b.set.Application, b.set.HomeDir, b.set.ImageBuilt = simpleApplication, b.dir+"/home", "05/17/2021 10:06:27"
	b.cpf(simpleCPF)
	return b
}

func TestSimpleAnswers(t *testing.T) {
	b := simpleBed(t)
	in, _ := b.mustStart()
	for _, who := range [][2]string{{"appuser", "sys"}, {"reader", "SYS"}} {
		code, body, cookies := b.ask("/csp/myapp/get", who[0], who[1], nil)
		want := fmt.Sprintf(`{"HostName":%q,"UserName":%q,"Status":"OK","TimeStamp":"`, hostname(), who[0])
		if code != 200 || !strings.HasPrefix(body, want) || !strings.Contains(body, `"ImageBuilt":"05/17/2021 10:06:27"}`) || len(cookies) != 1 {
			t.Errorf("%v: %d %s", who, code, body)
		}
	}
	for _, who := range [][2]string{{"appuser", "SYS"}, {"", ""}, {"SuperUser", "SYS"}} {
		if code, _, _ := b.ask("/csp/myapp/get", who[0], who[1], nil); code != 401 {
			t.Errorf("%v: %d", who, code)
		}
	}
	if code, _, _ := b.ask("/csp/myapp/other", "appuser", "sys", nil); code != 404 {
		t.Errorf("another page: %d", code)
	}
	wantInOrder(t, b.session(in, "MYAPP", "set ^mark=1\nwrite \"[\",^mark,\"]\",!\n"), "[1]")
	in.stop()
	// A new container: the databases of the image are as they were, the data is that of the volume.
	b.set.HomeDir = b.dir + "/another"
	in, _ = b.mustStart()
	wantInOrder(t, b.session(in, "MYAPP", "write \"[\",^mark,\"]\",!\n"), "[1]")
}

func TestSimpleSessionsCostUnits(t *testing.T) {
	b := simpleBed(t)
	b.set.LicenseUnits = 5
	in, out := b.mustStart()
	for range 20 {
		code, _, cookies := b.ask("/csp/myapp/get", "appuser", "sys", nil)
		if code != 200 {
			t.Fatalf("sessions that are ended keep nothing, and still: %d", code)
		}
		b.ask("/csp/myapp/get?CacheLogout=end", "", "", cookies[0])
	}
	for range 4 {
		b.ask("/csp/myapp/get", "appuser", "sys", nil)
	}
	if code, body, _ := b.ask("/csp/myapp/get", "appuser", "sys", nil); code != 503 || !strings.Contains(body, "License") {
		t.Errorf("%d %s", code, body)
	}
	wantInOrder(t, out.String(), "2 [Generic.Event] License limit exceeded 1 times since instance start.")
	in.stop()
}

func TestNoApplicationOfItsOwn(t *testing.T) {
	b := newBed(t)
	b.mustStart()
	if code, _, _ := b.ask("/csp/myapp/get", "appuser", "sys", nil); code != 404 {
		t.Errorf("an image without an application answers %d", code)
	}
}
