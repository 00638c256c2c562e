module sandbox/iris

go 1.24.0
