#!/bin/bash
# In the guest, on its own root: mounts what a system has, loads the module, runs the
# command and leaves its exit status in $labrun/status.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umount -l /mnt 2>/dev/null
mountpoint -q /proc || mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
if [ -z "${LABHOST:-}" ]; then
    mount -t devtmpfs dev /dev 2>/dev/null || mount -t tmpfs dev /dev
    mkdir -p /dev/pts /dev/shm /dev/net
    mount -t devpts -o ptmxmode=666 devpts /dev/pts
    mount -t tmpfs shm /dev/shm
    node() { [ -e "/dev/$1" ] || mknod -m 666 "/dev/$1" c "$2" "$3"; }
    node null 1 3; node zero 1 5; node full 1 7; node random 1 8; node urandom 1 9
    node tty 5 0; node net/tun 10 200; node tty1 4 1; node tty2 4 2
    ln -sfn /proc/self/fd /dev/fd
    ln -sf fd/0 /dev/stdin; ln -sf fd/1 /dev/stdout; ln -sf fd/2 /dev/stderr
    # User-mode Linux would start /sbin/hotplug for every device, three times; no distribution has it.
    [ -w /sys/kernel/uevent_helper ] && echo >/sys/kernel/uevent_helper
fi
mkdir -p /run/lock /run/netns /run/openvswitch
for dir in /var/log/openvswitch /etc/openvswitch; do
    mkdir -p $dir && mount -t tmpfs -o mode=755 own $dir
done
ip link set lo up
hostname lab
if [ -n "$labmods" ]; then
    mkdir -p /lib/modules && rm -rf "/lib/modules/$(uname -r)" && ln -s "$labmods" "/lib/modules/$(uname -r)"
    modprobe -a openvswitch veth dummy ipv6 2>&1 | grep -v 'ipv6 not found'
fi
ulimit -n 65536 2>/dev/null

# The command's output: a virtio port is used as it is; a terminal stays behind a
# pipe, so that the command does not believe that someone is looking.
if [ -n "${LABHOST:-}" ]; then
    env -i bash "$labrun/command" </dev/null >&7 2>&8 7>&- 8>&-
    status=$?
elif [ -e /dev/vport0p1 ] || compgen -G '/dev/vport*p1' >/dev/null; then
    out=(/dev/vport*p1) err=(/dev/vport*p2)
    setsid env -i bash "$labrun/command" </dev/null >"${out[0]}" 2>"${err[0]}"
    status=$?
else
    # Open both first: the settings of a terminal nobody holds open are forgotten.
    exec 3<>/dev/tty1 4<>/dev/tty2
    stty -F /dev/tty1 raw -echo
    stty -F /dev/tty2 raw -echo
    mkdir -p /run/lab; mkfifo /run/lab/out /run/lab/err
    cat </run/lab/out >&3 & out=$!
    cat </run/lab/err >&4 & err=$!
    setsid env -i bash "$labrun/command" </dev/null >/run/lab/out 2>/run/lab/err 3>&- 4>&-
    status=$?
    # A daemon that outlives the command may hold the pipes: give them a moment, not for ever.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 $out 2>/dev/null || kill -0 $err 2>/dev/null || break
        sleep 0.1
    done
    # Changing a terminal's settings waits until its output has left.
    stty -F /dev/tty1 raw -echo
    stty -F /dev/tty2 raw -echo
fi
dmesg >"$labrun/dmesg" 2>/dev/null
echo $status >"$labrun/status"
[ -n "${LABHOST:-}" ] && exit "$status"
sync -f "$labrun/status"
. "$labci/guest/off.sh"
