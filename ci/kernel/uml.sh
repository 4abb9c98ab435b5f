# User-mode Linux: the kernel is a process, guest programs run natively. One CPU.
# Sourced by ci/lab to prepare; with `launch` (inside the cage) it becomes the guest.
if [ "${1:-}" != launch ]; then
    need /sbin/modprobe=kmod ip=iproute2 taskset=util-linux
    UML=$CACHE/uml
    unpacked '^user-mode-linux$' "$UML"
    for KMODS in "$UML"/usr/lib/uml/modules/*; do :; done
    [ -e "$KMODS/modules.dep" ] || die "$UML has no modules"
    LABEL="user-mode Linux ${KMODS##*/}"
    export UML KMODS CACHE
    return
fi

# The guest's memory is a file in TMPDIR; let it be memory if there is room.
TMPDIR=$RUN
[ -w /dev/shm ] && [ "$(df -k --output=avail /dev/shm | tail -1)" -gt 3000000 ] && TMPDIR=/dev/shm
export TMPDIR
# Its processes hand over to each other all the time, which costs five times as much
# between CPUs: stay on one, if possible one that no other guest has taken.
for cpu in $(seq 0 $(($(nproc) - 1)) | shuf) any; do
    exec 9>"$CACHE/cpu.$cpu"
    flock -n 9 && break
done
[ "$cpu" = any ] && cpu=$((RANDOM % $(nproc)))
exec taskset -c "$cpu" "$UML/usr/bin/linux.uml" mem="$MEM" umid=lab uml_dir="$RUN/" \
    root=/dev/root rootfstype=hostfs rootflags=/ ro init="$CI/guest/root.sh" \
    labrun="$RUN" labci="$CI" labmods="$KMODS" \
    con=null con0=null,fd:1 con1=null,fd:7 con2=null,fd:8 quiet loglevel=3
