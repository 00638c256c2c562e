module sandbox/hostpath-provisioner

go 1.24.0
