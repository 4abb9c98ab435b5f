#!/bin/bash
# record.sh ZONE KERNEL_FLOWS OUT: runs in a guest of ci/lab, with the stock daemon 3.1 and its tools.
# ZONE is the conntrack zone to use (0 on a kernel without zones), KERNEL_FLOWS the test binary of that
# name, OUT a directory for cap.pcap (all netlink traffic of the guest) and the tools' text.
set -x
ZN=$1 KERNEL_FLOWS=$2 OUT=$3
HERE=$(dirname "$(readlink -f "$0")")
exec 2>"$OUT/log.txt"
# Earlier than this the stock daemon counts no CPUs and starts no handler.
while [ "$(cut -d. -f1 /proc/uptime)" -lt 14 ]; do sleep 1; done
mkdir -p /run/openvswitch /tmp/ovs /var/log/openvswitch
export OVS_RUNDIR=/run/openvswitch
modprobe nlmon; ip link add nlmon0 type nlmon; ip link set nlmon0 up
ip link set lo up
for i in 1 2 3 4; do ip link add p$i type veth peer name v$i; ip link set p$i up; ip link set v$i up arp off; sysctl -q net.ipv6.conf.p$i.disable_ipv6=1 net.ipv6.conf.v$i.disable_ipv6=1; done
ip link add u0 type veth peer name u1; ip link set u0 up; ip link set u1 up; sysctl -q net.ipv6.conf.u1.disable_ipv6=1
ip addr add 10.1.0.1/24 dev u0; ip -6 addr add fd01::1/64 dev u0 nodad; ip neigh add 10.1.0.2 lladdr 02:00:00:00:00:63 dev u0; ip -6 neigh add fd01::2 lladdr 02:00:00:00:00:63 dev u0
sysctl -q net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.u0.rp_filter=0
modprobe nf_conntrack_ftp; modprobe ip_gre; modprobe ip6_gre
ovsdb-tool create /tmp/ovs/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server /tmp/ovs/conf.db --remote=punix:/run/openvswitch/db.sock --detach --pidfile --no-chdir
tcpdump -Z root -i nlmon0 -s 0 -B 65536 -U -w /tmp/cap.pcap & TD=$!
sleep 1
ovs-vsctl --no-wait init
ovs-vswitchd --detach --pidfile --no-chdir --log-file="$OUT/vswitchd.log" -vnetlink:file:dbg
V="ovs-vsctl"; O="ovs-ofctl -O OpenFlow15"
$V set Open_vSwitch . other_config:vlan-limit=2
$V add-br br0 -- set bridge br0 protocols=OpenFlow10,OpenFlow13,OpenFlow15 fail-mode=secure
for i in 1 2 3 4; do $V add-port br0 p$i -- set interface p$i ofport_request=$i; done
$V add-port br0 vx -- set interface vx type=vxlan options:remote_ip=flow options:local_ip=flow options:key=flow ofport_request=11 \
 -- add-port br0 gn -- set interface gn type=geneve options:remote_ip=flow options:key=flow ofport_request=12 \
 -- add-port br0 gr -- set interface gr type=gre options:remote_ip=flow options:key=flow ofport_request=13 \
 -- add-port br0 gbp -- set interface gbp type=vxlan options:remote_ip=10.1.0.2 options:key=flow options:exts=gbp options:dst_port=4790 ofport_request=14 \
 -- add-port br0 er -- set interface er type=erspan options:remote_ip=10.1.0.2 options:key=flow options:erspan_ver=flow options:erspan_idx=flow options:erspan_dir=flow options:erspan_hwid=flow ofport_request=15 \
 -- add-port br0 vx6 -- set interface vx6 type=vxlan options:remote_ip=fd01::2 options:key=flow ofport_request=16 
M=$(cat /sys/class/net/u0/address)
$O add-tlv-map br0 "{class=0x0102,type=0x80,len=4}->tun_metadata0,{class=0xffff,type=0x1,len=8}->tun_metadata1"
run() { python3 - "$@" <<P
import sys; sys.path.insert(0,'$HERE'); from frames import *
$PY
P
}
settle() { sleep 1; ovs-appctl dpctl/dump-flows -m >> "$OUT"/dump.txt; ovs-dpctl dump-flows -m >/dev/null; }
# 1. NORMAL
$O add-flow br0 'actions=NORMAL'
PY="basics('v1')" run; settle
$V set port p2 tag=100 -- set port p3 trunks=100,200 -- set port p4 vlan_mode=dot1q-tunnel tag=300
PY="basics('v1')
basics('v2',7,8)" run; settle
ovs-appctl dpctl/del-flows
# 2. exact matches on all sorts of fields
$O del-flows br0; $V clear port p2 tag -- clear port p3 trunks -- clear port p4 tag vlan_mode
$O --protocols=OpenFlow15 add-meter br0 meter=1,kbps,stats,bands=type=drop,rate=1000
$O add-group br0 'group_id=1,type=select,selection_method=dp_hash,bucket=weight:1,output:2,bucket=weight:1,output:3'
$V -- --id=@s create sFlow agent=lo targets='"127.0.0.1:6343"' sampling=2 polling=0 header=128 -- set bridge br0 sflow=@s
cat > /tmp/flows <<'F'
priority=9,in_port=1,arp actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:02:00:00:00:00:77->eth_src,set_field:2->arp_op,move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],set_field:02:00:00:00:00:77->arp_sha,set_field:10.0.0.9->arp_spa,in_port
priority=9,in_port=1,icmp,icmp_type=8 actions=meter:1,check_pkt_larger(40)->NXM_NX_REG0[0],resubmit(,7)
priority=9,in_port=1,icmp,icmp_type=3 actions=clone(set_field:10.0.0.7->ip_dst,output:2),output(port=3,max_len=64)
priority=9,in_port=1,udp,tp_dst=53,nw_frag=no actions=controller(userdata=01.02.03,max_len=32),set_field:5353->udp_dst,dec_ttl,set_field:0x1c->ip_dscp,output:2
priority=9,in_port=1,tcp,tcp_flags=+syn-ack actions=group:1
priority=9,in_port=1,tcp,tcp_flags=+ack actions=set_queue:3,set_field:0x55->pkt_mark,mod_tp_src:99,output:2
priority=9,in_port=1,sctp actions=set_field:7->sctp_src,push_vlan:0x8100,set_field:4196->vlan_vid,output:2,push_vlan:0x88a8,set_field:4296->vlan_vid,output:3
priority=9,in_port=1,ip,nw_proto=47 actions=push_mpls:0x8847,set_field:55->mpls_label,set_field:3->mpls_tc,output:2,push_mpls:0x8847,output:3
priority=9,in_port=1,udp,nw_frag=first actions=set_field:10.0.0.77->ip_src,output:2
priority=9,in_port=1,ip,nw_frag=later actions=output:3
priority=9,in_port=1,udp6 actions=set_field:fd00::9->ipv6_dst,set_field:0x777->ipv6_label,dec_ttl,output:2
priority=9,in_port=1,icmp6,icmpv6_type=128 actions=set_field:129->icmpv6_type,output:2
priority=9,in_port=1,icmp6,icmpv6_type=135,nd_target=fd00::2 actions=set_field:136->icmpv6_type,set_field:fd00::1->nd_target,output:2
priority=9,in_port=1,icmp6,icmpv6_type=136 actions=set_field:02:00:00:00:00:79->nd_tll,output:2
priority=9,in_port=1,mpls,mpls_label=100,mpls_bos=1 actions=pop_mpls:0x0800,dec_ttl,resubmit(,6)
priority=9,in_port=1,mpls,mpls_label=100,mpls_bos=0 actions=pop_mpls:0x8847,set_mpls_ttl(9),pop_mpls:0x8847,resubmit(,6)
priority=9,in_port=1,dl_type=0x894f actions=dec_nsh_ttl,set_field:0x33->nsh_spi,output:2
priority=9,in_port=1,dl_type=0x88cc actions=encap(nsh(md_type=1)),set_field:0x1234->nsh_spi,set_field:0x11223344->nsh_c1,encap(ethernet),set_field:02:00:00:00:00:55->eth_dst,output:2
priority=9,in_port=1,dl_type=0x8035 actions=encap(nsh(md_type=2,tlv(0x1000,10,0x12345678))),encap(ethernet),output:3
priority=9,in_port=1,dl_vlan=100 actions=pop_vlan,output:2
priority=9,in_port=1,vlan_tci=0x1000/0x1000 actions=strip_vlan,mod_vlan_vid:7,output:2
priority=8,in_port=1,dl_type=0x05ff actions=output:2
priority=7,in_port=1 actions=output:4
table=7,reg0=1 actions=output:2
table=7,reg0=0 actions=output:3
table=6,ip actions=output:2
table=6,mpls actions=output:3
table=6 actions=output:4
priority=9,in_port=2,ip,ct_state=-trk actions=ct(table=1,zone=ZN)
priority=9,in_port=2,ipv6,ct_state=-trk actions=ct(table=1,zone=ZN)
table=1,priority=9,ct_state=+trk+new,tcp,tp_dst=21 actions=ct(commit,zone=ZN,alg=ftp,exec(set_field:1->ct_mark,set_field:0x20000000000000001->ct_label)),output:3
table=1,priority=9,ct_state=+trk+new,udp,tp_dst=53 actions=ct(commit,zone=ZN,nat(src=10.9.0.1-10.9.0.9:1000-2000,random)),output:3
table=1,priority=9,ct_state=+trk+new,udp,tp_dst=54 actions=ct(commit,zone=ZN,nat(dst=10.9.0.1,persistent,hash)),output:3
table=1,priority=9,ct_state=+trk+new,udp6 actions=ct(commit,zone=ZN,nat(src=fd00::77-fd00::78)),output:3
table=1,priority=9,ct_state=+trk+new,ip actions=ct(commit,force,zone=ZN,nat),output:3
table=1,priority=8,ct_state=+trk+est,ip actions=ct_clear,output:3
table=1,priority=8,ct_state=+trk+inv,ip actions=drop
table=1,priority=7 ct_mark=1 actions=output:4
table=1,priority=6 ct_state=+trk,ct_nw_src=10.0.0.1,ct_nw_proto=17,ct_tp_dst=55,ip actions=output:4
priority=9,in_port=3,ip,ct_state=-trk actions=ct(table=2,zone=ZN,nat)
table=2,priority=9,ct_state=+trk+est,ip,ct_mark=1 actions=output:2
table=2,priority=9,ct_state=+trk+est,ip,ct_label=0x1/0x1 actions=output:2
table=2,priority=8,ct_state=+trk+est,ip,ct_nw_src=10.0.0.1 actions=output:2
table=2,priority=8,ct_state=+trk+rpl,ip actions=output:2
table=2,priority=7 actions=drop
priority=9,in_port=4,ip actions=set_field:100->tun_id,set_field:10.1.0.2->tun_dst,set_field:10.1.0.1->tun_src,output:11,set_field:0x1234->tun_metadata0,set_field:0x55->tun_metadata1,set_field:7->tun_id,output:12,output:13,set_field:9->tun_gbp_id,output:14,output:16,set_field:2->tun_erspan_ver,set_field:1->tun_erspan_dir,set_field:13->tun_erspan_hwid,output:15
priority=9,in_port=4,arp actions=set_field:1->tun_erspan_ver,set_field:0x123->tun_erspan_idx,output:15,output:16
priority=9,in_port=11 actions=move:NXM_NX_TUN_ID[0..31]->NXM_NX_REG1[],output:1
priority=9,in_port=12,tun_metadata0=0xdeadbeef actions=output:1
priority=9,in_port=12 actions=output:2
priority=9,in_port=13,tun_id=103 actions=output:1
priority=9,in_port=14,tun_gbp_id=512 actions=output:1
priority=9,in_port=15 actions=output:1
priority=9,in_port=16,tun_ipv6_src=fd01::2 actions=output:1
F
sed -i "s/ZN/$ZN/" /tmp/flows
while read -r f; do ovs-ofctl -O OpenFlow15 add-flow br0 "$f" || echo "REFUSED $f" >&2; done < /tmp/flows
PY="basics('v1')" run; settle
cat > /tmp/ct.py <<'P'
import sys; sys.path.insert(0,sys.argv[1]); from frames import *
for k in range(2):
    for p in (53,54,55): send('v2',eth(0x800,ipv4(17,udp(1000,p))))
    send('v2',eth(0x800,ipv4(6,tcp(1001,21)))); send('v2',eth(0x800,ipv4(1,icmp())))
    send('v2',eth(0x86dd,ipv6(17,udp6(1000,53)))); send('v2',eth(0x800,ipv4(6,tcp(1002,99,0x10))))
    send('v3',eth(0x800,ipv4(17,udp(55,1000),'10.0.0.2','10.0.0.1'),2,1)); send('v3',eth(0x800,ipv4(6,tcp(21,1001,0x12,'10.0.0.2','10.0.0.1'),'10.0.0.2','10.0.0.1'),2,1))
P
python3 /tmp/ct.py "$HERE"; settle
PY="basics('v4')
tunnels('u1',bytes.fromhex('$M'.replace(':','')))
tunnels('u1',bytes.fromhex('$M'.replace(':','')))" run; settle
ovs-vsctl clear bridge br0 sflow; sleep 1
# 3. IPFIX sampling with tunnels
$V -- --id=@br get bridge br0 -- --id=@i create IPFIX targets='"127.0.0.1:4739"' obs_domain_id=1 -- --id=@c create Flow_Sample_Collector_Set id=1 bridge=@br ipfix=@i
$O add-flow br0 'priority=20,in_port=1,udp actions=sample(probability=65535,collector_set_id=1,obs_domain_id=9,obs_point_id=8,sampling_port=12,egress),set_field:3->tun_id,set_field:10.1.0.2->tun_dst,output:12'
PY="basics('v1')" run; settle
ovs-appctl upcall/disable-megaflows; sleep 1; PY="basics('v1',3,4)" run; settle; ovs-appctl upcall/enable-megaflows
ovs-appctl upcall/disable-ufid; sleep 1; settle
$O packet-out br0 "in_port=controller packet=$(printf '%s' 0200000000010200000000020800450000140001000040110000c0a80001c0a80002) actions=meter:1,output:1,NORMAL"
ovs-appctl -t ovs-vswitchd exit --cleanup; sleep 1
# 4. flows of every kind by hand
N() { ovs-dpctl "$@" || echo "REFUSED $*" >&2; }
N add-dp dp1; N add-if dp1 p1; N add-if dp1 p2; 
E='eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)'; I='eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no)'
n=0; F() { n=$((n+1)); N add-flow dp1 "recirc_id($n),in_port(1),$E,$I,udp(src=1,dst=$n)" "$1"; }
F '1,2'
F 'userspace(pid=5,userdata(010203),actions,tunnel_out_port=1)'
F 'userspace(pid=5,slow_path(action))'
F 'userspace(pid=5,controller(reason=1,dont_send=0,continuation=0,recirc_id=1,rule_cookie=0x1,controller_id=0,max_len=65535)),1'
F 'set(tunnel(tun_id=0x7f10354,src=10.1.0.1,dst=10.1.0.2,ttl=64,tp_src=1,tp_dst=2,geneve({class=0x102,type=0x80,len=4,0xdeadbeef}{class=0xffff,type=0x1,len=8,0x1122334455667788}),flags(df|csum|key|oam))),1'
F 'set(tunnel(tun_id=0x1,dst=10.1.0.2,ttl=64,vxlan(gbp(id=9,flags=0x8)),flags(key))),1'
F 'set(tunnel(tun_id=0x1,dst=10.1.0.2,ttl=64,erspan(ver=1,idx=0x7),flags(key))),1'
F 'set(tunnel(tun_id=0x1,dst=10.1.0.2,ttl=64,erspan(ver=2,dir=1,hwid=0x7),flags(key))),1'
F 'set(tunnel(tun_id=0x1,ipv6_src=fd01::1,ipv6_dst=fd01::2,tos=0x4,ttl=64,tp_src=6081,flags(csum|key))),1'
F 'set(ipv4(src=10.0.0.9,dst=10.0.0.2,proto=17,tos=0,ttl=63,frag=no)),1'
F 'set(ipv4(ttl=63/0xff)),set(eth(src=02:00:00:00:00:09/ff:ff:ff:ff:ff:ff)),set(udp(src=9/0xffff)),set(skb_mark(0x1/0xff)),set(skb_priority(0x7/0xffff)),1'
F 'push_vlan(vid=12,pcp=3),1,pop_vlan,push_vlan(tpid=0x88a8,vid=12,pcp=0),push_vlan(vid=3,pcp=0),2'
F 'sample(sample=9.7%,actions(userspace(pid=5,sFlow(vid=9,pcp=4,output=1)),1)),2'
F 'sample(sample=100.0%,actions(clone(2))),1'
F 'hash(hash_l4(3)),recirc(9)'
F 'push_mpls(label=100,tc=2,ttl=64,bos=1,eth_type=0x8847),1,pop_mpls(eth_type=0x800),2'
F 'add_mpls(label=100,tc=2,ttl=64,bos=1,eth_type=0x8847),push_eth(src=02:00:00:00:00:03,dst=02:00:00:00:00:04),1'
F 'pop_eth,push_eth(src=02:00:00:00:00:03,dst=02:00:00:00:00:04),1'
F 'push_nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x1234,si=255,c1=0x1,c2=0x2,c3=0x3,c4=0x4),push_eth(src=02:00:00:00:00:03,dst=02:00:00:00:00:04),1'
F 'push_nsh(flags=0,ttl=63,mdtype=2,np=3,spi=0x1234,si=255,md2=0x10000a041234567820001408fedcba9876543210),push_eth(src=02:00:00:00:00:03,dst=02:00:00:00:00:04),pop_eth,pop_nsh(),1'
F 'trunc(100),1'
F 'clone(1,2,clone(1)),2'
F 'check_pkt_len(size=200,gt(1),le(drop)),2'
F 'check_pkt_len(size=200,gt(set(ipv4(ttl=1/0xff)),1),le(2))'
F 'ct,recirc(1)'
F 'ct_clear,1'
for z in '' ',zone=5'; do
F "ct(commit$z),1"
F "ct(force_commit$z,mark=0x1/0xff,label=0x1/0xffff),1"
F "ct(commit$z,helper=ftp,timeout=none,nat(src)),1"
F "ct(commit$z,mark=0xa0a0a0a0/0xfefefefe,nat(src=10.0.0.240-10.0.0.254:32768-65535,persistent,hash)),1"
F "ct(commit$z,nat(dst=10.0.0.240,random)),1"
F "ct(commit$z,nat(dst=10.0.0.240:80)),1"
F "ct(nat$z),recirc(2)"
N add-flow dp1 "recirc_id(0x99),ct_state(+trk+est-new),ct_zone(5),ct_mark(0x1/0xf),ct_label(0x1/0x1),ct_tuple4(src=10.0.0.1,dst=10.0.0.2/0.0.0.0,proto=17,tp_src=1,tp_dst=2),in_port(1),$E,$I,udp(src=1,dst=2)" "1"
N add-flow dp1 "recirc_id(0x99),ct_state(+trk+est-new),ct_tuple6(src=fd00::1,dst=fd00::2,proto=17,tp_src=1,tp_dst=2),in_port(1),$E,eth_type(0x86dd),ipv6(src=fd00::1,dst=fd00::2,label=0x12345,proto=17,tclass=0x4,hlimit=64,frag=no),udp(src=1,dst=2)" "ct(commit,nat(src=[fd00::77]-[fd00::78]:1-2)),1"
done
F 'meter(1),1'
N add-flow dp1 "in_port(2),eth(src=02:00:00:00:00:01/ff:00:00:00:00:00,dst=02:00:00:00:00:02),eth_type(0x8847),mpls(label=100/0xff,tc=0/0,ttl=64/0x0,bos=0/1,label=200,tc=1,ttl=3,bos=1)" "1"
N add-flow dp1 "skb_priority(0x1),skb_mark(0x2/0xff),dp_hash(0x3/0xf),recirc_id(0x4),in_port(2),$E,eth_type(0x0806),arp(sip=10.0.0.1,tip=10.0.0.2/255.255.255.0,op=1,sha=02:00:00:00:00:01,tha=00:00:00:00:00:00)" "1"
N add-flow dp1 "in_port(2),$E,eth_type(0x88a8),vlan(vid=200,pcp=1),encap(eth_type(0x8100),vlan(vid=100,pcp=0/0),encap(eth_type(0x0800),ipv4(src=10.0.0.1,frag=no)))" "pop_vlan,1"
N add-flow dp1 "in_port(2),$E,eth_type(0x894f),nsh(flags=0,ttl=63,mdtype=1,np=1,spi=0x1234,si=255,c1=0x1/0xff,c2=0x2,c3=0,c4=0)" "set(nsh(ttl=5/0xff,spi=0x9/0xffffff)),1"
N add-flow dp1 "in_port(2),$E,eth_type(0x86dd),ipv6(src=fd00::1,dst=fd00::2,proto=58,hlimit=255,frag=no),icmpv6(type=135,code=0),nd(target=fd00::2,sll=02:00:00:00:00:01,tll=00:00:00:00:00:00)" "set(nd(sll=02:00:00:00:00:09/ff:ff:ff:ff:ff:ff)),1"
N add-flow dp1 "in_port(2),$E,eth_type(0x0800),ipv4(proto=6,frag=no),tcp(src=1,dst=80/0xf0),tcp_flags(+syn-ack)" "1"
N add-flow dp1 "in_port(2),$E,eth_type(0x0800),ipv4(proto=132,frag=first),sctp(src=1,dst=80)" "1"
N add-flow dp1 "in_port(2),$E,eth_type(0x0800),ipv4(proto=1,frag=later)" "1"
N add-flow dp1 "tunnel(tun_id=0x64,src=10.1.0.2,dst=10.1.0.1,tos=0/0,ttl=64/0,tp_src=1/0,tp_dst=4789,geneve({class=0x102,type=0x80,len=4,0xdeadbeef/0xffffffff}),flags(-df+csum+key)),in_port(2),$E,$I,udp(src=1,dst=2)" "1"
N add-flow dp1 "ufid:00000000-0000-0000-0000-000000000007,in_port(2),$E,eth_type(0x4321)" "1"
N mod-flow dp1 "ufid:00000000-0000-0000-0000-000000000007,in_port(2),$E,eth_type(0x4321)" "2"
N add-flow --clear dp1 "in_port(2),$E,eth_type(0x4321)" "1" 
ovs-dpctl dump-flows -m dp1 > "$OUT"/dump-dp1.txt
N get-flow dp1 ufid:00000000-0000-0000-0000-000000000007
N del-flow dp1 ufid:00000000-0000-0000-0000-000000000007
N del-flow dp1 "in_port(2),$E,eth_type(0x4321)"
N del-flows dp1
N del-dp dp1
ROVS_LAB=1 "$KERNEL_FLOWS" --ignored --test-threads 1 >&2
sleep 1
kill $TD; wait $TD; cp /tmp/cap.pcap "$OUT"/
