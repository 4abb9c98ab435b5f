# Debian's stock cloud kernel under QEMU's own CPU emulation: the distribution's exact
# module and several CPUs; computing is ten to twenty times slower than on the machine.
# Sourced by ci/lab to prepare; with `launch` (inside the cage) it becomes the guest.

# The first root: loads what is needed to see the machine's files, then hands to ci/guest/root.sh.
make_initramfs() {
    local tree=$1 version=$2 out=$3 work name path
    work=$(mktemp -d) && mkdir -p "$work"/{bin,modules,proc,lower,mnt} && cp /bin/busybox "$work/bin/" || return 1
    for name in virtio_pci virtio_rng virtio_console virtiofs overlay; do
        /sbin/modprobe -d "$tree" -S "$version" --show-depends "$name" 2>/dev/null
    done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r path; do
        name=$(basename "$path" .xz)
        case $path in *.xz) xz -dc "$path" ;; *) cat "$path" ;; esac >"$work/modules/$name"
        echo "$name" >>"$work/modules/order"
    done
    cat >"$work/init" <<'I'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
while read -r m; do insmod "/modules/$m"; done </modules/order
for word in $(cat /proc/cmdline); do
    case $word in labrun=*|labci=*|labmods=*) export "$word" ;; esac
done
mount -t virtiofs machine /lower || { echo "cannot see the machine's files"; poweroff -f; }
export LOWER=/lower
exec sh "/lower$labci/guest/root.sh"
I
    chmod +x "$work/init"
    (cd "$work" && find . | cpio --quiet -o -H newc | gzip -1) >"$out.$$" && mv "$out.$$" "$out"
    rm -rf "$work"
}

if [ "${1:-}" != launch ]; then
    need qemu-system-x86_64=qemu-system-x86 /usr/lib/qemu/virtiofsd=qemu-system-common \
        /bin/busybox=busybox-static cpio=cpio xz=xz-utils /sbin/modprobe=kmod ip=iproute2
    TREE=$CACHE/linux-$KERNEL
    # 6.1 is bookworm's own kernel; newer ones come by way of security updates or backports.
    case $KERNEL in
        6.1) unpacked '^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' "$TREE" ;;
        *) unpacked "^linux-image-${KERNEL//./\\.}\.[0-9]+\+[^-]*-cloud-amd64(-unsigned)?\$" "$TREE" ;;
    esac
    for KMODS in "$TREE"/lib/modules/*; do :; done
    VERSION=${KMODS##*/}
    (
        flock 9
        [ -e "$KMODS/modules.dep.bin" ] || /sbin/depmod -b "$TREE" "$VERSION" || exit 1
        stamp=$(md5sum <"$CI/kernel/qemu.sh" | cut -c1-12)
        [ -e "$TREE/initramfs.$stamp" ] ||
            { rm -f "$TREE"/initramfs.*; make_initramfs "$TREE" "$VERSION" "$TREE/initramfs.$stamp"; }
    ) 9>"$CACHE/unpack.lock" || die "cannot prepare Linux $VERSION"
    for INITRAMFS in "$TREE"/initramfs.*; do :; done
    LABEL="Linux $VERSION in QEMU, $SMP CPU"
    export TREE VERSION INITRAMFS KMODS
    return
fi

/usr/lib/qemu/virtiofsd --socket-path="$RUN/files" -o source=/ -o sandbox=chroot -o cache=always \
    -o no_posix_lock --thread-pool-size=2 >"$RUN/virtiofsd" 2>&1 &
for _ in $(seq 100); do [ -S "$RUN/files" ] && break; sleep 0.1; done
[ -S "$RUN/files" ] || { echo "virtiofsd does not start:"; cat "$RUN/virtiofsd"; exit 1; }
accel=(-accel tcg,thread=multi,tb-size=512)
# Instructions can be counted on one thread only; idle time is skipped.
[ -z "$ICOUNT" ] || accel=(-accel tcg,thread=single,tb-size=512 -icount shift=0,sleep=off)
exec qemu-system-x86_64 "${accel[@]}" -cpu qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand \
    -smp "$SMP" -m "$MEM" -object memory-backend-memfd,id=ram,size="$MEM",share=on -numa node,memdev=ram \
    -nodefaults -no-reboot -display none -serial stdio \
    -chardev socket,id=files,path="$RUN/files" -device vhost-user-fs-pci,chardev=files,tag=machine,queue-size=512 \
    -device virtio-rng-pci -device virtio-serial-pci \
    -chardev file,id=out,path=/dev/fd/7 -device virtserialport,chardev=out,name=out \
    -chardev file,id=err,path=/dev/fd/8 -device virtserialport,chardev=err,name=err \
    -kernel "$TREE/boot/vmlinuz-$VERSION" -initrd "$INITRAMFS" \
    -append "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off nokaslr no_timer_check tsc=reliable labrun=$RUN labci=$CI labmods=$KMODS"
