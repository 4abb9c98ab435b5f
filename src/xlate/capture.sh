#!/bin/bash
# Writes src/xlate/peer_normal.txt: what the stock daemon's NORMAL does with the packets below, on
# one bridge with a port of each VLAN mode. Needs openvswitch-switch; runs without privileges:
#   src/xlate/capture.sh >src/xlate/peer_normal.txt
set -eu
dir=$(mktemp -d)
export OVS_RUNDIR=$dir OVS_LOGDIR=$dir OVS_DBDIR=$dir OVS_SYSCONFDIR=$dir
trap 'kill $(cat "$dir"/*.pid); rm -rf "$dir"' EXIT
ovsdb-tool create "$dir/conf.db" /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server --detach --no-chdir --pidfile --log-file --remote="punix:$dir/db.sock" "$dir/conf.db"
ovs-vsctl --no-wait init
ovs-vswitchd --detach --no-chdir --pidfile --log-file -vconsole:off --enable-dummy=override \
    --disable-system "unix:$dir/db.sock"
# Ports by number in the bridge and in the datapath; src/xlate/tests.rs builds the same.
ovs-vsctl add-br br0 -- set bridge br0 datapath_type=dummy fail-mode=standalone \
    -- add-port br0 p1 tag=10 -- set interface p1 type=dummy ofport_request=1 \
    -- add-port br0 p2 tag=10 -- set interface p2 type=dummy ofport_request=2 \
    -- add-port br0 p3 -- set interface p3 type=dummy ofport_request=3 \
    -- add-port br0 p4 trunks=10,20 -- set interface p4 type=dummy ofport_request=4 \
    -- add-port br0 p5 vlan_mode=native-tagged tag=10 trunks=20 -- set interface p5 type=dummy ofport_request=5 \
    -- add-port br0 p6 vlan_mode=native-untagged tag=10 trunks=20 -- set interface p6 type=dummy ofport_request=6 \
    -- add-port br0 p7 tag=10 other_config:priority-tags=if-nonzero -- set interface p7 type=dummy ofport_request=7 \
    -- add-port br0 p8 tag=10 other_config:priority-tags=always -- set interface p8 type=dummy ofport_request=8
echo "# ovs-vswitchd $(ovs-vswitchd --version | sed -n '1s/.* //p'), --enable-dummy=override: flow|addresses known|megaflow|actions"
echo "# Made by src/xlate/capture.sh, which says what the ports are."
ask() {
    ovs-appctl fdb/flush br0 >/dev/null
    for known in ${2:-}; do
        ovs-appctl ofproto/trace br0 "$known,dl_dst=ff:ff:ff:ff:ff:ff" -generate >/dev/null
    done
    ovs-appctl ofproto/trace br0 "$1" | awk -v flow="$1" -v known="${2:-}" '
        /^Megaflow: /{m=substr($0,11)} /^Datapath actions: /{a=substr($0,19)}
        END{print flow "|" known "|" m "|" a}'
}
dst=02:00:00:00:00:02 src=02:00:00:00:00:01
for port in 1 2 3 4 5 6 7 8 LOCAL; do
    for tci in 0x0000 0x1000 0x3000 0x100a 0x700a 0x1014 0x101e; do
        ask "in_port=$port,dl_src=$src,dl_dst=$dst,dl_type=0x0800,nw_proto=17,nw_src=10.0.0.1,nw_dst=10.0.0.2,vlan_tci=$tci"
    done
done
# A known destination, on each port: in VLAN 10, 0 and 20.
for out in 1 3 4 5 6 7 8; do
    for from in "in_port=2,vlan_tci=0x0000" "in_port=3,vlan_tci=0x700a" "in_port=4,vlan_tci=0x100a" "in_port=6,vlan_tci=0x0000"; do
        case $out in 3|4) tci=0x100a ;; *) tci=0x0000 ;; esac
        ask "$from,dl_src=$src,dl_dst=$dst,dl_type=0x0800" "in_port=$out,vlan_tci=$tci,dl_src=$dst"
    done
done
ask "in_port=1,dl_src=$src,dl_dst=$dst,dl_type=0x0800" "in_port=1,vlan_tci=0x0000,dl_src=$dst"
for last in 00 01 02 0e 0f 10 20; do
    ask "in_port=1,dl_src=$src,dl_dst=01:80:c2:00:00:$last,dl_type=0x05ff"
done
for dl_dst in $dst ff:ff:ff:ff:ff:ff 01:00:5e:00:00:01; do
    for op in 1 2 3; do
        for tpa in 10.0.0.1 10.0.0.2; do
            ask "in_port=1,dl_src=$src,dl_dst=$dl_dst,dl_type=0x0806,arp_op=$op,arp_spa=10.0.0.1,arp_tpa=$tpa"
        done
    done
done
ask "in_port=1,dl_src=$src,dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x86dd,nw_proto=58,icmpv6_type=135"
ask "in_port=1,dl_src=$src,dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x0800,nw_proto=6,nw_frag=first"
ask "in_port=1,dl_src=$src,dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x0800,nw_proto=6,nw_frag=later"
ask "in_port=1,dl_src=$src,dl_dst=01:00:5e:00:00:01,dl_type=0x0800,nw_proto=2"
ask "in_port=1,dl_src=01:00:00:00:00:01,dl_dst=$dst,dl_type=0x0800"
ask "in_port=1,dl_src=00:00:00:00:00:00,dl_dst=$dst,dl_type=0x0800"
