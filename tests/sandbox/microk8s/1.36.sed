# What is different in the stand-in for MicroK8s 1.36 from that for 1.34. Applied to every file of it.
s/v1\.34\.4/v1.36.3/
s/MicroK8s 1\.34/MicroK8s 1.36/
# Addons and images.
/"name": "dashboard"/d
/^  dashboard-proxy: /d
/"name": "dns"/s/1\.12\.3/1.14.3/
s/coredns:1\.12\.3/coredns:1.14.3/
/"name": "metallb"/s/0\.15\.2/0.15.3/
# The image registry of the era.
s/192\.168\.11\.2:5000/192.168.11.2:5136/
# sudo keeps a list of variables instead of all: sudo-rs knows no -E.
s/sudo -E PATH=/sudo --preserve-env=SNAP,SNAP_DATA,SNAP_COMMON,SNAP_NAME,SNAP_REVISION,SNAP_INSTANCE_NAME,REAL_PATH,PACE PATH=/
