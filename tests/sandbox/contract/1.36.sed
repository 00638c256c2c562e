# What MicroK8s 1.36 says otherwise than 1.34, of which there are recordings. Applied to each of their lines.
s/v1\.34\.4/v1.36.3/g
s/--channel=1\.34/--channel=1.36/
s|1\.34/stable|1.36/stable|
# The addon dashboard and its command are gone.
/^>.* name: dashboard$/,/^> *status:/d
/core\/dashboard/d
/ dashboard  *# (core)/d
/^[>[:space:]]*dashboard-proxy$/d
# Newer addons.
s/^\(>  *version: \)1\.12\.3$/\11.14.3/
s/^\(>  *version: \)0\.15\.2$/\10.15.3/
