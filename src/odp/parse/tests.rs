//! Text to bytes and back.

use proptest::prelude::*;

use super::*;
use crate::flow::{Flow, FlowWildcards};
use crate::odp::Support;
use crate::odp::dice::{self, Dice};
use crate::odp::format::{Style, format_actions, format_key};
use crate::odp::key::{Fitness, OdpKey, key_from_flow};
use crate::odp::mask::{mask_from_wildcards, mask_to_wildcards};

fn key_text(key: &[u8], mask: Option<&[u8]>, verbose: bool) -> String {
    let mut out = String::new();
    format_key(key, mask, Style { names: None, verbose }, &mut out);
    out
}

fn read_key(text: &str) -> Result<(Vec<u8>, Vec<u8>), ParseError> {
    let (mut key, mut mask) = (Vec::new(), Vec::new());
    parse_key(text, None, &mut key, &mut mask).map(|_| (key, mask))
}

/// The text after a way through the bytes.
fn key_again(text: &str, verbose: bool) -> Result<String, ParseError> {
    read_key(text).map(|(key, mask)| key_text(&key, Some(&mask), verbose))
}

fn actions_again(text: &str) -> Result<String, ParseError> {
    let mut actions = OdpActions::new();
    parse_actions(text, None, &mut actions)?;
    let mut out = String::new();
    format_actions(actions.as_bytes(), None, &mut out);
    Ok(out)
}

const ETH: &str = "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)";

#[test]
fn keys_with_masks_come_back() {
    let ip = "eth_type(0x0800),ipv4(src=10.1.2.3/255.255.0.0,proto=6,tos=0/0x3,ttl=64,frag=no)";
    let ip6 = "eth_type(0x86dd),ipv6(src=fe80::1,dst=ff02::1:ff00:2/ffff::,label=0x5/0xf,proto=58,hlimit=255,frag=no)";
    let tunnel = "tunnel(tun_id=0x7b,src=172.31.1.2,dst=172.31.1.1,tos=0x8,ttl=64,tp_dst=6081";
    for line in [
        "recirc_id(0),in_port(1),eth(),eth_type(0x0806)",
        "in_port(1),eth(src=02:00:00:00:00:01/01:00:00:00:00:00),eth_type(0x0800),ipv4(frag=later)",
        &format!(
            "skb_priority(0x12/0xff),in_port(3),skb_mark(0x7),{ETH},{ip},tcp(src=80/0xff00),tcp_flags(-fin+syn)"
        ),
        &format!("{ETH},{ip},tcp(dst=443),tcp_flags(syn|ack|[800])"),
        &format!(
            "{ETH},{ip6},icmpv6(type=135,code=0),nd(target=fe80::2,sll=02:00:00:00:00:01/ff:ff:ff:00:00:00)"
        ),
        &format!("{ETH},{ip6},key32(00 00/00 00),icmpv6(type=128/0xf0)"),
        &format!(
            "ct_state(+new-est+trk),ct_zone(0x5/0xff),ct_mark(0x10/0xf0),ct_label(0x1234567890abcdef1234567890/0xff00000000000000000000000000),ct_tuple4(src=10.0.0.1,proto=17,tp_dst=53),{ETH},{ip},udp(dst=53)"
        ),
        "ct_tuple6(src=::1,proto=6,src_port=1,dst_port=2),eth(),eth_type(0x9000)",
        &format!(
            "{ETH},eth_type(0x8100),vlan(vid=10,pcp=3),encap(eth_type(0x8100),vlan(vid=20/0xff0,pcp=0/0x1),encap({ip},sctp(src=1,dst=2)))"
        ),
        &format!(
            "{ETH},eth_type(0x8847),mpls(label=100/0xfffff,tc=3/7,ttl=64/0x0,bos=0/1,label=200/0xfffff,tc=0/0,ttl=0/0x0,bos=1/1)"
        ),
        &format!(
            "{ETH},eth_type(0x8847),mpls(label=100,tc=3,ttl=64,bos=0,label=200,tc=1,ttl=1,bos=1)"
        ),
        &format!(
            "{ETH},eth_type(0x0806),arp(sip=10.0.0.1,op=1/0xff,tha=00:00:00:00:00:00/ff:ff:00:00:00:00)"
        ),
        &format!(
            "{ETH},eth_type(0x894f),nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x123456,si=255,c1=0x11223344,c2=0x0/0x0000ff00)"
        ),
        &format!(
            "{tunnel},geneve({{class=0x102,type=0x80,len=4,0xa/0xff}}{{class=0xffff,type=0x1,len=0}}),flags(-df+csum+key)),in_port(4)"
        ),
        &format!("{tunnel},vxlan(gbp(id=32/0xff,flags=0x8)),flags(+key)),in_port(4)"),
        &format!("{tunnel},flags(df|csum|key)),in_port(4)"),
        "tunnel(tun_id=0x1,ipv6_src=2001:db8::1,ipv6_dst=2001:db8::2,ttl=64,erspan(ver=2,dir=1/0x1,hwid=0x7/0xf),flags(key)),in_port(4)",
        "tunnel(tun_id=0x1,src=1.1.1.1,dst=2.2.2.2,ttl=64,erspan(ver=1,idx=0x7/0xf),flags(key)),in_port(4)",
        "eth(),eth_type(0x88a8),vlan(vid=100),encap(eth_type(0x0000),vlan(vid=10,pcp=0),encap(eth_type(0x0800)))",
        "packet_type(ns=1,id=0x800),eth_type(0x0800)",
    ] {
        assert_eq!(key_again(line, false).as_deref(), Ok(line));
    }
}

#[test]
fn verbose_keys_come_back() {
    for line in [
        "recirc_id(0x5),dp_hash(0/0),skb_priority(0/0),in_port(1),skb_mark(0/0),ct_state(0x21/0x3f),ct_zone(0/0),ct_mark(0/0),ct_label(0/0),eth(src=02:00:00:00:00:01/00:00:00:00:00:00,dst=02:00:00:00:00:02),eth_type(0x0800),ipv4(src=10.0.0.1/0.0.0.0,dst=10.0.0.2/0.0.0.0,proto=6/0,tos=0/0,ttl=64/0,frag=no),tcp(src=1/0,dst=2/0),tcp_flags(0/0)",
        "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x8100),vlan(vid=99/0x0,pcp=0/0x0),encap(eth_type(0x86dd),ipv6(src=::/::,dst=::/::,label=0/0,proto=0/0,tclass=0/0,hlimit=0/0,frag=no),key32(00 00/00 00))",
    ] {
        assert_eq!(key_again(line, true).as_deref(), Ok(line));
    }
}

#[test]
fn actions_come_back() {
    for line in [
        "drop",
        "1,2,3",
        "meter(3),trunc(100),4",
        "userspace(pid=4294967295,slow_path(lacp,match),actions)",
        "userspace(pid=7,slow_path(0),tunnel_out_port=10)",
        "userspace(pid=7,controller(reason=1,dont_send=0,continuation=1,recirc_id=5,rule_cookie=0xdeadbeef,controller_id=2,max_len=128))",
        "userspace(pid=7,sFlow(vid=9,pcp=7,output=10),actions)",
        "userspace(pid=7,flow_sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4,output_port=5,egress))",
        "userspace(pid=7,ipfix(output_port=4294967295))",
        "userspace(pid=7,userdata(0102030405060708))",
        "userspace(pid=7)",
        "set(eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02))",
        "set(eth(dst=02:00:00:00:00:02))",
        "set(ipv4(src=10.0.0.0/255.0.0.0,tos=0/0x3,ttl=63))",
        "set(ipv6(label=0x5,hlimit=1))",
        "set(tcp(dst=80/0xff))",
        "set(udp(src=1,dst=2))",
        "set(skb_priority(0x10002)),set(skb_mark(0x1))",
        "set(tunnel(tun_id=0xa,src=1.1.1.1,dst=2.2.2.2,ttl=64,tp_dst=6081,geneve({class=0x102,type=0,len=8,0x1122334455667788}),flags(df|key)))",
        "set(tunnel(ipv6_dst=2001:db8::1,ttl=64,vxlan(gbp(id=1,flags=0)),flags(0)))",
        "set(nsh(ttl=3,spi=0x1))",
        "push_vlan(vid=12,pcp=0),push_vlan(tpid=0x88a8,vid=13,pcp=5),pop_vlan",
        "push_mpls(label=16,tc=1,ttl=64,bos=1,eth_type=0x8847),pop_mpls(eth_type=0x800)",
        "add_mpls(label=16,tc=1,ttl=64,bos=1,eth_type=0x8848)",
        "push_eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),pop_eth",
        "push_nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x123456,si=255,c1=0x1,c2=0x2,c3=0x3,c4=0x4),pop_nsh()",
        "push_nsh(flags=0,ttl=63,mdtype=2,np=3,spi=0x1,si=1,md2=0x1000000a1122334455667788)",
        "hash(l4(0)),recirc(0x2a)",
        "hash(sym_l4(7)),recirc(0)",
        "sample(sample=12.5%,actions(1,sample(sample=100.0%,actions(drop))))",
        "clone(clone(push_vlan(vid=12,pcp=0),2),1)",
        "check_pkt_len(size=1514,gt(userspace(pid=1,slow_path(action))),le(drop))",
        "dec_ttl(le_1(2))",
        "psample(group=12,cookie=0xf1020304)",
        "psample(group=12)",
        "ct,ct_clear",
        "ct(commit,zone=5,mark=0x1/0xf,label=0x1/0xff,helper=ftp,timeout=ovs_tp_0_tcp4,nat(src=10.0.0.1-10.0.0.9:1024-2047,persistent))",
        "ct(force_commit,nat(dst=[fd00::1]-[fd00::2]:80,hash))",
        "ct(commit,nat(src=fd00::1,random)),ct(nat),ct(commit,nat(dst))",
        "action42(00 01 02 ff),action43",
    ] {
        assert_eq!(actions_again(line).as_deref(), Ok(line));
    }
}

#[test]
fn other_texts_are_refused_with_their_place() {
    for (line, at) in [
        ("in_port(1", 9),
        ("in_port(eth0)", 8),
        ("eth(src=1:2:3)", 13),
        ("ipv4(frag=some)", 10),
        ("ipv4(whatever=1)", 5),
        ("ipv4(ttl=256)", 9),
        ("vlan(vid=4096)", 13),
        ("mpls(label=1048576)", 18),
        ("foo(1)", 4),
        ("eth() bar", 6),
        ("tunnel(geneve({class=1,type=2,len=3}))", 35),
        ("ct_state(+new|est)", 14),
    ] {
        assert_eq!(read_key(line).map_err(|e| e.at), Err(at), "{line}");
    }
    for line in [
        "1,foo",
        "set(foo(1))",
        "sample(sample=101%,actions(1))",
        "sample(sample=NaN%,actions(1))",
        "psample()",
        "psample(group=1,group=2)",
        "psample(group=1,cookie=0x0102030405060708090a0b0c0d0e0f1011)",
        "ct(nat(src=10.0.0.9-10.0.0.1))",
        "ct(nat(random))",
        "userspace(slow_path(0))",
        "clone(1",
        "encap_nsh@:{@",
    ] {
        assert!(actions_again(line).is_err(), "{line}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = |n| "encap(".repeat(n) + &")".repeat(n);
    assert!(read_key(&deep(DEPTH_MAX)).is_ok());
    assert!(read_key(&deep(DEPTH_MAX + 1)).is_err());
    let deep = |n| "clone(".repeat(n) + &")".repeat(n);
    assert!(actions_again(&deep(DEPTH_MAX + 1)).is_err());
    assert!(actions_again(&"1,".repeat(8191)).is_ok());
    assert!(actions_again(&"1,".repeat(8192)).is_err());
}

#[test]
fn names_stand_for_ports() {
    let mut names = PortNames::default();
    names.insert(2, "eth0");
    names.insert(3, "br-int");
    names.insert(4, "drop");
    let line = "ufid:12345678-9abc-4def-8123-456789abcdef, recirc_id(0),in_port(eth0),eth(),eth_type(0x9000), packets:3, bytes:180, used:2.005s, flags:SP., dp:ovs, actions:br-int,5,eth0";
    let flow = parse_flow(line, Some(&names)).unwrap();
    assert_eq!((flow.packets, flow.bytes, flow.used_ms_ago), (3, 180, Some(2005)));
    assert_eq!(flow.tcp_flags, 0x1a);
    assert_eq!(
        flow.ufid.map(|u| u.to_string()).as_deref(),
        Some("ufid:12345678-9abc-4def-8123-456789abcdef")
    );
    let mut out = String::new();
    format_actions(flow.actions.as_bytes(), Some(&names), &mut out);
    assert_eq!(out, "br-int,5,eth0");
    let mut decoded = Flow::ZERO;
    OdpKey(&flow.key).to_flow(2, &mut decoded).unwrap();
    assert_eq!(decoded.in_port, 2);
}

#[test]
fn frames_without_ethernet_type_have_only_its_mask() {
    let (key, mask) = read_key("in_port(1),eth(src=02:00:00:00:00:01),eth_type(0/0xffff)").unwrap();
    let mut flow = Flow::ZERO;
    assert_eq!(OdpKey(&key).to_flow(2, &mut flow), Ok(Fitness::Perfect));
    assert_eq!(flow.dl_type.get(), crate::flow::FLOW_DL_TYPE_NONE);
    let mut wc = FlowWildcards::CATCHALL;
    assert_eq!(mask_to_wildcards(&mask, &flow, 2, &mut wc), Ok(Fitness::Perfect));
    assert_eq!(
        key_text(&key, Some(&mask), false),
        "in_port(1),eth(src=02:00:00:00:00:01),eth_type(0/0xffff)"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_is_shown_is_read_back(seed: u64, verbose: bool) {
        let mut dice = Dice(seed);
        let (flow, exists) = dice::flow(&mut dice);
        let mut wc = dice::wildcards(&mut dice);
        for (word, exists) in wc.masks.words_mut().iter_mut().zip(exists.words()) {
            *word &= exists;
        }
        let (support, mut key, mut mask) = (Support::default(), Vec::new(), Vec::new());
        key_from_flow(&flow, &support, &mut key).unwrap();
        mask_from_wildcards(&wc, &flow, &support, &mut mask).unwrap();
        let text = key_text(&key, Some(&mask), verbose);
        // The terse form does not tell the length of a Geneve option that is not matched.
        let verbose = verbose || text.contains("geneve");
        let text = key_text(&key, Some(&mask), verbose);
        prop_assert_eq!(key_again(&text, verbose), Ok(text.clone()));

        // Read back, it matches the same packets.
        let (key2, mask2) = read_key(&text).unwrap();
        let (mut flow2, mut wc2) = (Flow::ZERO, FlowWildcards::CATCHALL);
        let mut wc1 = FlowWildcards::CATCHALL;
        mask_to_wildcards(&mask, &flow, 2, &mut wc1).unwrap();
        // The text does not say that there is nothing behind a tag, nor the high bits of an ERSPAN
        // hardware id; nor does the peer's.
        if verbose && !text.contains("encap()") && !text.contains("hwid=") {
            OdpKey(&key2).to_flow(2, &mut flow2).unwrap();
            mask_to_wildcards(&mask2, &flow2, 2, &mut wc2).unwrap();
            prop_assert!(wc1.equal_except(&flow, &flow2), "{}", text);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_is_taken_or_refused(text in ".{0,80}") {
        let _ = (read_key(&text), actions_again(&text), parse_flow(&text, None));
    }

    #[test]
    fn almost_right_text_is_taken_or_refused(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("tunnel("), Just("tun_id="), Just("geneve({"), Just("class="), Just("len="),
                Just("flags("), Just("+key"), Just("-df"), Just("eth("), Just("src="), Just("encap("),
                Just("vlan("), Just("mpls("), Just("label="), Just("nsh("), Just("md2="), Just("ct("),
                Just("nat("), Just("0x"), Just("0xffffffffffffffffffff"), Just("4"), Just("/"), Just(","),
                Just(")"), Just("}"), Just("set("), Just("sample(sample="), Just("%,actions("),
                Just("userspace("), Just("pid="), Just("userdata("), Just("psample("), Just("cookie="),
                Just("clone("), Just("drop"), Just("key32("), Just("00 "), Just("ct_label("), Just("é"),
                Just("push_nsh("), Just("erspan("), Just("ver=1"), Just("hash("), Just("l4("), Just("::1"),
                Just("[::1]"), Just("-"), Just(":80"), Just("in_port("), Just("actions:"), Just("packets:"),
            ],
            0..25,
        ),
    ) {
        let text = pieces.concat();
        let _ = (read_key(&text), actions_again(&text), parse_flow(&text, None));
    }
}

/// Lines of dumps of a stock datapath, `ROVS_FLOW_LINES` being a file of them.
#[test]
#[ignore = "needs a file of flows"]
fn dumps_come_back() {
    let Ok(path) = std::env::var("ROVS_FLOW_LINES") else { return };
    let (mut good, mut bad) = (0, 0);
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let (key, actions) = line.split_once("actions:").unwrap_or((line, ""));
        let key = key.trim_end_matches([',', ' ']);
        let again = match (key.is_empty(), actions.is_empty()) {
            (false, true) => key_again(key, false),
            (true, false) => actions_again(actions),
            (false, false) => key_again(key, false)
                .and_then(|key| Ok(format!("{key}, actions:{}", actions_again(actions)?))),
            (true, true) => continue,
        };
        let want = line.strip_prefix("actions:").unwrap_or(line);
        if again.as_deref() == Ok(want) {
            good += 1;
        } else {
            bad += 1;
            println!("in:  {want}\nout: {again:?}\n");
        }
    }
    println!("{good} good, {bad} bad");
    assert_eq!(bad, 0);
}

#[test]
fn faults_are_told_with_the_whole_rest() {
    // What ovs-appctl 3.1.0 answered.
    let fault = |text: &str| {
        let error = parse_key(text, None, &mut Vec::new(), &mut Vec::new());
        error.expect_err(text).syntax_error(text)
    };
    let text = "in_port(9),eth(),eth_type(0x800),ipv9()";
    assert_eq!(fault(text), "syntax error at ipv9()");
    assert_eq!(fault("in_port=1"), "syntax error at in_port=1");
    assert_eq!(fault("in_port=1,dl_vlan=5"), "syntax error at in_port=1,dl_vlan=5");
    assert_eq!(fault("bad"), "syntax error at bad");
}
