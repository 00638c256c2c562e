# Debian's /etc/profile gives users a path without the sbin directories; Ubuntu leaves them what /etc/environment says.
. /etc/environment
export PATH
