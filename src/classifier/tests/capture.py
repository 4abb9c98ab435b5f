#!/usr/bin/env python3
"""Asks the peer which megaflows it makes, and writes peer_megaflows.txt to standard output.

Wants a running ovs-vswitchd --enable-dummy=override with a bridge br0 in fail-mode secure that has dummy
ports 1, 2 and 3, and OVS_RUNDIR and DB=unix:... in the environment.  Every rule drops: then the megaflow
holds what the classifier read, and what the peer always reads."""

import os
import random
import re
import subprocess
import sys

DB = os.environ["DB"]
# Left out of the file where a flow has just these.
L2 = "dl_src=50:54:00:00:00:05,dl_dst=50:54:00:00:00:07,"


def run(*argv, **kw):
    return subprocess.run(argv, check=True, text=True, capture_output=True, **kw).stdout


def table(name, prefixes, rules, flows):
    if prefixes:
        run("ovs-vsctl", "--db", DB, "--", "--id=@t", "create", "Flow_Table", "name=t0",
            "prefixes=" + prefixes, "--", "set", "Bridge", "br0", "flow_tables:0=@t")
    run("ovs-ofctl", "del-flows", "br0")
    text = "".join(f"priority={p},{m},actions=drop\n" for p, m in rules)
    run("ovs-ofctl", "add-flows", "br0", "-", input=text)
    print(f"table {name} {prefixes or 'nw_dst,nw_src'}")
    for p, m in rules:
        print(f"rule {p} {m}")
    for flow in flows:
        out = run("ovs-appctl", "ofproto/trace", "br0", flow)
        won = re.search(r"^ 0\. .*priority (\d+)", out, re.M)
        megaflow = re.search(r"^Megaflow: (.*)", out, re.M).group(1)
        flow = flow.replace(L2, "")
        megaflow = megaflow.replace("recirc_id=0,eth,", "").replace(",nw_frag=no", "")
        print(f"flow {flow} {won.group(1) if won else 'none'} {megaflow}")
    print()
    if prefixes:
        run("ovs-vsctl", "--db", DB, "clear", "Bridge", "br0", "flow_tables")


PORTS = [22, 53, 79, 80, 81, 443, 1023, 1024, 8080, 40000]


def v4(r, base):
    return f"{base}.{r.choice([0, 1, 2, 128])}.{r.choice([0, 2, 3, 200])}.{r.choice([1, 2, 15, 77])}"


def net4(r, base):
    length = r.choice([8, 12, 15, 16, 20, 24, 28, 31, 32, 32])
    a = [int(x) for x in v4(r, base).split(".")]
    n = (a[0] << 24 | a[1] << 16 | a[2] << 8 | a[3]) & (0xFFFFFFFF << (32 - length))
    return f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}/{length}"


def v6(r, base):
    return f"{base}:{r.choice([0, 1]):x}::{r.choice([0, 1, 0x8000]):x}:{r.choice([1, 2, 0xff]):x}"


def net6(r, base):
    import ipaddress
    length = r.choice([16, 31, 32, 48, 95, 96, 112, 127, 128])
    return str(ipaddress.ip_network((v6(r, base), length), strict=False))


def port(r):
    p = r.choice(PORTS)
    bits = r.choice([0, 0, 0, 4, 8, 10])
    mask = 0xFFFF & ~((1 << bits) - 1)
    return f"{p}" if not bits else f"{p & mask:#x}/{mask:#x}"


def acl(r, n, addresses, proto_names, fields, in_ports=True):
    rules = []
    seen = set()
    for p in range(n):
        proto = r.choice(proto_names)
        m = [proto]
        if in_ports and r.random() < 0.7:
            m.append(f"in_port={r.choice([1, 1, 2])}")
        net, src, dst = addresses
        if r.random() < 0.5:
            m.append(f"{src}={net(r)}")
        if r.random() < 0.6:
            m.append(f"{dst}={net(r)}")
        if proto not in ("ip", "ipv6"):
            for f in fields:
                if r.random() < 0.5:
                    m.append(f"{f}={port(r)}")
            if "tcp" in proto and r.random() < 0.15:
                m.append("tcp_flags=" + r.choice(["+syn", "-psh", "+syn-ack"]))
        elif r.random() < 0.1:
            m.append("nw_tos=32")
        text = ",".join(m)
        if text not in seen:
            seen.add(text)
            rules.append((1000 - p * 3, text))
    return rules


def flows4(r, n):
    out = []
    for _ in range(n):
        p = r.choice([6, 6, 17])
        out.append(f"in_port={r.choice([1, 1, 2, 3])},{L2}"
                   f"dl_type=0x0800,nw_src={v4(r, r.choice([10, 10, 11, 192]))},"
                   f"nw_dst={v4(r, r.choice([10, 10, 11, 192]))},nw_proto={p},nw_tos={r.choice([0, 32])},nw_ttl=64,"
                   f"{'tcp' if p == 6 else 'udp'}_src={r.choice(PORTS)},{'tcp' if p == 6 else 'udp'}_dst={r.choice(PORTS)}"
                   + (f",tcp_flags={r.choice(['syn', 'ack', 'syn|ack', 'psh|ack'])}" if p == 6 else ""))
    return out


def flows6(r, n):
    out = []
    for _ in range(n):
        p = r.choice([6, 17])
        out.append(f"in_port={r.choice([1, 1, 2, 3])},{L2}"
                   f"dl_type=0x86dd,ipv6_src={v6(r, r.choice(['fc00', 'fc01', '2001']))},"
                   f"ipv6_dst={v6(r, r.choice(['fc00', 'fc01', '2001']))},nw_proto={p},nw_tos=0,nw_ttl=64,"
                   f"{'tcp' if p == 6 else 'udp'}_src={r.choice(PORTS)},{'tcp' if p == 6 else 'udp'}_dst={r.choice(PORTS)}"
                   + (",tcp_flags=ack" if p == 6 else ""))
    return out


# By hand, each after a property that the peer's manual or headers describe.
IP = L2 + "dl_type=0x0800,"


def ip(in_port, src, dst, tp_src, tp_dst, flags="0", proto=6):
    return (f"in_port={in_port},{IP}nw_src={src},nw_dst={dst},nw_proto={proto},nw_tos=0,nw_ttl=128,"
            f"tp_src={tp_src},tp_dst={tp_dst}" + (f",tcp_flags={flags}" if flags != "0" else ""))


table("stages", None,
      [(16, "in_port=1,tcp,nw_dst=10.1.0.0/16"), (32, "in_port=1,tcp,nw_dst=10.1.2.15"),
       (33, "in_port=1,tcp,nw_dst=10.1.2.15,tp_dst=80"), (0, "in_port=1,ip"),
       (17, "in_port=2,tcp,nw_dst=192.168.0.0/16"), (1, "in_port=2,ip"),
       (18, "in_port=3,tcp,nw_src=10.1.0.0/16"), (2, "in_port=3,ip")],
      [ip(2, "192.168.0.1", "192.168.0.2", 8, 80), ip(1, "192.168.0.1", "11.1.2.15", 8, 80),
       ip(1, "192.168.0.1", "10.1.2.15", 8, 80), ip(1, "192.168.0.1", "10.1.2.15", 8, 79),
       ip(1, "192.168.0.1", "10.1.3.16", 8, 79), ip(3, "192.168.0.1", "10.1.3.16", 8, 79),
       ip(3, "10.1.0.1", "10.1.3.16", 8, 79)])
table("last-stage", None,
      [(33, "in_port=1,tcp,tp_dst=80,tcp_flags=+psh"), (0, "in_port=1,ip")],
      [ip(1, "192.168.0.1", "192.168.0.2", 8, p, f)
       for p, f in [(80, "syn"), (80, "syn|ack"), (80, "ack|psh"), (79, "syn"), (81, "syn"), (80, "0")]])
ND = (L2 + "dl_type=0x86dd,ipv6_src=1000::3,ipv6_dst=1000::4,nw_proto=58,nw_ttl=255,"
      "icmpv6_type={},icmpv6_code=0{}")
table("neighbour-discovery", "ipv6_dst,ipv6_src",
      [(16, "in_port=2,icmp6,nw_ttl=255,icmp_type=135,icmp_code=0,nd_target=1000::1"), (0, "in_port=2,ipv6")],
      ["in_port=2," + ND.format(*x)
       for x in [(128, ""), (135, ""), (135, ",nd_target=1000::1"), (135, ",nd_target=1000::2")]])
table("ports-prefix", None,
      [(16, "in_port=1,tcp,nw_dst=10.1.0.0/16"), (32, "in_port=1,tcp,nw_dst=10.1.2.0/24,tp_src=79"),
       (33, "in_port=1,tcp,nw_dst=10.1.2.15,tp_dst=80"), (34, "in_port=1,tcp,nw_dst=10.1.2.15,tp_dst=8080"),
       (35, "in_port=1,tcp,nw_dst=10.1.2.15,tp_dst=192"), (0, "in_port=1,ip")],
      [ip(1, "192.168.0.1", "10.1.2.15", 8, 80), ip(1, "192.168.0.1", "10.1.2.15", 8, 79),
       ip(1, "192.168.0.1", "10.1.2.15", 79, 79), ip(1, "192.168.0.1", "10.1.2.16", 80, 79),
       ip(1, "192.168.0.1", "192.168.0.2", 8, 80), ip(1, "192.168.0.1", "10.1.2.15", 8, 128)])
table("both-addresses", None,
      [(16, "in_port=1,tcp,nw_src=10.2.0.0/16,nw_dst=10.1.0.0/16"),
       (33, "in_port=1,tcp,nw_src=10.2.2.14,nw_dst=10.1.2.15,tp_dst=80"),
       (34, "in_port=1,tcp,nw_src=10.2.2.14,nw_dst=10.1.2.15,tp_dst=8080"),
       (17, "in_port=1,tcp,nw_src=192.168.0.0/15,nw_dst=192.168.0.0/16"), (0, "in_port=1,ip")],
      [ip(1, "192.168.0.1", "192.168.0.2", 8, 80), ip(1, "10.2.2.14", "10.1.2.15", 8, 80),
       ip(1, "10.2.2.14", "10.1.2.15", 8, 81), ip(1, "10.2.2.15", "10.1.2.15", 8, 81),
       ip(1, "10.2.3.15", "10.1.7.15", 8, 81), ip(1, "10.3.3.15", "10.1.7.15", 8, 81),
       ip(1, "192.168.0.1", "192.169.0.2", 8, 80)])
table("link-layer", None,
      [(50, "dl_dst=50:54:00:00:00:01"), (49, "dl_dst=50:54:00:00:00:02,ip,nw_dst=10.0.0.1"),
       (48, "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00"), (47, "in_port=2,dl_src=50:54:00:00:00:05"), (0, "in_port=3")],
      [ip(p, "10.0.0.2", "10.0.0.1", 1, 2).replace("dl_dst=50:54:00:00:00:07", "dl_dst=" + d)
       for p in (1, 2, 3) for d in ("50:54:00:00:00:01", "50:54:00:00:00:02", "ff:ff:ff:ff:ff:ff", "50:54:00:00:00:07")])
table("arp", None,
      [(50, "arp,arp_op=1,arp_tpa=10.0.0.1"), (49, "arp,arp_spa=10.1.0.0/16"), (48, "arp,arp_tpa=10.0.0.0/8"),
       (47, "ip,nw_dst=10.0.0.0/24"), (46, "ip,nw_src=10.0.0.0/24")],
      [f"in_port=1,{L2}dl_type=0x0806,arp_op={op},arp_spa={s},arp_tpa={t}"
       for op, s, t in [(1, "10.0.0.9", "10.0.0.1"), (2, "10.1.0.9", "10.0.0.1"), (1, "10.1.0.9", "10.0.1.1"),
                        (1, "10.2.0.9", "10.0.1.1"), (1, "192.168.0.1", "192.168.0.2")]])
odd = [(90, "ip,nw_dst=10.0.0.1/255.0.0.255"), (80, "ip,nw_src=0.0.0.2/0.0.0.3"), (70, "tcp,tp_dst=1/1"),
       (60, "udp,tp_src=0x8000/0x8000,nw_dst=10.0.0.0/9"), (50, "ip,nw_dst=10.128.0.0/9")]
table("odd-masks", None, odd, flows4(random.Random(1), 14))

for seed in range(1, 7):
    r = random.Random(seed)
    net = lambda r: net4(r, r.choice([10, 10, 11, 192]))
    rules = acl(r, [12, 25, 40, 60, 60, 80][seed - 1], (net, "nw_src", "nw_dst"), ["tcp", "tcp", "udp", "ip"],
                ["tp_dst", "tp_src"] if seed % 2 else ["tp_dst"], in_ports=seed != 4)
    table(f"acl-{seed}", None, rules, flows4(r, 30))
for seed in range(1, 4):
    r = random.Random(100 + seed)
    net = lambda r: net6(r, r.choice(["fc00", "fc01", "2001"]))
    rules = acl(r, [12, 30, 50][seed - 1], (net, "ipv6_src", "ipv6_dst"), ["tcp6", "udp6", "ipv6"], ["tp_dst"])
    table(f"acl6-{seed}", "ipv6_dst,ipv6_src", rules, flows6(r, 30))
