#!/bin/sh
# The image's own health check: running, and nothing wrong in the eyes of the system monitor. After a kill it fails for half an hour,
# although IRIS works: it is no readiness probe.
iris qlist IRIS | {
    IFS='^' read -r _ _ _ status _ _ _ _ state _
    case $status in running*) [ "$state" = ok ] ;; *) false ;; esac
}
