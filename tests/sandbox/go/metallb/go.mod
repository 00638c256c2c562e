module sandbox/metallb-0.15

go 1.24.0

require go.universe.tf/metallb v0.15.2

