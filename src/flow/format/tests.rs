//! Text against the peer's, and back.

use proptest::prelude::*;

use super::*;
use crate::flow::Be16;
use crate::flow::field::{Maskable, Prereq, Subfield};
use crate::flow::parse::key_values;

/// Reads a match with a priority.
fn parse(text: &str) -> Result<(Match, u16), String> {
    let mut result = Match::CATCHALL;
    let mut priority = DEFAULT_PRIORITY;
    for (name, value) in key_values(text) {
        if !result.parse_word(name, value, None).map_err(|e| e.to_string())? {
            match (name, value.parse()) {
                ("priority", Ok(number)) => priority = number,
                _ => return Err(format!("unknown keyword {name}")),
            }
        }
    }
    Ok((result, priority))
}

#[test]
fn agrees_with_the_peer() {
    let corpus = include_str!("corpus.txt").lines().filter(|line| !line.starts_with('#'));
    let mut wrong = Vec::new();
    for line in corpus {
        let (given, expected) = line.split_once('\t').unwrap();
        let text = match parse(given) {
            Ok((mut m, priority)) => {
                m.normalize();
                let mut text = String::new();
                m.format(&mut text, None, priority).unwrap();
                text
            }
            Err(error) => format!("!{error}"),
        };
        if text != expected {
            wrong.push(format!("{given}\n   ours {text}\n  peer's {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_written_can_be_read() {
    let corpus = include_str!("corpus.txt").lines().filter(|line| !line.starts_with('#'));
    for (given, _) in corpus.filter_map(|line| line.split_once('\t')) {
        let Ok((mut m, _)) = parse(given) else { continue };
        m.normalize();
        let (mut again, _) = parse(&m.to_string()).unwrap();
        // The default packet type is not written.
        again.set_default_packet_type();
        m.set_default_packet_type();
        assert_eq!(again, m, "{given} => {m}");
    }
}

#[test]
fn ports_by_name() {
    let mut ports = PortNames::default();
    ports.add(OfPort(3), "eth0");
    ports.add(OfPort(4), "br-int");
    let m = Match::parse("in_port=eth0", Some(&ports)).unwrap();
    assert_eq!(m.flow.in_port, 3);
    let mut text = String::new();
    m.format(&mut text, Some(&ports), 1).unwrap();
    assert_eq!(text, "priority=1,in_port=eth0");
    let m = Match::parse("in_port=\"br-int\"", Some(&ports)).unwrap();
    text.clear();
    m.format(&mut text, Some(&ports), DEFAULT_PRIORITY).unwrap();
    assert_eq!(text, "in_port=\"br-int\"");
}

#[test]
fn flows_from_text() {
    let text = "in_port=1,tcp,dl_vlan=5,nw_src=1.2.3.4,tp_dst=80,tcp_flags=syn";
    let flow = Flow::parse(text, None).unwrap();
    assert_eq!((flow.in_port, flow.nw_proto, flow.tp_dst.get()), (1, 6, 80));
    assert_eq!(flow.vlans[0].tci.get(), 0x1005);
    assert_eq!(Flow::parse("", None).unwrap().in_port, 0xffff);
    for (wrong, says) in [
        ("tp_dst=80", "prerequisites not met for setting tp_dst"),
        ("ip,arp", "Ethernet type set multiple times"),
        ("ip,nw_src=1.2.3.4,nw_src=1.2.3.4", "field ip_src set multiple times"),
        ("ip,nw_src=1.2.3.0/24", "wildcards not allowed here"),
        ("foo=1", "unknown field foo"),
        ("reg0=x", "bad value for reg0 (x: bad syntax for reg0 value)"),
    ] {
        let error = Flow::parse(wrong, None).unwrap_err().to_string();
        assert!(error.contains(says), "{wrong}: {error}");
    }
}

#[test]
fn flags_without_names() {
    let mut text = String::new();
    format_flags(&mut text, &[(1, "a"), (4, "b")], 0x17, '|').unwrap();
    assert_eq!(text, "a|b|0x12");
}

/// Protocols that give a match the prerequisites of a field.
fn context(prereq: Prereq) -> Option<&'static str> {
    Some(match prereq {
        Prereq::Nothing | Prereq::Ethernet => "",
        Prereq::Arp => "arp",
        Prereq::VlanVid => "dl_vlan=3",
        Prereq::Ipv4 | Prereq::IpAny => "ip",
        Prereq::Ipv6 => "ipv6",
        Prereq::Nsh => "dl_type=0x894f,nsh_mdtype=1",
        Prereq::Mpls => "mpls",
        Prereq::Tcp => "tcp",
        Prereq::Udp => "udp6",
        Prereq::Sctp => "sctp",
        Prereq::Icmpv4 => "icmp",
        Prereq::Icmpv6 => "icmp6",
        Prereq::Nd | Prereq::NdSolicit => "icmp6,icmp_type=135,icmp_code=0",
        Prereq::NdAdvert => "icmp6,icmp_type=136,icmp_code=0",
        // What is shown of a connection depends on other fields.
        Prereq::Ct => return None,
    })
}

proptest! {
    /// Each field's value and mask survive being written in a match and read again.
    #[test]
    fn every_field_round_trips(
        index in 0..Field::ALL.len(), value: u128, mask: u128, exact: bool,
    ) {
        use Field::*;
        let field = Field::ALL[index];
        let info = field.info();
        let Some(context) = context(info.prereq) else { return Ok(()) };
        // Not part of text, shown only with another field, or in a form that loses what cannot occur.
        if field.is_tun_metadata() || matches!(
            field,
            TunTtl | TunTos | TunGtpuFlags | TunGtpuMsgtype | TunErspanIdx | TunErspanDir
                | TunErspanHwid | TunErspanVer | TunGbpFlags | PacketType | EthType | NshMdtype
                | IpProto | IpFrag | ArpOp | NdOptionsType | Icmpv6Type | Icmpv6Code | DlVlanPcp | VlanPcp
        ) {
            return Ok(());
        }
        let bits = u128::MAX >> (128 - info.bits);
        let value = if matches!(info.format, Format::Port32) { value & 0xff } else { value & bits };
        let value = match field {
            IpDscp => value & 0xfc,
            CtState => value & 0xff,
            NshTtl => value & 63,
            VlanVid => value & 0xfff | 0x1000,
            _ => value,
        };
        let mask = if exact || info.maskable == Maskable::Whole {
            field.exact_mask()
        } else if field == VlanVid {
            mask & bits | 0x1000
        } else {
            mask & bits
        };
        let mut m = Match::parse(context, None).unwrap();
        m.set_masked(field, value, mask);
        m.set_default_packet_type();
        let text = m.to_string();
        let mut again = Match::parse(&text, None).unwrap();
        again.set_default_packet_type();
        prop_assert_eq!(again, m, "{}", text);
        prop_assert!(m.matches(&m.flow));
    }

    /// What a field's value is written as reads as the same value.
    #[test]
    fn values_round_trip(index in 0..Field::ALL.len(), value: u128, mask: u128) {
        let field = Field::ALL[index];
        let info = field.info();
        // "no" is the name of two matches on fragments.
        let special = [Field::CtState, Field::PacketType, Field::IpFrag];
        if field.is_tun_metadata() || special.contains(&field) {
            return Ok(());
        }
        let bits = u128::MAX >> (128 - info.bits);
        let mask = if info.maskable == Maskable::Whole || mask & bits == bits {
            field.exact_mask()
        } else {
            mask & bits
        };
        let value = match info.format {
            Format::Port16 | Format::Port32 => value & 0x7fff,
            _ => value & bits & mask,
        };
        if mask == 0 {
            return Ok(());
        }
        let mut text = String::new();
        field.format(&mut text, value, mask, None).unwrap();
        prop_assert_eq!(field.parse(&text, None), Ok((value, mask)), "{}", text);
    }

    /// Any text is either read or refused.
    #[test]
    fn arbitrary_text(text in "[a-z0-9_=,/:+.\\-()\\[\\]x ]{0,40}", field in 0..Field::ALL.len()) {
        let _ = Match::parse(&text, None);
        let _ = Flow::parse(&text, None);
        let _ = Subfield::parse(&text);
        let _ = Field::ALL[field].parse(&text, None);
        let name = Field::ALL[field].name();
        let _ = Match::parse(&format!("{name}={text}"), None);
        let _ = Match::parse(&format!("{name}[{text}]=1"), None);
    }

    #[test]
    fn any_text_at_all(text: String) {
        let _ = Match::parse(&text, None);
        let _ = Subfield::parse(&text);
    }
}

#[test]
fn masks_of_shared_bytes() {
    let mut m = Match::parse("dl_vlan=5,dl_vlan_pcp=3", None).unwrap();
    m.clear(Field::DlVlan);
    assert_eq!(m.to_string(), "dl_vlan_pcp=3");
    m.clear(Field::VlanPcp);
    assert_eq!(m.wildcards.masks.vlans[0].tci, Be16::ZERO);
    let mut m = Match::parse("ip,nw_tos=32,nw_ecn=1", None).unwrap();
    m.clear(Field::IpDscpShifted);
    assert_eq!(m.to_string(), "ip,nw_ecn=1");
}
