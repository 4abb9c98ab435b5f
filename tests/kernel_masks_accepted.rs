//! What `rovs::odp` encodes against the stock module: keys with masks, actions, and their text.
//!
//! Every flow that a packet can have, with any wildcards, is one that the kernel takes; what it says
//! it took matches the same packets; and the stock tool reads and prints the same text.

#[path = "../src/odp/dice.rs"]
mod dice;
mod kernel;

use dice::Dice;
use kernel::{enter, run};
use ovs_netlink::datapath::{self, DatapathNew};
use ovs_netlink::flow::{FlowDump, FlowFlush, FlowMsg, FlowPut, IfExists, UfidFlags};
use ovs_netlink::msg::{MsgBuf, MsgFlags};
use ovs_netlink::{Error, Families, Socket};
use rovs::flow;
use rovs::flow::{Flow, FlowWildcards};
use rovs::odp::Support;
use rovs::odp::action::OdpActions;
use rovs::odp::format::{FlowLine, PortNames, Style, format_actions, format_flow, format_key};
use rovs::odp::key::{Fitness, OdpKey, key_from_flow};
use rovs::odp::mask::{mask_from_wildcards, mask_to_wildcards, minimal_key_and_mask};
use rovs::odp::parse::{parse_actions, parse_flow, parse_key};
use rovs::odp::ufid::{Ufid, UfidHasher};

const NAME: &str = "odp";

/// A datapath without ports, and what its kernel understands.
struct Bench {
    socket: Socket,
    families: Families,
    dp_ifindex: u32,
    support: Support,
}

/// A flow as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    key: Vec<u8>,
    mask: Vec<u8>,
    actions: Vec<u8>,
    ufid: Option<[u8; 16]>,
}

impl Bench {
    fn new() -> Self {
        enter();
        let _ = kernel::attempt(&["ovs-dpctl", "del-dp", NAME]);
        let (mut socket, families) = (Socket::open().unwrap(), Families::resolve().unwrap());
        let request = DatapathNew { name: NAME, ..DatapathNew::default() };
        let datapath = datapath::create(&mut socket, &families, &request).unwrap();
        let mut bench =
            Self { socket, families, dp_ifindex: datapath.ifindex, support: Support::default() };
        bench.support = bench.probe();
        bench
    }

    /// Tries the conntrack attributes, which depend on the kernel's configuration.
    fn probe(&mut self) -> Support {
        let none = Support {
            ct_state: false,
            ct_zone: false,
            ct_mark: false,
            ct_label: false,
            ..Support::default()
        };
        let mut flow = Flow::ZERO;
        flow.dl_type = 0x9000.into();
        let mut takes = |support: Support| {
            let mut key = Vec::new();
            key_from_flow(&flow, &support, &mut key).unwrap();
            self.put(&key, None, &[], None).is_ok()
        };
        assert!(takes(none));
        let support = Support {
            ct_state: takes(Support { ct_state: true, ..none }),
            ct_zone: takes(Support { ct_zone: true, ..none }),
            ct_mark: takes(Support { ct_mark: true, ..none }),
            ct_label: takes(Support { ct_label: true, ..none }),
            ..none
        };
        self.flush();
        support
    }

    fn put(
        &mut self,
        key: &[u8],
        mask: Option<&[u8]>,
        actions: &[u8],
        ufid: Option<Ufid>,
    ) -> Result<Told, Error> {
        let (mut buf, dp_ifindex) = (MsgBuf::default(), self.dp_ifindex);
        let ufid = ufid.map(|ufid| ufid.0);
        let put = FlowPut {
            dp_ifindex,
            key,
            mask,
            actions,
            ufid,
            if_exists: IfExists::Fail,
            probe: false,
            clear: false,
        };
        put.append(&mut buf, self.families.flow.id, MsgFlags::ECHO, 0).unwrap();
        self.socket.transact(&mut buf)?;
        // The answer to a put may leave out what was put.
        let told = self.dump();
        assert_eq!(told.len(), 1, "flows do not stay behind");
        self.flush();
        Ok(told.into_iter().next().unwrap())
    }

    fn keep(&mut self, key: &[u8], mask: &[u8], actions: &[u8]) -> Result<(), Error> {
        let mut buf = MsgBuf::default();
        let ufid = UfidHasher::new([7; 16]).ufid(key);
        let put = FlowPut {
            dp_ifindex: self.dp_ifindex,
            key,
            mask: Some(mask),
            actions,
            ufid: Some(ufid.0),
            if_exists: IfExists::Fail,
            probe: false,
            clear: false,
        };
        put.append(&mut buf, self.families.flow.id, MsgFlags::empty(), 0).unwrap();
        self.socket.transact(&mut buf).map(|_| ())
    }

    fn dump(&mut self) -> Vec<Told> {
        let mut buf = MsgBuf::default();
        let dump = FlowDump { dp_ifindex: self.dp_ifindex, omit: UfidFlags::empty() };
        dump.append(&mut buf, self.families.flow.id, 0).unwrap();
        let told = self.socket.dump(&mut buf, |message| {
            let flow = FlowMsg::parse(message.genl()?.body)?;
            Ok(Some(Told {
                key: flow.key.unwrap_or_default().to_vec(),
                mask: flow.mask.unwrap_or_default().to_vec(),
                actions: flow.actions.unwrap_or_default().to_vec(),
                ufid: flow.ufid,
            }))
        });
        told.unwrap()
    }

    fn flush(&mut self) {
        let mut buf = MsgBuf::default();
        let flush = FlowFlush { dp_ifindex: self.dp_ifindex };
        flush.append(&mut buf, self.families.flow.id, MsgFlags::empty(), 0).unwrap();
        self.socket.transact(&mut buf).unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = kernel::attempt(&["ovs-dpctl", "del-dp", NAME]);
    }
}

/// A flow with wildcards in fields that it has, as this kernel can match them.
fn roll(dice: &mut Dice, support: &Support) -> (Flow, FlowWildcards) {
    let (mut flow, exists) = dice::flow(dice);
    let mut wc = dice::wildcards(dice);
    for (word, exists) in wc.masks.words_mut().iter_mut().zip(exists.words()) {
        *word &= exists;
    }
    let m = &mut wc.masks;
    if !support.ct_state {
        (flow.ct_state, m.ct_state) = (0, 0);
    }
    if !support.ct_zone {
        (flow.ct_zone, m.ct_zone) = (0, 0);
    }
    if !support.ct_mark {
        (flow.ct_mark, m.ct_mark) = (0, 0);
    }
    if !support.ct_label {
        (flow.ct_label, m.ct_label) = ([0; 16], [0; 16]);
    }
    if m.ct_nw_proto != u8::MAX {
        // Then the kernel matches the rest of the tuple, but does not tell it.
        m.ct_nw_proto = 0;
        (m.ct_nw_src, m.ct_nw_dst) = ([0; 4], [0; 4]);
        (m.ct_ipv6_src, m.ct_ipv6_dst) = ([0; 16], [0; 16]);
        (m.ct_tp_src, m.ct_tp_dst) = (0.into(), 0.into());
    }
    (flow, wc)
}

fn text(key: &[u8], mask: &[u8], verbose: bool) -> String {
    let mut out = String::new();
    format_key(key, Some(mask), Style { names: None, verbose }, &mut out);
    out
}

/// What the kernel says it took must match what was asked for, and nothing else where that was said.
fn check(told: &Told, flow: &Flow, wc: &FlowWildcards, what: &str) {
    let (mut told_flow, mut told_wc) = (Flow::ZERO, FlowWildcards::CATCHALL);
    let fitness = OdpKey(&told.key).to_flow(2, &mut told_flow);
    // A key is told with what is not matched cleared, and so may lack the end of its labels, or all.
    let labels = flow.mpls_lse[0].get() != 0;
    if labels && wc.masks.mpls_lse.iter().all(|lse| lse.get() == 0) {
        return;
    }
    let cleared = labels && fitness == Ok(Fitness::TooLittle);
    let perfect = fitness == Ok(Fitness::Perfect) || cleared;
    assert!(perfect, "{what}: {fitness:?} {}", text(&told.key, &told.mask, true));
    // The mask of a dump is for the key as it was put: a wildcarded protocol is 0 in the dump.
    let fitness = mask_to_wildcards(&told.mask, flow, 2, &mut told_wc);
    assert!(fitness.is_ok(), "{what}: {fitness:?} {}", text(&told.key, &told.mask, true));
    let missing: Vec<_> = (0..flow::FLOW_WORDS)
        .filter(|&i| wc.masks.words()[i] & !told_wc.masks.words()[i] != 0)
        .collect();
    assert_eq!(missing, Vec::<usize>::new(), "{what}: {}", text(&told.key, &told.mask, true));
    assert!(
        wc.equal_except(flow, &told_flow),
        "{what}: {} is not what was put",
        text(&told.key, &told.mask, true)
    );
}

#[test]
#[ignore = "lab only"]
fn every_key_with_any_mask_is_taken() {
    let mut bench = Bench::new();
    let support = bench.support;
    println!("{support:?}");
    for seed in 0..4000 {
        let (flow, wc) = roll(&mut Dice(seed), &support);
        let (mut key, mut mask) = (Vec::new(), Vec::new());
        key_from_flow(&flow, &support, &mut key).unwrap();
        mask_from_wildcards(&wc, &flow, &support, &mut mask).unwrap();
        let ufid = UfidHasher::new([1; 16]).ufid(&key);
        let whole = bench.put(&key, Some(&mask), &[], Some(ufid));
        let whole = whole.unwrap_or_else(|e| panic!("{seed}: {e}: {}", text(&key, &mask, true)));
        assert_eq!(whole.ufid, Some(ufid.0));
        check(&whole, &flow, &wc, "whole");

        let (mut short_key, mut short_mask) = (Vec::new(), Vec::new());
        minimal_key_and_mask(
            OdpKey(&key),
            &flow,
            &wc,
            &support,
            None,
            &mut short_key,
            &mut short_mask,
        )
        .unwrap();
        let short = bench.put(&short_key, Some(&short_mask), &[], Some(ufid));
        let short = short.unwrap_or_else(|e| {
            panic!(
                "{seed}: {e}: {} for {}",
                text(&short_key, &short_mask, true),
                text(&key, &mask, true)
            )
        });
        check(&short, &flow, &wc, "short");
        // Shorter to say, the same to match; but a tunnel of which nothing is matched is not said.
        if !flow.tunnel.dst_is_set() {
            assert_eq!(short, whole, "{}", text(&key, &mask, true));
        }
    }
}

#[test]
#[ignore = "lab only"]
fn keys_without_mask_are_taken_and_given_back() {
    let mut bench = Bench::new();
    let support = bench.support;
    for seed in 0..2000 {
        let (flow, _) = roll(&mut Dice(seed), &support);
        if flow.vlan_count() > 0 && flow.dl_type.get() == flow::FLOW_DL_TYPE_NONE {
            // Without a mask the kernel does not find that there is nothing behind the tag.
            continue;
        }
        let mut key = Vec::new();
        key_from_flow(&flow, &support, &mut key).unwrap();
        let told = bench.put(&key, None, &[], None);
        let told = told.unwrap_or_else(|e| panic!("{seed}: {e}: {}", text(&key, &[], true)));
        // The kernel adds what it knows and we do not say.
        let mut told_flow = Flow::ZERO;
        assert_eq!(OdpKey(&told.key).to_flow(2, &mut told_flow), Ok(Fitness::Perfect));
        let mut again = Vec::new();
        key_from_flow(&told_flow, &support, &mut again).unwrap();
        assert_eq!(text(&again, &[], true), text(&key, &[], true), "{seed}");
    }
}

#[test]
#[ignore = "lab only"]
fn the_stock_tool_prints_what_we_print() {
    let mut bench = Bench::new();
    let support = bench.support;
    let actions = action_lists(&mut bench);
    for seed in 0..300 {
        let (flow, wc) = roll(&mut Dice(seed), &support);
        let (mut key, mut mask) = (Vec::new(), Vec::new());
        key_from_flow(&flow, &support, &mut key).unwrap();
        mask_from_wildcards(&wc, &flow, &support, &mut mask).unwrap();
        bench.keep(&key, &mask, &[]).unwrap();
    }
    for (i, list) in actions.iter().enumerate() {
        let (key, mask) = tcp_flow(i);
        bench.keep(&key, &mask, list).unwrap();
    }
    let told = bench.dump();
    assert_eq!(told.len(), 300 + actions.len());
    let mut names = PortNames::default();
    names.insert(0, NAME);
    let mut bad = 0;
    for verbose in [false, true] {
        let theirs = if verbose {
            run(&["ovs-dpctl", "-m", "dump-flows", NAME])
        } else {
            run(&["ovs-dpctl", "dump-flows", NAME])
        };
        let mut theirs: Vec<&str> = theirs.lines().collect();
        let mut ours: Vec<String> = told
            .iter()
            .map(|told| {
                let mut out = String::new();
                let line = FlowLine {
                    ufid: told.ufid.map(Ufid),
                    key: &told.key,
                    mask: Some(&told.mask),
                    actions: &told.actions,
                    ..FlowLine::default()
                };
                // With -m the stock tool shows names.
                let names = verbose.then_some(&names);
                format_flow(&line, Style { names, verbose }, &mut out);
                out
            })
            .collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        for line in &theirs {
            if !ours.iter().any(|ours| without_layer(ours) == without_layer(line)) {
                bad += 1;
                println!("theirs: {line}");
            }
        }
        for line in &ours {
            if !theirs.iter().any(|theirs| without_layer(theirs) == without_layer(line)) {
                println!("ours:   {line}");
            }
            // A flow of which no label is matched is shown with a broken list of them.
            let read = parse_flow(line, Some(&names));
            assert!(read.is_ok() || line.contains("bad key length"), "{read:?}: {line}");
        }
    }
    assert_eq!(bad, 0);
}

/// What the kernel's offload layer has to say is not ours to show.
fn without_layer(line: &str) -> String {
    line.replace("dp:ovs, ", "")
}

#[test]
#[ignore = "lab only"]
fn the_stock_tool_reads_what_we_print() {
    let mut bench = Bench::new();
    let support = bench.support;
    let (mut skipped, mut done) = (0, 0);
    for seed in 0..250 {
        let (flow, mut wc) = roll(&mut Dice(seed), &support);
        // A fragment type that is not matched is not shown, even where it decides what follows.
        wc.masks.nw_frag = if flow.is_ip_any() { 3 } else { 0 };
        let (mut key, mut mask) = (Vec::new(), Vec::new());
        key_from_flow(&flow, &support, &mut key).unwrap();
        mask_from_wildcards(&wc, &flow, &support, &mut mask).unwrap();
        let line = text(&key, &mask, true);
        // What the tool prints itself, but cannot read.
        let unreadable = ["src_port=", "erspan(", "geneve(", "nsh(", "eth_type(0/", "encap()"];
        if unreadable.iter().any(|part| line.contains(part)) {
            skipped += 1;
            continue;
        }
        let (output, ok) = kernel::attempt(&["ovs-dpctl", "add-flow", NAME, &line, "0"]);
        assert!(ok, "{seed}: {output}: {line}");
        let theirs = bench.dump();
        bench.flush();
        let (mut key, mut mask) = (Vec::new(), Vec::new());
        parse_key(&line, None, &mut key, &mut mask).unwrap();
        let ours = bench.put(&key, Some(&mask), &[], None);
        let ours = ours.unwrap_or_else(|e| panic!("{seed}: {e}: {line}"));
        assert_eq!(theirs.len(), 1);
        assert_eq!(
            text(&theirs[0].key, &theirs[0].mask, true),
            text(&ours.key, &ours.mask, true),
            "{line}"
        );
        done += 1;
    }
    println!("{done} read, {skipped} skipped");
}

/// An exact TCP flow, one of many.
fn tcp_flow(i: usize) -> (Vec<u8>, Vec<u8>) {
    let line = format!(
        "recirc_id(0),in_port(0),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x8100),\
         vlan(vid=5,pcp=0),encap(eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=0,\
         ttl=64,frag=no),tcp(src={i},dst=80))"
    );
    let (mut key, mut mask) = (Vec::new(), Vec::new());
    parse_key(&line, None, &mut key, &mut mask).unwrap();
    // The kernel wants the flags with every TCP key.
    let mut full = Flow::ZERO;
    OdpKey(&key).to_flow(2, &mut full).unwrap();
    key.clear();
    let support = Support {
        ct_state: false,
        ct_zone: false,
        ct_mark: false,
        ct_label: false,
        ..Support::default()
    };
    key_from_flow(&full, &support, &mut key).unwrap();
    (key, mask)
}

/// Lists of actions that the kernel takes for [`tcp_flow`], encoded from text.
fn action_lists(bench: &mut Bench) -> Vec<Vec<u8>> {
    let lines = [
        "drop",
        "0",
        "0,0,0",
        "pop_vlan,0",
        "pop_vlan,push_vlan(vid=7,pcp=3),0",
        "push_vlan(tpid=0x88a8,vid=13,pcp=5),0",
        "userspace(pid=7,slow_path(lacp,match),actions)",
        "userspace(pid=7,slow_path(0))",
        "userspace(pid=7,controller(reason=1,dont_send=0,continuation=1,recirc_id=5,rule_cookie=0xdeadbeef,controller_id=2,max_len=128))",
        "userspace(pid=7,sFlow(vid=9,pcp=7,output=10),tunnel_out_port=0)",
        "userspace(pid=7,flow_sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4,output_port=5,egress))",
        "userspace(pid=7,ipfix(output_port=3))",
        "userspace(pid=7,userdata(0102030405060708090a))",
        "set(eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:03)),0",
        "set(eth(dst=02:00:00:00:00:03)),0",
        "pop_vlan,set(ipv4(src=10.0.0.0/255.0.0.0,tos=0/0x3,ttl=63)),0",
        "pop_vlan,set(tcp(dst=81)),0",
        "pop_vlan,set(tcp(src=1,dst=2)),0",
        "set(skb_priority(0x10002)),set(skb_mark(0x1)),set(skb_mark(0x1/0xf)),0",
        "set(tunnel(tun_id=0xa,src=1.1.1.1,dst=2.2.2.2,tos=0x1,ttl=64,tp_dst=6081,geneve({class=0x102,type=0,len=8,0x1122334455667788}),flags(df|key))),0",
        "set(tunnel(tun_id=0x1,ipv6_dst=2001:db8::1,ttl=64,vxlan(gbp(id=1,flags=0x8)),flags(csum|key))),0",
        "set(tunnel(dst=2.2.2.2,ttl=64,flags(0))),0",
        "pop_vlan,push_mpls(label=16,tc=1,ttl=64,bos=1,eth_type=0x8847),0",
        "hash(l4(7)),recirc(0x2a)",
        "sample(sample=12.5%,actions(0)),0",
        "sample(sample=100.0%,actions(sample(sample=0.1%,actions(0)),pop_vlan,0))",
        "clone(pop_vlan,0),0",
        "clone(clone(push_vlan(vid=12,pcp=0),0),0)",
        "check_pkt_len(size=1514,gt(userspace(pid=1,slow_path(action))),le(drop))",
        "check_pkt_len(size=200,gt(set(eth(dst=02:00:00:00:00:03)),0),le(0))",
        "trunc(100),0",
        "ct_clear,0",
        "ct,recirc(0x1)",
        "ct(commit),recirc(0x1)",
        "ct(commit,zone=5),0",
        "ct(commit,mark=0x1/0xf),0",
        "ct(commit,label=0x1/0xff),0",
        "ct(force_commit,nat(dst=10.0.0.128-10.0.0.254,hash)),0",
        "ct(commit,nat(src=10.0.0.1-10.0.0.9:1024-2047,random)),recirc(0x3)",
        "ct(commit,nat(src)),ct(nat),0",
        "pop_vlan,pop_eth,push_eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),0",
    ];
    let mut lists = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let mut actions = OdpActions::new();
        parse_actions(line, None, &mut actions).unwrap_or_else(|e| panic!("{e}: {line}"));
        let (key, mask) = tcp_flow(i);
        match bench.put(&key, Some(&mask), actions.as_bytes(), None) {
            Ok(told) => {
                let mut shown = String::new();
                format_actions(&told.actions, None, &mut shown);
                assert_eq!(&shown, line);
                lists.push(actions.as_bytes().to_vec());
            }
            // Parts of conntrack are a matter of the kernel's configuration.
            Err(e) => {
                println!("{e}: {line}");
                assert!(line.contains("ct"), "{e}: {line}");
            }
        }
    }
    lists
}
