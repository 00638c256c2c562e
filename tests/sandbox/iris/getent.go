// Stands in for glibc's `getent`, which the base system of every image of IRIS has: it looks names up as the pod's programs do, by
// /etc/hosts and the name service. Only `getent ahostsv4 NAME` is there; the real one prints three lines for each address.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"
)

func getent(args []string) int {
	if len(args) != 2 || args[0] != "ahostsv4" {
		fmt.Fprintf(os.Stderr, "getent: the stand-in knows only: getent ahostsv4 NAME\n")
		return 1
	}
	limit, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	found, err := net.DefaultResolver.LookupIP(limit, "ip4", args[1])
	if err != nil {
		return 2 // As the real one: not found, and nothing is printed.
	}
	for _, ip := range found {
		fmt.Printf("%-15s STREAM %s\n%-15s DGRAM  \n%-15s RAW    \n", ip, args[1], ip, ip)
	}
	return 0
}
