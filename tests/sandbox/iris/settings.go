// What differs between images and pods. An image sets IRIS_STANDIN_* in its config; a pod may override them to make
// a start slow or a licence short. The names without that prefix are IRIS' own.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

type Settings struct {
	Version        string // 2026.1.0.234.1com
	LicenseExpires string // last day of the licence, 2006-01-02
	LicenseUnits   int
	UID, GID       int     // who IRIS' processes are
	StartSeconds   float64 // from the start to "...started"; the first start of a durable directory adds half of it
	StopSeconds    float64
	SensorSeconds  float64 // how long after the web server the databases appear in the metrics
	InstallDir     string
	DataDir        string // ISC_DATA_DIRECTORY, or the install directory
	MergeFile      string // ISC_CPF_MERGE_FILE
	Application    string // what is built upon IRIS: `simple`, or nothing
	ImageBuilt     string // what it says of when that was
	HomeDir        string // where databases of the image lie
	SuperPort      int
	WebPort        int
	AgentPort      int
}

func settingsFromEnv() (Settings, error) {
	s := Settings{
		Version:        env("IRIS_STANDIN_VERSION", "2026.1.0.234.1com"),
		LicenseExpires: env("IRIS_STANDIN_LICENSE_EXPIRES", "1970-01-01"),
		InstallDir:     env("ISC_PACKAGE_INSTALLDIR", "/usr/irissys"),
		MergeFile:      os.Getenv("ISC_CPF_MERGE_FILE"),
		Application:    os.Getenv("IRIS_STANDIN_APPLICATION"),
		ImageBuilt:     env("IRIS_STANDIN_IMAGE_BUILT", "01/01/2026 00:00:00"),
		HomeDir:        env("HOME", "/home/irisowner"),
		UID:            51773, SuperPort: 1972, WebPort: 52773, AgentPort: 2188,
	}
	s.DataDir = strings.TrimRight(env("ISC_DATA_DIRECTORY", s.InstallDir), "/")
	if _, err := time.Parse(time.DateOnly, s.LicenseExpires); err != nil {
		return s, fmt.Errorf("IRIS_STANDIN_LICENSE_EXPIRES is not a date: %w", err)
	}
	var err error
	for _, n := range []struct {
		key, def string
		into     *int
	}{{"IRIS_STANDIN_LICENSE_UNITS", "8", &s.LicenseUnits}, {"IRIS_STANDIN_GID", "51773", &s.GID}} {
		if *n.into, err = strconv.Atoi(env(n.key, n.def)); err != nil {
			return s, fmt.Errorf("%s is not a number: %w", n.key, err)
		}
	}
	for _, n := range []struct {
		key, def string
		into     *float64
	}{{"IRIS_STANDIN_START_SECONDS", "3", &s.StartSeconds}, {"IRIS_STANDIN_STOP_SECONDS", "1", &s.StopSeconds},
		{"IRIS_STANDIN_SENSOR_SECONDS", "2", &s.SensorSeconds}} {
		if *n.into, err = strconv.ParseFloat(env(n.key, n.def), 64); err != nil {
			return s, fmt.Errorf("%s is not a number: %w", n.key, err)
		}
	}
	return s, nil
}

func env(key, def string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return def
}

// durable tells whether the instance keeps its state outside of the image.
func (s Settings) durable() bool { return s.DataDir != s.InstallDir }

// year is the first part of the version; several rules changed with a year.
func (s Settings) year() int {
	y, _ := strconv.Atoi(strings.SplitN(s.Version, ".", 2)[0])
	return y
}

// seconds turns a setting into a duration.
func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
