// The private web server on 52773: the monitor's pages, the portal with its login for every name, the REST service
// /api/atelier as far as a login check needs it, and that of an application (application.go).
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	portalHold  = 10 * time.Minute // a portal session that nobody goes on with keeps its unit for this grace period
	atelierHold = time.Hour        // the service's session timeout
)

// webSession is what a cookie CSPSESSIONID-... stands for.
type webSession struct{ token, user string }

type web struct {
	in       *Instance
	mu       sync.Mutex
	sessions map[string]*webSession
}

func (in *Instance) web() http.Handler {
	w := &web{in: in, sessions: map[string]*webSession{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/monitor/metrics", func(r http.ResponseWriter, _ *http.Request) {
		r.Header().Set("Content-Type", "text/plain; charset=utf-8")
		in.metrics(r)
	})
	mux.HandleFunc("/api/monitor/alerts", w.alerts)
	mux.HandleFunc("/csp/user/cache_status.cxw", func(r http.ResponseWriter, _ *http.Request) { fmt.Fprintln(r, "OK") })
	mux.HandleFunc("/csp/sys/", w.portal)
	mux.HandleFunc("/api/atelier/", w.atelier)
	if in.set.Application == simpleApplication {
		mux.HandleFunc("/csp/myapp/", w.application)
	}
	return http.HandlerFunc(func(r http.ResponseWriter, q *http.Request) {
		r.Header().Set("Server", "Apache")
		mux.ServeHTTP(r, q)
	})
}

// alerts hands out what came since the last call, and forgets it: a probe that reads it takes it from the operator.
func (w *web) alerts(r http.ResponseWriter, _ *http.Request) {
	w.in.mu.Lock()
	defer w.in.mu.Unlock()
	list := []map[string]string{}
	for _, text := range w.in.alerts {
		list = append(list, map[string]string{"time": w.in.since.UTC().Format(time.RFC3339), "severity": "2", "message": text})
	}
	w.in.alerts = nil
	r.Header().Set("Content-Type", "application/json")
	json.NewEncoder(r).Encode(list)
}

// session finds the caller's session by its cookie or begins one, which costs a licence unit. Without one to be had it
// answers 503 itself and returns nil.
func (w *web) session(r http.ResponseWriter, q *http.Request, application string, hold time.Duration) *webSession {
	w.mu.Lock()
	defer w.mu.Unlock()
	cookie := "CSPSESSIONID-SP-52773-UP-" + strings.ReplaceAll(strings.Trim(application, "/"), "/", "-") + "-"
	id, s := "", (*webSession)(nil)
	if c, err := q.Cookie(cookie); err == nil {
		id, s = c.Value, w.sessions[c.Value]
	}
	if s == nil {
		id, s = rand.Text(), &webSession{token: rand.Text()}
	}
	if w.in.license.take("web-"+id, hold) != nil {
		http.Error(r, "Service Unavailable. Check License Usage", http.StatusServiceUnavailable)
		return nil
	}
	w.sessions[id] = s
	http.SetCookie(r, &http.Cookie{Name: cookie, Value: id, Path: application, HttpOnly: true})
	return s
}

func (w *web) login(user, password string) (*User, bool) {
	w.in.mu.Lock()
	u, right := w.in.security().check(user, password)
	w.in.mu.Unlock()
	if !right {
		// A session's log shows nothing of it; the audit database of the real one does.
		return nil, false
	}
	return u, true
}

func (w *web) portal(r http.ResponseWriter, q *http.Request) {
	s := w.session(r, q, "/csp/sys/", portalHold)
	if s == nil {
		return
	}
	r.Header().Set("Content-Type", "text/html; charset=utf-8")
	name := q.PostFormValue("IRISUsername")
	if q.Method == http.MethodPost && name != "" {
		u, right := w.login(name, q.PostFormValue("IRISPassword"))
		switch {
		case !right:
			loginPage(r, s, "Login failed")
			return
		case u.ChangePassword:
			page(r, "Password change IRIS", passwordForm, s.token)
			return
		}
		s.user = name
		if q.PostFormValue("IRISSessionToken") == s.token {
			http.Redirect(r, q, q.URL.Path, http.StatusFound)
			return
		}
	}
	if s.user == "" {
		loginPage(r, s, "")
		return
	}
	page(r, "Management Portal", "<p>User: %s</p>", s.user)
}

func loginPage(r http.ResponseWriter, s *webSession, message string) {
	page(r, "Login IRIS", `<p>%s</p><form method="post"><input type="hidden" name="IRISSessionToken" value="%s">
<input type="text" name="IRISUsername"><input type="password" name="IRISPassword"><input type="submit" name="IRISLogin"></form>`,
		message, s.token)
}

const passwordForm = `<form method="post"><input type="hidden" name="IRISSessionToken" value="%s">
<input type="password" name="IRISOldPassword"><input type="password" name="IRISPassword"><input type="submit"></form>`

// page writes a page; what goes into it is ours, or a name that the accounts know.
func page(r http.ResponseWriter, title, body string, a ...any) {
	fmt.Fprintf(r, "<!DOCTYPE html>\n<html><head><title>%s</title></head><body>\n"+body+"\n</body></html>\n", append([]any{title}, a...)...)
}

var queryPath = regexp.MustCompile(`^/api/atelier/v\d+/([^/]+)/action/query$`)

// logout is `?IRISLogout=end` ("Using CSP Sessions"), in former times `CacheLogout`: the session ends before the server looks at the rest of
// the request.
func (w *web) logout(q *http.Request) {
	if asked := q.URL.Query(); asked.Get("IRISLogout") != "end" && asked.Get("CacheLogout") != "end" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range q.Cookies() {
		if w.sessions[c.Value] != nil {
			delete(w.sessions, c.Value)
			w.in.license.release("web-" + c.Value)
		}
	}
}

func (w *web) atelier(r http.ResponseWriter, q *http.Request) {
	w.logout(q)
	name, password, given := q.BasicAuth()
	u, right := w.login(name, password)
	if !given || !right || u.ChangePassword || len(u.Roles) == 0 {
		r.Header().Set("WWW-Authenticate", `Basic realm="/api/atelier/"`)
		http.Error(r, "Unauthorized", http.StatusUnauthorized)
		return
	}
	if w.session(r, q, "/api/atelier/", atelierHold) == nil {
		return
	}
	m := queryPath.FindStringSubmatch(q.URL.Path)
	switch {
	case strings.TrimRight(q.URL.Path, "/") == "/api/atelier":
		w.in.mu.Lock()
		namespaces := []string{}
		for _, l := range w.in.cpf.section("Namespaces").lines {
			namespaces = append(namespaces, l.key)
		}
		w.in.mu.Unlock()
		answer(r, nil, map[string]any{"version": w.in.set.Version, "api": 8, "namespaces": namespaces})
	case m != nil && q.Method == http.MethodPost:
		w.query(r, q, m[1])
	default:
		http.NotFound(r, q)
	}
}

func (w *web) query(r http.ResponseWriter, q *http.Request, namespace string) {
	var body struct{ Query string }
	w.in.mu.Lock()
	_, known := w.in.cpf.get("Namespaces", strings.ToUpper(namespace))
	w.in.mu.Unlock()
	if !known {
		http.NotFound(r, q)
		return
	}
	if err := json.NewDecoder(q.Body).Decode(&body); err != nil {
		http.Error(r, "Bad Request", http.StatusBadRequest)
		return
	}
	columns, row, code := selectLiterals(body.Query)
	if code != 0 {
		answer(r, []any{map[string]any{"code": 5540, "error": fmt.Sprintf("ERROR #5540: SQLCODE: %d Message: Invalid SQL statement", code)}}, nil)
		return
	}
	content := map[string]string{}
	for i, c := range columns {
		content[c] = row[i]
	}
	answer(r, nil, []any{content})
}

func answer(r http.ResponseWriter, errors []any, content any) {
	if errors == nil {
		errors = []any{}
	}
	r.Header().Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(r).Encode(map[string]any{"status": map[string]any{"errors": errors, "summary": ""}, "console": []string{},
		"result": map[string]any{"content": content}})
}
