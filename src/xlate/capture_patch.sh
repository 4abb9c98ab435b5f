#!/bin/bash
# Writes src/xlate/peer_patch.txt: what the stock daemon does with the packets below on three bridges in
# a row, joined by patches. Needs openvswitch-switch; runs without privileges:
#   src/xlate/capture_patch.sh >src/xlate/peer_patch.txt
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
port() { # bridge number settings...
    local bridge=$1 n=$2
    shift 2
    ovs-vsctl add-port "$bridge" "p$n" "$@" -- set interface "p$n" type=dummy ofport_request="$n"
}
patch() { # bridge number peer settings...
    local bridge=$1 n=$2 peer=$3
    shift 3
    ovs-vsctl add-port "$bridge" "p$n" "$@" -- set interface "p$n" type=patch options:peer="p$peer" ofport_request="$n"
}
for bridge in br0 br1 br2; do
    ovs-vsctl add-br $bridge -- set bridge $bridge datapath_type=dummy fail-mode=standalone
done
port br0 1 tag=10
port br0 2
patch br0 3 4
patch br1 4 3
port br1 5 tag=10
port br1 6 tag=20
patch br1 7 8 tag=10
patch br2 8 7
port br2 10
port br2 11 tag=10
port br2 12 vlan_mode=native-untagged tag=10 trunks=10,20
patch br2 13 14
echo "# ovs-vswitchd $(ovs-vswitchd --version | sed -n '1s/.* //p'), --enable-dummy=override: flow|addresses known|megaflow|actions"
echo "# Made by src/xlate/capture_patch.sh, which says what the ports are."
bridge_of() {
    case $1 in 1|2) echo br0 ;; 5|6) echo br1 ;; *) echo br2 ;; esac
}
ask() { # port flow [port flow of a known source]
    ovs-appctl fdb/flush >/dev/null
    local known=
    if [ $# -gt 2 ]; then
        known="in_port=$3,$4"
        ovs-appctl ofproto/trace "$(bridge_of "$3")" "$known,dl_dst=ff:ff:ff:ff:ff:ff" -generate >/dev/null
    fi
    ovs-appctl ofproto/trace "$(bridge_of "$1")" "in_port=$1,$2" | awk -v flow="in_port=$1,$2" -v known="$known" '
        /^Megaflow: /{m=substr($0,11)} /^Datapath actions: /{a=substr($0,19)}
        END{print flow "|" known "|" m "|" a}'
}
dst=02:00:00:00:00:02 src=02:00:00:00:00:01
for port in 1 2 5 6 10 11 12; do
    for tci in 0x0000 0x1000 0x7000 0x100a 0x700a 0x1014; do
        ask $port "dl_src=$src,dl_dst=$dst,dl_type=0x0800,nw_proto=17,nw_src=10.0.0.1,nw_dst=10.0.0.2,vlan_tci=$tci"
    done
done
for out in 1 5 10 11 12; do
    for from in 1 2 5 10 11; do
        for tci in 0x0000 0x700a; do
            ask $from "vlan_tci=$tci,dl_src=$src,dl_dst=$dst,dl_type=0x0800" $out "vlan_tci=0x0000,dl_src=$dst"
        done
    done
done
ask 1 "dl_src=$src,dl_dst=01:80:c2:00:00:0e,dl_type=0x05ff"
ask 1 "dl_src=$src,dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x0806,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.1"
ask 10 "dl_src=$src,dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x0806,arp_op=2,arp_spa=10.0.0.1,arp_tpa=10.0.0.2"
