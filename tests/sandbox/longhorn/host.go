// The machine around the container: Longhorn runs commands of the host, in the namespaces of its first process.
package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// onHost runs a command of the host; what it says on both streams goes into the error.
func onHost(ctx context.Context, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	args := append([]string{"--mount=/host/proc/1/ns/mnt", "--net=/host/proc/1/ns/net", "--"}, command...)
	var out, errs strings.Builder
	run := exec.CommandContext(ctx, "nsenter", args...)
	run.Stdout, run.Stderr = &out, &errs
	run.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	if err := run.Run(); err != nil {
		return out.String(), fmt.Errorf("failed to execute: nsenter [%s], output %s, stderr %s: %w",
			strings.Join(args, " "), strings.TrimSpace(out.String()), strings.TrimSpace(errs.String()), err)
	}
	return out.String(), nil
}

// iscsiInstalled is all that the manager asks of its host before it starts.
func iscsiInstalled(ctx context.Context) error {
	if _, err := onHost(ctx, "iscsiadm", "--version"); err != nil {
		return fmt.Errorf("error starting manager: failed to check environment, please make sure you have iscsiadm/open-iscsi installed on the host: %w", err)
	}
	return nil
}

// hostConditions are what 1.11 looks for and only reports: nothing waits for them.
func hostConditions(ctx context.Context) [][4]string {
	is := func(kind string, ok bool, reason, message string) [4]string {
		if ok {
			return [4]string{kind, "True", "", ""}
		}
		return [4]string{kind, "False", reason, message}
	}
	_, err := onHost(ctx, "test", "-e", "/run/multipathd.takes")
	found := [][4]string{is("Multipathd", err != nil, "MultipathdIsRunning",
		"multipathd is running with a known issue that affects Longhorn. See description and solution at https://longhorn.io/kb/troubleshooting-volume-with-multipath")}

	_, err = onHost(ctx, "test", "-e", "/sys/module/dm_crypt")
	found = append(found, is("KernelModulesLoaded", err == nil, "KernelModulesNotLoaded", "Kernel modules [dm_crypt] are not loaded"))

	missing := []string{}
	for _, name := range []string{"nfs-common", "open-iscsi", "cryptsetup", "dmsetup"} {
		said, err := onHost(ctx, "dpkg-query", "-W", "-f", "${db:Status-Abbrev}", name)
		if err != nil || strings.TrimSpace(said) != "ii" {
			missing = append(missing, name)
		}
	}
	found = append(found, is("RequiredPackages", len(missing) == 0, "PackagesNotInstalled", fmt.Sprintf("Missing packages: %v", missing)))

	_, err = onHost(ctx, "test", "-e", "/sys/module/nfs")
	return append(found, is("NFSClientInstalled", err == nil, "NFSClientIsNotFound", "NFS clients not found"))
}
