//! Every key attribute and every action, put into a real kernel and read back.
//!
//! Runs in the lab only (`ci/lab -- cargo test -p ovs-netlink --test kernel_flows -- --ignored`),
//! on a datapath of its own. What a kernel is too old for is refused with `EINVAL` and said so.

use ovs_netlink::action::{
    Action, MaskedKeyAttr, begin_check_pkt_len, begin_clone, begin_dec_ttl, begin_sample,
};
use ovs_netlink::agree::actions_agree;
use ovs_netlink::attr::AttrWriter;
use ovs_netlink::ct::{Commit, Ct, Nat, NatEnd};
use ovs_netlink::datapath::{self, DatapathId, DatapathNew};
use ovs_netlink::flow::{
    FlowDel, FlowDump, FlowFlush, FlowGet, FlowId, FlowMsg, FlowPut, FlowSet, FlowStats, IfExists,
    UfidFlags,
};
use ovs_netlink::key::{KeyAttr, KeyAttrs};
use ovs_netlink::msg::{MsgBuf, MsgFlags};
use ovs_netlink::nsh::{MaskedNshAttr, NshAttr};
use ovs_netlink::tunnel::{GeneveOpt, TunnelAttr, TunnelAttrs, write_vxlan_gbp};
use ovs_netlink::uapi::*;
use ovs_netlink::{Error, Families, Socket};
use zerocopy::IntoBytes;

const SRC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const DST: [u8; 6] = [2, 0, 0, 0, 0, 2];
const FD1: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const FD2: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const LSE: u32 = 100 << 12 | 1 << 8 | 64;

fn encode(f: impl FnOnce(&mut AttrWriter<'_>)) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    f(&mut w);
    w.finish().unwrap();
    buf
}

fn list(attrs: &[KeyAttr<'_>]) -> Vec<u8> {
    encode(|w| attrs.iter().for_each(|attr| attr.write(w)))
}

fn acts(actions: &[Action<'_>]) -> Vec<u8> {
    encode(|w| actions.iter().for_each(|action| action.write(w)))
}

/// What every key begins with. `n` makes it unique.
fn base(n: u32) -> Vec<KeyAttr<'static>> {
    vec![
        KeyAttr::RecircId(n),
        KeyAttr::InPort(OVSP_LOCAL),
        KeyAttr::Ethernet { src: SRC, dst: DST },
    ]
}

fn udp4(n: u32) -> Vec<KeyAttr<'static>> {
    let ip = KeyAttr::Ipv4 {
        src: [10, 0, 0, 1],
        dst: [10, 0, 0, 2],
        proto: 17,
        tos: 0,
        ttl: 64,
        frag: OVS_FRAG_TYPE_NONE,
    };
    let l4 = [KeyAttr::EtherType(0x0800), ip, KeyAttr::Udp { src: 1, dst: 2 }];
    [base(n), l4.to_vec()].concat()
}

fn ip6(proto: u8, hlimit: u8) -> KeyAttr<'static> {
    KeyAttr::Ipv6 { src: FD1, dst: FD2, label: 0x12345, proto, tclass: 4, hlimit, frag: 0 }
}

fn sorted_tunnel(list: &[u8]) -> Vec<TunnelAttr<'_>> {
    let mut all: Vec<_> = TunnelAttrs::new(list).map(Result::unwrap).collect();
    all.retain(|attr| *attr != TunnelAttr::Pad);
    all.sort_by_key(TunnelAttr::kind);
    all
}

struct Kernel {
    socket: Socket,
    families: Families,
    dp_ifindex: u32,
    refused: Vec<String>,
}

impl Kernel {
    fn new() -> Self {
        assert!(std::env::var_os("ROVS_LAB").is_some(), "only in the lab: ci/lab -- COMMAND");
        let mut socket = Socket::open().unwrap();
        let families = Families::resolve_on(&mut socket).unwrap();
        let _ = datapath::delete(&mut socket, &families, DatapathId::Name("nlflows"));
        let new = DatapathNew { name: "nlflows", ..DatapathNew::default() };
        let dp_ifindex = datapath::create(&mut socket, &families, &new).unwrap().ifindex;
        Self { socket, families, dp_ifindex, refused: Vec::new() }
    }

    fn put(&mut self, key: &[u8], mask: Option<&[u8]>, actions: &[u8]) -> Result<(), Error> {
        let mut buf = MsgBuf::new();
        let put = FlowPut {
            dp_ifindex: self.dp_ifindex,
            key,
            mask,
            actions,
            ufid: None,
            if_exists: IfExists::Fail,
            probe: false,
            clear: false,
        };
        put.append(&mut buf, self.families.flow.id, MsgFlags::empty(), 0).unwrap();
        self.socket.transact(&mut buf).map(drop)
    }

    fn get<R>(&mut self, id: FlowId<'_>, f: impl FnOnce(FlowMsg<'_>) -> R) -> Result<R, Error> {
        let mut buf = MsgBuf::new();
        let get = FlowGet { dp_ifindex: self.dp_ifindex, id, omit: UfidFlags::empty() };
        get.append(&mut buf, self.families.flow.id, MsgFlags::empty(), 0).unwrap();
        self.socket.fetch(&mut buf, |body| FlowMsg::parse(body).map(f))
    }

    /// Puts a flow and looks at what the kernel makes of it. A refusal is noted, not failed.
    fn try_flow(&mut self, name: &str, key: &[KeyAttr<'_>], actions: &[u8]) {
        let key = list(key);
        match self.put(&key, None, actions) {
            Ok(()) => {}
            Err(Error::Kernel { errno, .. }) => {
                return self.refused.push(format!("{name} ({errno})"));
            }
            Err(e) => panic!("{name}: {e}"),
        }
        let told = actions.to_vec();
        self.get(FlowId::Key(&key), |flow| {
            let tells = flow.actions.unwrap();
            assert!(actions_agree(&told, tells), "{name}:\n{told:02x?}\n{tells:02x?}");
            let sorted = |list| {
                let mut all: Vec<_> = KeyAttrs::new(list).map(Result::unwrap).collect();
                all.sort_by_key(KeyAttr::kind);
                all
            };
            let all = sorted(flow.key.unwrap());
            for attr in KeyAttrs::new(&key).map(Result::unwrap) {
                let same = |other: &&KeyAttr<'_>| match (attr, **other) {
                    // The kernel tells these in its own order.
                    (KeyAttr::Tunnel(a), KeyAttr::Tunnel(b)) => {
                        sorted_tunnel(a) == sorted_tunnel(b)
                    }
                    (a, b) => a == b,
                };
                assert!(all.iter().any(|other| same(&other)), "{name}: {attr:?} not in {all:?}");
            }
        })
        .unwrap();
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let id = DatapathId::Ifindex(self.dp_ifindex);
        let _ = datapath::delete(&mut self.socket, &self.families, id);
    }
}

fn tunnel_actions() -> Vec<(&'static str, Vec<u8>)> {
    let mut options = Vec::new();
    let data = [0xde, 0xad, 0xbe, 0xef];
    GeneveOpt { class: 0x0102, ty: 0x80, reserved: 0, data: &data }.append(&mut options).unwrap();
    GeneveOpt { class: 0xffff, ty: 1, reserved: 0, data: &[7; 8] }.append(&mut options).unwrap();
    let (v1, v2) = (erspan_metadata::v1(7), erspan_metadata::v2(true, 0x2d));
    let v4 = [
        TunnelAttr::Id(0x64),
        TunnelAttr::Ipv4Src([10, 1, 0, 1]),
        TunnelAttr::Ipv4Dst([10, 1, 0, 2]),
        TunnelAttr::Tos(4),
        TunnelAttr::Ttl(64),
        TunnelAttr::DontFragment,
        TunnelAttr::Csum,
        TunnelAttr::TpSrc(1),
        TunnelAttr::TpDst(4789),
    ];
    let v6 = [
        TunnelAttr::Id(0x64),
        TunnelAttr::Ipv6Src(FD1),
        TunnelAttr::Ipv6Dst(FD2),
        TunnelAttr::Ttl(64),
    ];
    let set = |attrs: &[TunnelAttr<'_>], gbp: Option<u32>| {
        let key = encode(|w| {
            attrs.iter().for_each(|attr| attr.write(w));
            gbp.into_iter().for_each(|gbp| write_vxlan_gbp(w, gbp));
        });
        acts(&[Action::Set(KeyAttr::Tunnel(&key)), Action::Output(0)])
    };
    let with = |more: &[TunnelAttr<'_>]| set(&[&v4[..], more].concat(), None);
    vec![
        ("set tunnel v4", with(&[])),
        ("set tunnel v6", set(&v6, None)),
        ("set tunnel geneve", with(&[TunnelAttr::Oam, TunnelAttr::GeneveOpts(&options)])),
        ("set tunnel gbp", set(&v4, Some(0x0008_0009))),
        ("set tunnel erspan 1", with(&[TunnelAttr::ErspanOpts(v1.as_bytes())])),
        ("set tunnel erspan 2", with(&[TunnelAttr::ErspanOpts(v2.as_bytes())])),
        ("set tunnel bridge mode", set(&[v4[0], TunnelAttr::Ipv4InfoBridge], None)),
    ]
}

fn ct_actions() -> Vec<(&'static str, Vec<u8>)> {
    let ct = |ct: Ct<'_>| {
        encode(|w| {
            ct.write(w);
            Action::Recirc(77).write(w);
        })
    };
    let commit = Ct { commit: Commit::Yes, ..Ct::default() };
    let nat = Nat {
        end: Some(NatEnd::Src),
        ip_min: Some([10, 0, 0, 240].into()),
        ip_max: Some([10, 0, 0, 254].into()),
        proto_min: Some(1000),
        proto_max: Some(2000),
        persistent: true,
        hash: true,
        random: false,
    };
    let one = Nat {
        end: Some(NatEnd::Dst),
        ip_min: nat.ip_min,
        proto_min: Some(80),
        random: true,
        ..Nat::default()
    };
    vec![
        ("ct", ct(Ct::default())),
        ("ct zone", ct(Ct { zone: Some(5), ..Ct::default() })),
        ("ct commit", ct(commit)),
        ("ct force", ct(Ct { commit: Commit::Force, ..Ct::default() })),
        ("ct mark", ct(Ct { mark: Some((1, 0xff)), ..commit })),
        ("ct labels", ct(Ct { labels: Some(([1; 16], [3; 16])), ..commit })),
        ("ct helper", ct(Ct { helper: Some("tftp"), ..commit })),
        ("ct eventmask", ct(Ct { eventmask: Some(0x5c5), ..commit })),
        ("ct nat", ct(Ct { nat: Some(Nat::default()), ..Ct::default() })),
        ("ct nat src", ct(Ct { nat: Some(nat), ..commit })),
        ("ct nat dst", ct(Ct { nat: Some(one), ..commit })),
        ("ct_clear", acts(&[Action::CtClear, Action::Output(0)])),
    ]
}

fn set_masked<'a>(key: KeyAttr<'a>, mask: KeyAttr<'a>) -> Action<'a> {
    Action::SetMasked(MaskedKeyAttr::new(key, mask).unwrap())
}

fn other_actions() -> Vec<(&'static str, Vec<u8>)> {
    let ipv4 = |ttl, tos| KeyAttr::Ipv4 { src: [0; 4], dst: [0; 4], proto: 0, tos, ttl, frag: 0 };
    let whole =
        KeyAttr::Ipv4 { src: [9; 4], dst: [10, 0, 0, 2], proto: 17, tos: 0, ttl: 64, frag: 0 };
    let out = Action::Output(0);
    let eth = Action::PushEth { src: SRC, dst: DST };
    vec![
        ("drop", acts(&[])),
        ("output", acts(&[out, out])),
        ("set", acts(&[Action::Set(whole), Action::Set(KeyAttr::SkbMark(7)), out])),
        (
            "set_masked",
            acts(&[
                set_masked(ipv4(63, 4), ipv4(255, 0xfc)),
                set_masked(KeyAttr::Udp { src: 9, dst: 0 }, KeyAttr::Udp { src: 0xffff, dst: 0 }),
                set_masked(
                    KeyAttr::Ethernet { src: [0; 6], dst: SRC },
                    KeyAttr::Ethernet { src: [0; 6], dst: [255; 6] },
                ),
                set_masked(KeyAttr::Priority(7), KeyAttr::Priority(0xff)),
                set_masked(KeyAttr::SkbMark(7), KeyAttr::SkbMark(0xff)),
                out,
            ]),
        ),
        (
            "userspace",
            acts(&[
                Action::Userspace {
                    pid: 5,
                    userdata: Some(&[1, 2, 3, 4, 5]),
                    egress_tun_port: Some(1),
                    actions: true,
                },
                Action::Userspace {
                    pid: u32::MAX,
                    userdata: None,
                    egress_tun_port: None,
                    actions: false,
                },
            ]),
        ),
        (
            "vlan",
            acts(&[
                Action::PushVlan { tpid: 0x8100, tci: 0x1064 },
                out,
                Action::PopVlan,
                Action::PushVlan { tpid: 0x88a8, tci: 0x1003 },
                Action::PushVlan { tpid: 0x8100, tci: 0x7064 },
                out,
            ]),
        ),
        ("hash, recirc", acts(&[Action::Hash { algorithm: 0, basis: 3 }, Action::Recirc(7)])),
        (
            "mpls",
            acts(&[
                Action::PushMpls { lse: LSE, ethertype: 0x8847 },
                out,
                Action::PopMpls { ethertype: 0x0800 },
                out,
            ]),
        ),
        (
            "add_mpls",
            acts(&[
                Action::AddMpls {
                    lse: LSE,
                    ethertype: 0x8847,
                    tun_flags: OVS_MPLS_L3_TUNNEL_FLAG_MASK,
                },
                out,
            ]),
        ),
        ("pop_eth, push_eth", acts(&[Action::PopEth, eth, out])),
        ("trunc", acts(&[Action::Trunc { max_len: 100 }, out])),
        ("meter", acts(&[Action::Meter(1), out])),
        ("drop action", acts(&[Action::Drop(3)])),
        ("psample", acts(&[Action::Psample { group: 10, cookie: Some(&[1, 2, 3]) }, out])),
        ("psample without cookie", acts(&[Action::Psample { group: 10, cookie: None }])),
        ("nsh 1", nsh_actions(&[NSH_BASE, NshAttr::Md1([1, 2, 3, 4])])),
        ("nsh 2", nsh_actions(&[NSH_BASE_MD2, NshAttr::Md2(&[0x10, 0, 0xa, 4, 1, 2, 3, 4])])),
    ]
}

const NSH_BASE: NshAttr<'_> =
    NshAttr::Base { flags: 0, ttl: 63, mdtype: 1, np: 3, path_hdr: 0x1234ff };
const NSH_BASE_MD2: NshAttr<'_> =
    NshAttr::Base { flags: 0, ttl: 63, mdtype: 2, np: 3, path_hdr: 0x1234ff };

fn nsh_actions(header: &[NshAttr<'_>]) -> Vec<u8> {
    let nsh = encode(|w| header.iter().for_each(|attr| attr.write(w)));
    let eth = Action::PushEth { src: SRC, dst: DST };
    acts(&[Action::PushNsh(&nsh), eth, Action::Output(0)])
}

fn nested_actions() -> Vec<(&'static str, Vec<u8>)> {
    let out = Action::Output(0);
    let nested = |f: &dyn Fn(&mut AttrWriter<'_>)| encode(|w| f(w));
    let ttl = |ttl| KeyAttr::Ipv4 { src: [0; 4], dst: [0; 4], proto: 0, tos: 0, ttl, frag: 0 };
    vec![
        (
            "clone",
            nested(&|w| {
                let open = begin_clone(w);
                out.write(w);
                let inner = begin_clone(w);
                Action::PushVlan { tpid: 0x8100, tci: 0x1064 }.write(w);
                out.write(w);
                inner.end(w).unwrap();
                open.end(w).unwrap();
                out.write(w);
            }),
        ),
        (
            "sample",
            nested(&|w| {
                for probability in [1, 0x8000_0000, u32::MAX] {
                    let open = begin_sample(w, probability);
                    set_masked(ttl(5), ttl(255)).write(w);
                    out.write(w);
                    open.end(w).unwrap();
                }
                out.write(w);
            }),
        ),
        (
            "check_pkt_len",
            nested(&|w| {
                let open = begin_check_pkt_len(w, 1500);
                set_masked(ttl(5), ttl(255)).write(w);
                out.write(w);
                let open = open.less_equal(w).unwrap();
                open.end(w).unwrap();
                let open = begin_check_pkt_len(w, 100);
                out.write(w);
                let open = open.less_equal(w).unwrap();
                Action::Recirc(5).write(w);
                open.end(w).unwrap();
            }),
        ),
        (
            "dec_ttl",
            nested(&|w| {
                let open = begin_dec_ttl(w);
                let all = Action::Userspace {
                    pid: 5,
                    userdata: None,
                    egress_tun_port: None,
                    actions: false,
                };
                all.write(w);
                open.end(w).unwrap();
                out.write(w);
            }),
        ),
    ]
}

#[test]
#[ignore = "needs the lab"]
fn kernel_tells_the_actions_it_was_told() {
    let mut kernel = Kernel::new();
    // What 6.1 takes; younger actions may be refused, and so may what the kernel was built without.
    let optional = ["ct zone", "meter", "drop action", "psample", "psample without cookie"];
    let all = [other_actions(), nested_actions(), tunnel_actions(), ct_actions()].concat();
    for (n, (name, actions)) in (1u32..).zip(all) {
        kernel.try_flow(name, &udp4(n), &actions);
    }
    let refused: Vec<_> = std::mem::take(&mut kernel.refused);
    eprintln!("refused: {refused:?}");
    let bad = |name: &&String| !optional.iter().any(|o| name.starts_with(&format!("{o} (")));
    assert_eq!(refused.iter().find(bad), None);
}

#[test]
#[ignore = "needs the lab"]
fn kernel_tells_the_keys_it_was_told() {
    let mut kernel = Kernel::new();
    let out = acts(&[Action::Output(0)]);
    let pop_nsh = acts(&[Action::PopEth, Action::PopNsh, Action::Output(0)]);
    // No kernel has ever taken this one.
    let set_nsh = {
        let ttl = |ttl| NshAttr::Base { flags: 0, ttl, mdtype: 0, np: 0, path_hdr: 0 };
        let pairs = encode(|w| MaskedNshAttr::new(ttl(5), ttl(255)).unwrap().write(w));
        acts(&[Action::SetMaskedNsh(&pairs), Action::Output(0)])
    };
    let mpls: Vec<u8> =
        [100u32 << 12, 200 << 12, LSE].iter().flat_map(|l| l.to_be_bytes()).collect();
    let nsh = encode(|w| [NSH_BASE, NshAttr::Md1([1, 2, 3, 4])].iter().for_each(|a| a.write(w)));
    let inner_ip = KeyAttr::Ipv4 { src: [1; 4], dst: [2; 4], proto: 47, tos: 0, ttl: 1, frag: 0 };
    let inner = list(&[KeyAttr::EtherType(0x0800), inner_ip]);
    let outer = list(&[KeyAttr::EtherType(0x8100), KeyAttr::Vlan(0x1064), KeyAttr::Encap(&inner)]);
    let tunnel = encode(|w| {
        let mut options = Vec::new();
        let option = GeneveOpt { class: 0x0102, ty: 0x80, reserved: 0, data: &[7; 4] };
        option.append(&mut options).unwrap();
        let all = [
            TunnelAttr::Id(7),
            TunnelAttr::Ipv6Src(FD1),
            TunnelAttr::Ipv6Dst(FD2),
            TunnelAttr::Tos(4),
            TunnelAttr::Ttl(64),
            TunnelAttr::Csum,
            TunnelAttr::Oam,
            TunnelAttr::TpSrc(1),
            TunnelAttr::TpDst(6081),
            TunnelAttr::GeneveOpts(&options),
        ];
        all.iter().for_each(|a| a.write(w));
    });
    let nd = KeyAttr::Nd { target: FD1, sll: SRC, tll: [0; 6] };
    let nd6 = [KeyAttr::EtherType(0x86dd), ip6(58, 255), KeyAttr::Icmpv6 { ty: 135, code: 0 }, nd];
    let ipv4 = |proto, frag| KeyAttr::Ipv4 {
        src: [10, 0, 0, 1],
        dst: [10, 0, 0, 2],
        proto,
        tos: 4,
        ttl: 64,
        frag,
    };
    let arp = KeyAttr::Arp { sip: [1; 4], tip: [2; 4], op: 1, sha: SRC, tha: DST };
    let tuple4 = KeyAttr::CtOrigTupleIpv4 {
        src: [10, 0, 0, 1],
        dst: [10, 0, 0, 2],
        src_port: 1,
        dst_port: 2,
        proto: 17,
    };
    let tuple6 =
        KeyAttr::CtOrigTupleIpv6 { src: FD1, dst: FD2, src_port: 1, dst_port: 2, proto: 17 };
    let state = KeyAttr::CtState(OVS_CS_F_TRACKED | OVS_CS_F_ESTABLISHED);
    let ct = [state, KeyAttr::CtMark(7), KeyAttr::CtLabels([3; 16])];
    let meta = [KeyAttr::Priority(1), KeyAttr::SkbMark(2), KeyAttr::DpHash(3)];
    let ethertype = KeyAttr::EtherType;
    let cases: Vec<(&str, Vec<KeyAttr<'_>>, &[u8])> = vec![
        ("metadata", meta.to_vec(), &out),
        ("802.2", vec![], &out),
        ("arp", vec![ethertype(0x0806), arp], &out),
        ("rarp", vec![ethertype(0x8035), arp], &out),
        (
            "tcp",
            vec![
                ethertype(0x0800),
                ipv4(6, 0),
                KeyAttr::Tcp { src: 1, dst: 80 },
                KeyAttr::TcpFlags(0x12),
            ],
            &out,
        ),
        ("sctp", vec![ethertype(0x0800), ipv4(132, 1), KeyAttr::Sctp { src: 1, dst: 2 }], &out),
        ("icmp", vec![ethertype(0x0800), ipv4(1, 0), KeyAttr::Icmp { ty: 8, code: 0 }], &out),
        ("later", vec![ethertype(0x0800), ipv4(17, OVS_FRAG_TYPE_LATER)], &out),
        ("nd", nd6.to_vec(), &out),
        (
            "exthdrs",
            vec![
                ethertype(0x86dd),
                ip6(17, 64),
                KeyAttr::Udp { src: 1, dst: 2 },
                KeyAttr::Ipv6Exthdrs(1),
            ],
            &out,
        ),
        ("vlan", vec![ethertype(0x8100), KeyAttr::Vlan(0x1064), KeyAttr::Encap(&inner)], &out),
        ("qinq", vec![ethertype(0x88a8), KeyAttr::Vlan(0x10c8), KeyAttr::Encap(&outer)], &out),
        ("mpls 1", vec![ethertype(0x8847), KeyAttr::Mpls(&mpls[8..])], &out),
        ("mpls 3", vec![ethertype(0x8848), KeyAttr::Mpls(&mpls)], &out),
        ("nsh", vec![ethertype(0x894f), KeyAttr::Nsh(&nsh)], &out),
        ("pop nsh", vec![ethertype(0x894f), KeyAttr::Nsh(&nsh)], &pop_nsh),
        ("set nsh", vec![ethertype(0x894f), KeyAttr::Nsh(&nsh)], &set_nsh),
        ("tunnel", [vec![KeyAttr::Tunnel(&tunnel)], nd6.to_vec()].concat(), &out),
        ("ct 4", [&ct[..], &[tuple4, ethertype(0x0800), ipv4(47, 0)]].concat(), &out),
        ("ct 6", [&ct[..], &[tuple6, ethertype(0x86dd), ip6(47, 9)]].concat(), &out),
        ("ct zone", [&ct[..], &[KeyAttr::CtZone(5), ethertype(0x9999)]].concat(), &out),
    ];
    for (n, (name, rest, actions)) in (1000u32..).zip(&cases) {
        kernel.try_flow(name, &[base(n), rest.clone()].concat(), actions);
    }
    eprintln!("refused: {:?}", kernel.refused);
    let may = |r: &String| r.starts_with("ct zone") || r.starts_with("set nsh");
    assert!(kernel.refused.iter().all(may), "{:?}", kernel.refused);
}

#[test]
#[ignore = "needs the lab"]
fn kernel_flow_lives_and_dies_by_its_ufid() {
    let mut kernel = Kernel::new();
    let (family, dp_ifindex) = (kernel.families.flow.id, kernel.dp_ifindex);
    let (full, ufid) = (list(&udp4(7)), [0xab; 16]);
    let mask =
        list(&[KeyAttr::RecircId(u32::MAX), KeyAttr::InPort(u32::MAX), KeyAttr::EtherType(0xffff)]);
    let (one, none) = (acts(&[Action::Output(0)]), acts(&[]));
    let mut buf = MsgBuf::new();
    let put = FlowPut {
        dp_ifindex,
        key: &full,
        mask: Some(&mask),
        actions: &one,
        ufid: Some(ufid),
        if_exists: IfExists::Fail,
        probe: false,
        clear: false,
    };
    put.append(&mut buf, family, MsgFlags::ECHO, 0).unwrap();
    let echoed = kernel.socket.fetch(&mut buf, |b| FlowMsg::parse(b).map(|f| f.ufid)).unwrap();
    assert_eq!(echoed, Some(ufid));

    // Again, in three ways.
    let again = |kernel: &mut Kernel, put: FlowPut<'_>| {
        let mut buf = MsgBuf::new();
        put.append(&mut buf, family, MsgFlags::empty(), 0).unwrap();
        kernel.socket.transact(&mut buf).map(drop)
    };
    assert_eq!(again(&mut kernel, put).unwrap_err().errno(), Some(17), "EEXIST");
    let replace = FlowPut { if_exists: IfExists::Replace, actions: &none, ..put };
    assert_eq!(again(&mut kernel, replace).unwrap_err().errno(), Some(2), "ENOENT");
    let ip = KeyAttr::Ipv4 { src: [0; 4], dst: [0; 4], proto: 0, tos: 0, ttl: 0, frag: 0 };
    let eth = KeyAttr::Ethernet { src: [0; 6], dst: [0; 6] };
    let key = [KeyAttr::RecircId(7), KeyAttr::InPort(0), eth, KeyAttr::EtherType(0x0800), ip];
    let masked = list(&key);
    again(&mut kernel, FlowPut { key: &masked, ..replace }).unwrap();
    let actions = |f: FlowMsg<'_>| f.actions.map(<[u8]>::to_vec);
    assert_eq!(kernel.get(FlowId::Ufid(ufid), actions).unwrap(), Some(none));
    let mut buf = MsgBuf::new();
    let set = FlowSet {
        dp_ifindex,
        key: &full,
        mask: Some(&mask),
        actions: Some(&one),
        ufid: Some(ufid),
        probe: false,
        clear: true,
    };
    set.append(&mut buf, family, MsgFlags::empty(), 0).unwrap();
    kernel.socket.transact(&mut buf).unwrap();
    assert_eq!(kernel.get(FlowId::Ufid(ufid), actions).unwrap(), Some(one.clone()));

    // Dumps, whole and terse.
    for (omit, whole) in [(UfidFlags::empty(), true), (UfidFlags::TERSE, false)] {
        let mut buf = MsgBuf::new();
        FlowDump { dp_ifindex, omit }.append(&mut buf, family, 0).unwrap();
        let seen = |body: &[u8]| {
            let f = FlowMsg::parse(body)?;
            Ok(Some((f.ufid, f.key.is_some(), f.mask.is_some(), f.actions.is_some(), f.stats)))
        };
        let all = kernel.socket.dump(&mut buf, |m| seen(m.genl()?.body)).unwrap();
        assert_eq!(all, [(Some(ufid), whole, whole, whole, None::<FlowStats>)]);
    }

    // Deletion answers with the flow; then there is none.
    let del = FlowDel { dp_ifindex, id: FlowId::Ufid(ufid), terse: true, probe: false };
    let mut buf = MsgBuf::new();
    del.append(&mut buf, family, MsgFlags::ECHO, 0).unwrap();
    let last =
        kernel.socket.fetch(&mut buf, |b| FlowMsg::parse(b).map(|f| (f.ufid, f.key.is_some())));
    assert_eq!(last.unwrap(), (Some(ufid), false));
    let mut buf = MsgBuf::new();
    del.append(&mut buf, family, MsgFlags::empty(), 0).unwrap();
    assert_eq!(kernel.socket.transact(&mut buf).unwrap_err().errno(), Some(2), "ENOENT");

    again(&mut kernel, put).unwrap();
    let mut buf = MsgBuf::new();
    FlowFlush { dp_ifindex }.append(&mut buf, family, MsgFlags::empty(), 0).unwrap();
    kernel.socket.transact(&mut buf).unwrap();
    let gone = kernel.get(FlowId::Ufid(ufid), |_| ()).unwrap_err();
    assert_eq!(gone.errno(), Some(2), "ENOENT");
}
