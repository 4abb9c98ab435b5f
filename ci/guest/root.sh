#!/bin/sh
# In the guest, before anything else: a root of our own, an overlay whose lower side is
# the machine's root (seen at $LOWER) and whose upper side is memory. Runs under dash as
# the first process of user-mode Linux and under busybox from QEMU's initramfs.
# Reads labrun, labci, labmods from the kernel's command line; ends in guest/init.sh.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
: "${LOWER:=}"
fail() {
    echo "ci/guest/root.sh: $*"
    [ -n "${LABHOST:-}" ] && exit 125
    . "$LOWER$labci/guest/off.sh"
}

[ -e /proc/filesystems ] || mount -t proc proc /proc
grep -qw overlay /proc/filesystems ||
    insmod "$labmods/$(sed -n 's/:.*//; /\/overlay\.ko$/p' "$labmods/modules.dep")" || fail "no overlay"
S=/mnt
mount -t tmpfs -o size=90% scratch $S || fail "no tmpfs"
mkdir $S/upper $S/work $S/root
mount -t overlay -o "lowerdir=${LOWER:-/},upperdir=$S/upper,workdir=$S/work" overlay $S/root || fail "overlay refused"
R=$S/root
mount -t tmpfs -o mode=755 run $R/run

# show PATH: the machine's PATH itself, not a copy in the overlay.
show() {
    mkdir -p "$R$1"
    mount --bind "$LOWER$1" "$R$1" || fail "cannot show $1"
}
while read -r dir; do
    # hostfs was mounted read-only on purpose; what may be written gets a mount of its own.
    if [ -z "$LOWER" ] && [ -z "${LABHOST:-}" ]; then
        mkdir -p "$R$dir" && mount -t hostfs -o "$dir" hostfs "$R$dir" || fail "cannot show $dir"
    else
        show "$dir"
    fi
done <"$LOWER$labrun/rw"
while read -r dir; do
    show "$dir" && mount -o remount,bind,ro "$R$dir"
done <"$LOWER$labrun/ro"

if [ -n "$LOWER" ]; then
    umount /proc
    exec switch_root $R "$labci/guest/init.sh"
fi
mkdir -p $R/mnt
cd $R && pivot_root . mnt && exec chroot . "$labci/guest/init.sh"
fail "cannot change root"
