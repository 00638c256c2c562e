// The application `simple`, which is built upon IRIS as an image of its own: databases and a namespace of the image, an account without roles, and a
// REST service that says which instance answers (github.com/IRISMeister/simple: MyApp.disp, Installer, merge.cpf).
//
// What a session of the service holds when it is not ended, and for how long, is ours: that of a portal session.
package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	simpleApplication = "simple"
	simpleUser        = "appuser"
	// simplePassword is the hash of `sys`, as the image's installer sets it. The account has no roles: [Startup] PasswordHash passes it by.
	simplePassword = "E1FED4684BCCC9DAC6FD32F26ADFF7D85AD8B9A4,simple01"
	simpleStamp    = "01/02/2006 15:04:05"
)

// simpleDatabases are those of the image: they are in every container anew, whatever its volumes hold.
func simpleDatabases(s Settings) map[string]string {
	return map[string]string{"MYAPP-DATA": filepath.Join(s.HomeDir, "MYAPP-DATA"), "MYAPP-CODE": filepath.Join(s.HomeDir, "MYAPP-CODE")}
}

// installApplication makes what the image holds besides IRIS.
func installApplication(s Settings, who identity) error {
	if s.Application != simpleApplication {
		return nil
	}
	for _, dir := range simpleDatabases(s) {
		if _, err := os.Stat(filepath.Join(dir, datFile)); err == nil {
			continue
		}
		if _, err := createDatabase(dir, who); err != nil {
			return err
		}
	}
	return nil
}

// addApplication writes the application into the settings and the accounts of an instance that is new.
func addApplication(s Settings, c *CPF, sec *Security) {
	if s.Application != simpleApplication {
		return
	}
	for name, dir := range simpleDatabases(s) {
		c.section("Databases").set(name, dir+"/")
	}
	c.section("Namespaces").set("MYAPP", "MYAPP-DATA,MYAPP-CODE")
	sec.Users[simpleUser] = &User{simplePassword, nil, false, true}
}

// application answers /csp/myapp/get for every account that logs in, with or without roles.
func (w *web) application(r http.ResponseWriter, q *http.Request) {
	w.logout(q)
	name, password, given := q.BasicAuth()
	u, right := w.login(name, password)
	if !given || !right || u.ChangePassword {
		r.Header().Set("WWW-Authenticate", `Basic realm="/csp/myapp"`)
		http.Error(r, "Unauthorized", http.StatusUnauthorized)
		return
	}
	if w.session(r, q, "/csp/myapp/", portalHold) == nil {
		return
	}
	if strings.TrimRight(q.URL.Path, "/") != "/csp/myapp/get" || q.Method != http.MethodGet {
		http.NotFound(r, q)
		return
	}
	r.Header().Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(r).Encode(struct{ HostName, UserName, Status, TimeStamp, ImageBuilt string }{
		hostname(), name, "OK", time.Now().In(w.in.log.zone).Format(simpleStamp), w.in.set.ImageBuilt})
}
