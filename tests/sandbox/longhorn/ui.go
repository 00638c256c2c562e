// The page, the engine image, and the one use that the manifest makes of curl.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"time"
)

// ui shows a page on port 8000 without asking who is there, and passes /v1 on to the manager: whoever reaches it rules over all volumes.
func ui(ctx context.Context, _ []string) error {
	manager, err := url.Parse(os.Getenv("LONGHORN_MANAGER_IP"))
	if err != nil {
		return err
	}
	// nginx looks the name up when it starts, and not later.
	if _, err := net.LookupHost(manager.Hostname()); err != nil {
		return fmt.Errorf(`nginx: [emerg] host not found in upstream "%s:%s" in /var/config/nginx/nginx.conf:32`, manager.Hostname(), manager.Port())
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", httputil.NewSingleHostReverseProxy(manager))
	mux.Handle("/v1", httputil.NewSingleHostReverseProxy(manager))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintln(w, "<!doctype html><title>Longhorn</title><h1>Longhorn</h1><p>Stand-in of the sandbox. <a href=/v1/volumes>Volumes</a>")
	})
	server := &http.Server{Addr: ":8000", Handler: mux}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	return server.ListenAndServe()
}

// engineImage puts the engine's program on the host, where it stays for good.
func engineImage(ctx context.Context, _ []string) error {
	if err := os.WriteFile("/data/longhorn", []byte("#!/bin/sh\n# Stands in for Longhorn's engine.\n"), 0o755); err != nil {
		return err
	}
	<-ctx.Done()
	return os.Remove("/data/longhorn")
}

// curl -m SECONDS -s -o FILE -w FORMAT URL prints the status, as the driver deployer's first container asks for it.
func curl(_ context.Context, args []string) error {
	seconds, address := 10, ""
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-m":
			i++
			seconds, _ = strconv.Atoi(args[i])
		case "-o", "-w":
			i++
		case "-s":
		default:
			address = args[i]
		}
	}
	client := http.Client{Timeout: time.Duration(seconds) * time.Second}
	reply, err := client.Get(address)
	if err != nil {
		fmt.Print("000")
		os.Exit(7)
	}
	defer reply.Body.Close()
	_, _ = io.Copy(io.Discard, reply.Body)
	fmt.Print(reply.StatusCode)
	return nil
}
