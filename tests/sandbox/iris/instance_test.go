package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// lockedBuffer takes a log that is written while the test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// bed is a host for instances: its directory stands for the pod's volumes, and outlives them.
type bed struct {
	t   *testing.T
	dir string
	set Settings
}

func newBed(t *testing.T) *bed {
	dir := t.TempDir()
	return &bed{t, dir, Settings{Version: "2026.1.0.234.1com", LicenseExpires: "2099-12-31", LicenseUnits: 8,
		UID: os.Getuid(), GID: os.Getgid(), InstallDir: dir + "/install", DataDir: dir + "/mgr/IRIS_conf.d"}}
}

// cpf writes the merge file.
func (b *bed) cpf(text string) {
	b.set.MergeFile = b.dir + "/merge.cpf"
	if err := os.WriteFile(b.set.MergeFile, []byte(strings.ReplaceAll(text, "VOL", b.dir+"/vol")), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// freePort asks the kernel for a port of the loopback.
func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (b *bed) start() (*Instance, *lockedBuffer, error) {
	b.set.SuperPort, b.set.WebPort = freePort(b.t), freePort(b.t)
	out := &lockedBuffer{}
	in := newInstance(b.set, newLog(out, "JST-9"))
	if err := in.serveControl(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		for _, l := range in.listener {
			l.Close()
		}
	})
	return in, out, in.start(make(chan struct{}))
}

func (b *bed) mustStart() (*Instance, *lockedBuffer) {
	in, out, err := b.start()
	if err != nil {
		b.t.Fatalf("%v\n%s", err, out)
	}
	return in, out
}

const articleCPF = `[Startup]
SystemMode=TEST
WebServer=1
PasswordHash=FBFE8593AEFA510C27FD184738D6E865A441DE98,u4ocm4qh

[config]
globals=0,0,32,0,0,0
routines=32

[Actions]
CreateDatabase:Name=TEST-DATA,Directory=VOL/TEST-DATA
CreateNamespace:Name=TEST,Globals=TEST-DATA,Routines=TEST-DATA
`

// wantInOrder looks for texts one after the other.
func wantInOrder(t *testing.T, text string, wants ...string) {
	t.Helper()
	rest := text
	for _, want := range wants {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("%q is missing, or comes too early, in\n%s", want, text)
		}
		rest = after
	}
}

func TestStartOrder(t *testing.T) {
	b := newBed(t)
	b.cpf(articleCPF)
	in, out := b.mustStart()
	wantInOrder(t, out.String(), "licensed for use exclusively by:\nInterSystems IRIS Community\n", "Auto-selected 25% of total memory.",
		"Allocated 495MB shared memory: 32MB", "Using WIJ file: "+b.set.DataDir+"/mgr/IRIS.WIJ", "Mounted database "+b.dir+"/vol/TEST-DATA/",
		fmt.Sprintf("Private webserver started on %d", b.set.WebPort), "Enabling logons")
	stamp := regexp.MustCompile(`(?m)^\d\d/\d\d/\d\d-\d\d:\d\d:\d\d:\d{3} \(\d+\) 0 \[Utility\.Event\] Enabling logons$`)
	if !stamp.MatchString(out.String()) {
		t.Errorf("no line of messages.log:\n%s", out)
	}
	if hour := time.Now().UTC().Add(9 * time.Hour).Format("-15:"); !strings.Contains(out.String(), hour) {
		t.Errorf("the log is not in the zone JST-9:\n%s", out)
	}
	for _, file := range []string{"iris.cpf", "_LastGood_.cpf", "mgr/IRIS.DAT", "mgr/IRIS.WIJ", "mgr/messages.log", "mgr/alerts.log", "merge_actions.cpf"} {
		if _, err := os.Stat(filepath.Join(b.set.DataDir, file)); err != nil {
			t.Error(err)
		}
	}
	text, _ := os.ReadFile(b.set.DataDir + "/iris.cpf")
	for _, line := range []string{"\nTEST-DATA=" + b.dir + "/vol/TEST-DATA/\n", "\nTEST=TEST-DATA\n", "\nSystemMode=TEST\n"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("iris.cpf lacks %q:\n%s", line, text)
		}
	}
	in.stop()
	if _, out := b.mustStart(); strings.Contains(out.String(), "abnormal") || strings.Contains(out.String(), "ERROR") || strings.Contains(out.String(), "25%") {
		t.Errorf("a second start is not clean:\n%s", out)
	}
}

func TestExpiredLicense(t *testing.T) {
	b := newBed(t)
	b.set.LicenseExpires = time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	if _, out, err := b.start(); err == nil {
		t.Error("it starts")
	} else {
		wantInOrder(t, out.String(), "Community License expired.", "Invalid Community Edition license, may have exceeded core limit.", "** Startup aborted **")
	}
	b.set.LicenseExpires = time.Now().UTC().Format(time.DateOnly)
	b.mustStart() // A licence is good to the end of its last day.
}

func TestFailingAction(t *testing.T) {
	b := newBed(t)
	os.Mkdir(b.dir+"/vol", 0o555)
	b.cpf(articleCPF)
	in, out := b.mustStart()
	wantInOrder(t, out.String(), "1 [Utility.Event] ERROR #503: Error executing [Actions] section in file "+b.set.DataDir+"/merge_actions.cpf\n",
		"1 [Utility.Event] ERROR #507: Action 'CreateDatabase' failed at line 2, Method Config.CPF:CreateOneDatabase(), Error=ERROR #5032: Cannot create directory '"+
			b.dir+"/vol/TEST-DATA/, Error=-13'\n", "Enabling logons")
	if in.dbs["TEST-DATA"] != nil {
		t.Error("the database is there")
	}
	os.Chmod(b.dir+"/vol", 0o755)
	in.merge(b.set.MergeFile)
	if in.dbs["TEST-DATA"] == nil {
		t.Errorf("the next merge does not make up for it:\n%s", out)
	}
}

func TestAfterAKill(t *testing.T) {
	b := newBed(t)
	b.cpf(articleCPF)
	b.mustStart()
	in, out := b.mustStart()
	wantInOrder(t, out.String(), "Previous system shutdown was abnormal", "2 [Generic.Event] Preserving journal files")
	if in.state != "warn" {
		t.Errorf("the state is %s", in.state)
	}
	b.set.Version = "2027.1.0.100.0com"
	if _, out, err := b.start(); err == nil {
		t.Errorf("it upgrades what was not shut down:\n%s", out)
	}
}

func TestLostDatabaseStaysDefined(t *testing.T) {
	b := newBed(t)
	b.cpf(articleCPF)
	in, _ := b.mustStart()
	in.stop()
	os.RemoveAll(b.dir + "/vol/TEST-DATA")
	in, out := b.mustStart()
	if _, defined := in.cpf.get("Databases", "TEST-DATA"); !defined || in.dbs["TEST-DATA"] != nil {
		t.Errorf("defined %v, mounted %v", defined, in.dbs["TEST-DATA"] != nil)
	}
	wantInOrder(t, out.String(), "Error mounting database")
	in.stop()
	os.RemoveAll(b.set.DataDir)
	os.MkdirAll(b.dir+"/vol/TEST-DATA", 0o755)
	os.WriteFile(b.dir+"/vol/kept", []byte("by somebody else"), 0o600)
	b.mustStart()
	if data, _ := os.ReadFile(b.dir + "/vol/kept"); string(data) != "by somebody else" {
		t.Error("another's file was touched")
	}
}

func (b *bed) session(in *Instance, namespace, input string) string {
	var out strings.Builder
	if code, err := ask(in.set, request{Op: "session", Namespace: namespace}, strings.NewReader(input), &out); err != nil || code != 0 {
		b.t.Errorf("session: exit %d, %v", code, err)
	}
	return out.String()
}

func TestSession(t *testing.T) {
	b := newBed(t)
	b.cpf(articleCPF)
	in, _ := b.mustStart()
	out := b.session(in, "%SYS", `write "NS=",##class(%SYS.Namespace).Exists("TEST")," DB=",##class(Config.Databases).Exists("TEST-DATA"),!
write "NOT=",##class(%SYS.Namespace).Exists("NOPE"),!
set rs=##class(%SQL.Statement).%ExecDirect(,"select 1 as one") write "SQL=",rs.%SQLCODE,!
for i=1:1:3 { write "loop" }
write ^never
halt
write "after"
`)
	wantInOrder(t, out, "Instance: IRIS", "%SYS>", "NS=1 DB=1\n", "NOT=0\n", "SQL=0\n", "<SYNTAX>", "<UNDEFINED> *^never")
	if strings.Contains(out, "loop") || strings.Contains(out, "after") {
		t.Errorf("it runs what it does not know:\n%s", out)
	}
	b.session(in, "TEST", "set ^mk8scheck=$h,^a(1,\"x\")=5\nset ^mark=\"kept\"\nkill ^a\n")
	in.stop()
	in, _ = b.mustStart()
	wantInOrder(t, b.session(in, "TEST", "write \"[\",^mark,\"]\",$data(^a(1,\"x\")),!\n"), "[kept]0\n")
	if out := b.session(in, "USER", "write ^mark,!\n"); !strings.Contains(out, "<UNDEFINED>") {
		t.Errorf("another namespace sees the global:\n%s", out)
	}
}

func (b *bed) get(client *http.Client, path string) (int, string) {
	answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", b.set.WebPort, path))
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body)
}

func TestMetrics(t *testing.T) {
	b := newBed(t)
	b.set.SensorSeconds = 0.3
	b.cpf(articleCPF)
	b.mustStart()
	code, text := b.get(http.DefaultClient, "/api/monitor/metrics")
	if code != 200 || strings.Contains(text, "iris_db_size_mb") {
		t.Errorf("%d, databases too early:\n%s", code, text)
	}
	time.Sleep(400 * time.Millisecond)
	_, text = b.get(http.DefaultClient, "/api/monitor/metrics")
	for _, line := range []string{`iris_db_size_mb{id="TEST-DATA",dir="` + b.dir + `/vol/TEST-DATA/"} 1`, `iris_db_size_mb{id="IRISSYS",dir="` + b.set.DataDir + `/mgr/"} 1`,
		"iris_license_available 7", "iris_license_consumed 1", "iris_license_percent_used 13", "iris_system_state 0", "iris_system_alerts 0"} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("%q is missing", line)
		}
	}
	shape := regexp.MustCompile(`^(# (HELP|TYPE) iris_\w+ .+|iris_\w+(\{(\w+="[^"]*",?)+\})? -?\d*\.?\d+)$`)
	seen := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if !shape.MatchString(line) {
			t.Errorf("not a line of metrics: %q", line)
		}
		if seen[line] {
			t.Errorf("twice: %q", line)
		}
		seen[line] = true
	}
}

func TestLicenseUnitsRunOut(t *testing.T) {
	b := newBed(t)
	in, out := b.mustStart()
	for i := range 7 {
		if code, body := b.get(http.DefaultClient, fmt.Sprintf("/csp/sys/no-such-page-%d", i)); code != 200 || !strings.Contains(body, "IRISUsername") || !strings.Contains(body, "<title>Login IRIS</title>") {
			t.Errorf("call %d: %d\n%s", i, code, body)
		}
	}
	if code, body := b.get(http.DefaultClient, "/csp/sys/UtilHome.csp"); code != 503 || !strings.Contains(body, "License") {
		t.Errorf("%d %s", code, body)
	}
	wantInOrder(t, b.session(in, "USER", "write 1\n"), "<LICENSE LIMIT EXCEEDED>")
	wantInOrder(t, out.String(), "2 [Generic.Event] License limit exceeded 1 times since instance start.", "License limit exceeded 2 times")
	if code, text := b.get(http.DefaultClient, "/api/monitor/metrics"); code != 200 || !strings.Contains(text, "iris_license_available 0") {
		t.Errorf("metrics: %d", code)
	}
}

func TestLogin(t *testing.T) {
	b := newBed(t)
	b.cpf(articleCPF)
	in, _ := b.mustStart()
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	token := regexp.MustCompile(`name="IRISSessionToken" value="([^"]+)"`)
	login := func(password string) (int, string) {
		_, body := b.get(client, "/csp/sys/UtilHome.csp")
		answer, err := client.PostForm(fmt.Sprintf("http://127.0.0.1:%d/csp/sys/UtilHome.csp", b.set.WebPort),
			url.Values{"IRISUsername": {"SuperUser"}, "IRISPassword": {password}, "IRISSessionToken": {token.FindStringSubmatch(body)[1]}})
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		page, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, string(page)
	}
	atelier := func(password string) int {
		q, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/api/atelier/", b.set.WebPort), nil)
		q.SetBasicAuth("SuperUser", password)
		answer, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	if code, page := login("SYS"); code != 200 || !strings.Contains(page, "Password change IRIS") || !strings.Contains(page, "IRISOldPassword") {
		t.Errorf("the first login: %d\n%s", code, page)
	}
	if code := atelier("SYS"); code != 401 {
		t.Errorf("with a password to be changed, REST answers %d", code)
	}
	b.cpf("[Actions]\nModifyUser:Name=SuperUser,ChangePassword=0,PasswordNeverExpires=1\nModifyUser:Name=nobody,ChangePassword=0\n")
	in.merge(b.set.MergeFile)
	if code := atelier("sys"); code != 401 {
		t.Errorf("the wrong password: REST answers %d", code)
	}
	if code := atelier("SYS"); code != 200 {
		t.Errorf("REST answers %d", code)
	}
	used := in.license.consumed()
	if code, _ := b.get(client, "/api/atelier/?IRISLogout=end"); code != 401 || in.license.consumed() != used-1 {
		t.Errorf("after the logout REST answers %d, and %d of %d units are in use", code, in.license.consumed(), used)
	}
	if code, page := login("sys"); code != 200 || !strings.Contains(page, "Login IRIS") {
		t.Errorf("the wrong password: %d\n%s", code, page)
	}
	if code, page := login("SYS"); code != 302 {
		t.Errorf("the right password: %d\n%s", code, page)
	}
}
