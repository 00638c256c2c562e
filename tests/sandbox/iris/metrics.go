// /api/monitor/metrics in the text form of Prometheus, with the names that IRIS uses. What nobody measures here is an
// idle instance's value. The lines about databases come from a sensor that looks only now and then.
package main

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

// idle metrics without a label: name, value, what it is.
var idle = []struct{ name, value, help string }{
	{"iris_cache_efficiency", "1040.6", "Ratio of global references to physical reads and writes"},
	{"iris_cpu_usage", "3", "Percent of CPU usage for all programs on the operating system"},
	{"iris_csp_gateway_latency", ".3", "Time to obtain a response from the Web Gateway (ms)"},
	{"iris_csp_sessions", "1", "Number of active web session IDs on this server"},
	{"iris_ecp_conn", "0", "Number of active client connections on this ECP application server"},
	{"iris_ecp_conn_max", "2", "Maximum active client connections from this ECP application server"},
	{"iris_ecps_conn", "0", "Number of active client connections to this ECP data server"},
	{"iris_ecps_conn_max", "1", "Maximum active client connections to this ECP data server"},
	{"iris_glo_a_seize_per_sec", "0", "Number of Aseizes on the global resource per second"},
	{"iris_glo_n_seize_per_sec", "0", "Number of Nseizes on the global resource per second"},
	{"iris_glo_ref_per_sec", "71", "Number of references to globals on local databases per second"},
	{"iris_glo_ref_rem_per_sec", "0", "Number of references to globals on remote databases per second"},
	{"iris_glo_seize_per_sec", "0", "Number of seizes on the global resource per second"},
	{"iris_glo_update_per_sec", "14", "Number of updates to globals on local databases per second"},
	{"iris_glo_update_rem_per_sec", "0", "Number of updates to globals on remote databases per second"},
	{"iris_jrn_block_per_sec", "0", "Journal blocks written to disk per second"},
	{"iris_log_reads_per_sec", "51", "Logical reads per second"},
	{"iris_obj_a_seize_per_sec", "0", "Number of Aseizes on the object resource per second"},
	{"iris_obj_del_per_sec", "0", "Number of objects deleted per second"},
	{"iris_obj_hit_per_sec", "9", "Number of object references per second, in process memory"},
	{"iris_obj_load_per_sec", "0", "Number of objects loaded from disk per second, not in shared memory"},
	{"iris_obj_miss_per_sec", "0", "Number of object references not found in memory per second"},
	{"iris_obj_new_per_sec", "4", "Number of objects initialized per second"},
	{"iris_obj_seize_per_sec", "0", "Number of seizes on the object resource per second"},
	{"iris_page_space_percent_used", "0", "Percent of maximum allocated page file space used"},
	{"iris_phys_mem_percent_used", "34", "Percent of physical memory currently in use"},
	{"iris_phys_reads_per_sec", "0", "Physical database blocks read from disk per second"},
	{"iris_phys_writes_per_sec", ".2", "Physical database blocks written to disk per second"},
	{"iris_process_count", "27", "Total number of active InterSystems IRIS processes"},
	{"iris_rtn_a_seize_per_sec", "0", "Number of Aseizes on the routine resource per second"},
	{"iris_rtn_call_local_per_sec", "71", "Number of local routine calls per second to globals on remote databases"},
	{"iris_rtn_call_miss_per_sec", "0", "Number of routine calls not found in memory per second"},
	{"iris_rtn_load_per_sec", "0", "Number of routines locally loaded from or saved to disk per second"},
	{"iris_rtn_seize_per_sec", "0", "Number of seizes on the routine resource per second"},
	{"iris_smh_total", "63832", "Shared memory heap allocated for current instance (KB)"},
	{"iris_smh_total_percent_full", "5", "Percent of allocated shared memory heap in use"},
	{"iris_sql_active_queries", "0", "Number of SQL statements currently executing"},
	{"iris_sql_queries_avg_runtime", ".000213", "Average SQL statement runtime in seconds"},
	{"iris_sql_queries_per_second", "0", "Average number of SQL statements per second"},
	{"iris_trans_open_count", "0", "Number of open transactions on the current instance"},
	{"iris_trans_open_secs", "0", "Average duration of open transactions in seconds"},
	{"iris_trans_open_secs_max", "0", "Duration of longest currently open transaction in seconds"},
	{"iris_wd_buffer_redirty", "0", "Database buffers written during the last cycle that were also written in the prior one"},
	{"iris_wd_buffer_write", "3", "Database buffers written by the write daemon during its last cycle"},
	{"iris_wd_cycle_time", "0", "Milliseconds the last write daemon cycle took to complete"},
	{"iris_wd_proc_in_global", "0", "Processes actively holding global buffers at start of the last write daemon cycle"},
	{"iris_wd_size_write", "24", "Size of database buffers written during the last write daemon cycle (KB)"},
	{"iris_wd_sleep", "10005", "Milliseconds that the write daemon was inactive before its last cycle began"},
	{"iris_wd_temp_queue", "31", "In-memory buffers the write daemon used at the start of its last cycle"},
	{"iris_wd_temp_write", "0", "In-memory buffers the write daemon wrote during its last cycle"},
	{"iris_wd_write_time", "0", "Milliseconds the write daemon spent writing buffers during its last cycle"},
	{"iris_wij_writes_per_sec", "0", "WIJ physical block writes per second"},
}

type metricWriter struct{ out io.Writer }

func (m metricWriter) head(name, help string) {
	fmt.Fprintf(m.out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
}

func (m metricWriter) one(name string, value any, help string) {
	m.head(name, help)
	fmt.Fprintf(m.out, "%s %v\n", name, value)
}

func (in *Instance) metrics(out io.Writer) {
	m := metricWriter{out}
	for _, i := range idle {
		m.one(i.name, i.value, i.help)
	}
	units, used := in.set.LicenseUnits, in.license.consumed()
	m.one("iris_license_available", units-used, "Number of licenses not currently in use")
	m.one("iris_license_consumed", used, "Number of licenses currently in use")
	m.one("iris_license_days_remaining", in.license.daysRemaining(), "Number of days remaining before the license expires")
	m.one("iris_license_percent_used", math.Round(100*float64(used)/float64(units)), "Percent of licenses currently in use")
	m.head("iris_cpu_pct", "Percent of CPU usage by InterSystems IRIS process type")
	for _, kind := range []string{"CSPDMN", "CSPSRV", "ECPWorker", "GARCOL", "JRNDMN", "LICENSESRV", "WDAUX", "WRTDMN"} {
		fmt.Fprintf(out, "iris_cpu_pct{id=%q} 0\n", kind)
	}

	in.mu.Lock()
	defer in.mu.Unlock()
	alerting := 0
	if in.state != "ok" {
		alerting = 1
	}
	m.one("iris_system_alerts", len(in.alerts), "Number of alerts posted to the messages log since system startup")
	m.one("iris_system_alerts_new", truth(len(in.alerts) > 0), "Whether new alerts are available from /api/monitor/alerts")
	m.one("iris_system_state", alerting, "System Monitor health state of the instance")
	if in.sampled {
		in.databaseMetrics(m)
	}
}

func (in *Instance) databaseMetrics(m metricWriter) {
	var names []string
	for name := range in.dbs {
		names = append(names, name)
	}
	sort.Strings(names)
	each := func(metric, help string, line func(name, dir string, d *Database) string) {
		m.head(metric, help)
		for _, name := range names {
			d := in.dbs[name]
			fmt.Fprintf(m.out, "%s{%s\n", metric, line(name, strings.TrimRight(d.dir, "/")+"/", d))
		}
	}
	each("iris_db_size_mb", "Size of the database (MB)", func(name, dir string, d *Database) string {
		return fmt.Sprintf("id=%q,dir=%q} %d", name, dir, d.sizeMB())
	})
	each("iris_db_max_size_mb", "Maximum size of the database, 0 for unlimited (MB)", func(name, dir string, d *Database) string {
		return fmt.Sprintf("id=%q} 0", name)
	})
	each("iris_db_expansion_size_mb", "Amount by which to expand the database (MB)", func(name, dir string, d *Database) string {
		return fmt.Sprintf("id=%q} 0", name)
	})
	each("iris_db_free_space", "Free space available in the database, updated once a day (MB)", func(name, dir string, d *Database) string {
		return fmt.Sprintf("id=%q} .7", name)
	})
	each("iris_db_latency", "Milliseconds to complete a random read from the database", func(name, dir string, d *Database) string {
		return fmt.Sprintf("id=%q} .024", name)
	})
	each("iris_disk_percent_full", "Percent of space filled on the database's storage volume", func(name, dir string, d *Database) string {
		full, _ := volume(d.dir)
		return fmt.Sprintf("id=%q,dir=%q} %d", name, dir, full)
	})
	each("iris_directory_space", "Free space on the database's storage volume (MB)", func(name, dir string, d *Database) string {
		_, free := volume(d.dir)
		return fmt.Sprintf("id=%q,dir=%q} %d", name, dir, free)
	})
	journal := filepath.Join(in.set.DataDir, "mgr", "journal") + "/"
	_, free := volume(journal)
	m.head("iris_jrn_free_space", "Free space on each journal directory's storage volume (MB)")
	fmt.Fprintf(m.out, "iris_jrn_free_space{id=\"primary\",dir=%q} %d\n", journal, free)
}

// volume tells how full the file system of a directory is.
func volume(dir string) (percentFull, freeMB int64) {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil || st.Blocks == 0 {
		return 0, 0
	}
	return int64(100 - 100*st.Bavail/st.Blocks), int64(st.Bavail) * st.Bsize / megabyte
}
