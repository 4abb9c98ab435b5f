# The running kernel, if it has the module: fresh network, mount and PID namespaces on it.
# Sourced by ci/lab to prepare; with `launch` (inside the cage) it becomes the guest.
if [ "${1:-}" != launch ]; then
    need /sbin/modprobe=kmod ip=iproute2
    /sbin/modprobe openvswitch 2>/dev/null
    [ -e /sys/module/openvswitch ] ||
        die "the running kernel, $(uname -r), has no openvswitch module: use --kernel uml or 6.12"
    /sbin/modprobe overlay 2>/dev/null
    KMODS=
    LABEL="fresh namespaces on the running kernel, $(uname -r)"
    return
fi

mount --make-rprivate /
export labrun=$RUN labci=$CI labmods= LABHOST=1
exec unshare --net --uts --ipc sh "$CI/guest/root.sh"
