# shellcheck shell=bash
# Stands in for MicroK8s 1.20's own actions/common/utils.sh: what is other than in the version of lib/utils.sh, which it takes the rest from.

exit_if_no_permissions() {
    [ -r "$SNAP_DATA/credentials/client.config" ] || {
        printf '%s\n' "Insufficient permissions to access MicroK8s." >&2
        printf '%s\n' "You can either try again with sudo or add the user $USER to the 'microk8s' group:" \
            "" "    sudo usermod -a -G microk8s $USER" "    sudo chown -f -R $USER ~/.kube" "" \
            "The new group will be available on the user's next login." >&2
        exit 1
    }
}
