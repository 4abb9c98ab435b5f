//! The table against itself, the wire's names against ovs-fields(7).

use super::*;
use crate::flow::{Flow, FlowWildcards, Match};
use proptest::prelude::*;

#[test]
fn names_and_numbers_are_unique() {
    for &field in Field::ALL {
        assert_eq!(Field::by_name(field.name()), Some(field));
        for wire in field.info().wire {
            assert_eq!(Field::by_header(wire.header), Some(field), "{}", wire.name);
            assert_eq!(Field::by_wire_name(wire.name), Some(field));
            assert!(wire.header.field < 128);
        }
        let since: Vec<u8> = field.info().wire.iter().map(|wire| wire.since).collect();
        assert!(since.is_sorted(), "{field}");
    }
    assert_eq!(Field::by_name("tp_src"), Some(Field::TcpSrc));
    assert_eq!(Field::by_name("nw_src"), Some(Field::Ipv4Src));
    assert_eq!(Field::by_name("nonsense"), None);
}

#[test]
fn numbers_by_version() {
    let name = |field: Field, version| field.wire(version).map(|wire| wire.name);
    assert_eq!(name(Field::EthSrc, 0), Some("NXM_OF_ETH_SRC"));
    assert_eq!(name(Field::EthSrc, 1), Some("NXM_OF_ETH_SRC"));
    assert_eq!(name(Field::EthSrc, 3), Some("OXM_OF_ETH_SRC"));
    assert_eq!(name(Field::TcpFlags, 3), Some("NXM_NX_TCP_FLAGS"));
    assert_eq!(name(Field::TcpFlags, 4), Some("ONFOXM_ET_TCP_FLAGS"));
    assert_eq!(name(Field::TcpFlags, 6), Some("OXM_OF_TCP_FLAGS"));
    assert_eq!(name(Field::Metadata, 0), Some("OXM_OF_METADATA"));
    assert_eq!(name(Field::TunTtl, 6), None);
    assert_eq!(name(Field::DpHash, 0), Some("NXM_NX_DP_HASH"));
}

#[test]
fn places() {
    let mut flow = Flow::ZERO;
    Field::Xxreg0.set(&mut flow, 1 << 96 | 2 << 64 | 3 << 32 | 4);
    assert_eq!(flow.regs[..4], [1, 2, 3, 4]);
    assert_eq!(Field::Xreg1.get(&flow), 3 << 32 | 4);
    Field::InPortOxm.set(&mut flow, 0xffff_fffe);
    assert_eq!((flow.in_port, Field::InPort.get(&flow)), (0xfffe, 0xfffe));
    Field::DlVlan.set(&mut flow, 5);
    assert_eq!((flow.vlans[0].tpid.get(), flow.vlans[0].tci.get()), (0x8100, 0x1005));
    Field::VlanPcp.set(&mut flow, 3);
    assert_eq!((flow.vlans[0].tci.get(), Field::VlanVid.get(&flow)), (0x7005, 0x1005));
    Field::MplsLabel.set(&mut flow, 0xfffff);
    assert_eq!(flow.mpls_lse[0].get(), 0xffff_f000);
    Field::Metadata.set(&mut flow, 0x0102_0304_0506_0708);
    assert_eq!(flow.metadata.get(), 0x0102_0304_0506_0708);
    Field::CtZone.set(&mut flow, 0x1234);
    assert_eq!(flow.ct_zone, 0x1234);
    Field::NshSpi.set(&mut flow, 0x123456);
    Field::NshSi.set(&mut flow, 0xfe);
    assert_eq!(flow.nsh.path_hdr.get(), 0x1234_56fe);
    Field::IpDscpShifted.set(&mut flow, 1);
    assert_eq!((flow.nw_tos, Field::IpDscp.get(&flow)), (4, 4));
}

#[test]
fn prerequisites() {
    let flow = Flow::parse("tcp,tp_dst=80", None).unwrap();
    let mut wildcards = FlowWildcards::CATCHALL;
    assert!(Field::TcpDst.is_present(&flow, &mut wildcards));
    assert_eq!(wildcards.masks.nw_proto, 0xff);
    assert!(!Field::UdpDst.is_present(&flow, &mut wildcards));
    assert!(!Field::NdSll.is_present(&flow, &mut wildcards));
    let later = Flow { nw_frag: 3, ..flow };
    assert!(!Field::TcpDst.is_present(&later, &mut wildcards));
    assert!(!Match::parse("ip", None).unwrap().has_prereqs(Field::TcpDst));
    assert!(Match::parse("tcp6", None).unwrap().has_prereqs(Field::TcpDst));
    assert!(Match::parse("ct_state=+trk-inv", None).unwrap().has_prereqs(Field::CtNwSrc));
    assert!(!Match::parse("ct_state=+trk", None).unwrap().has_prereqs(Field::CtNwSrc));
    assert!(Match::parse("packet_type=(1,0x800)", None).unwrap().has_prereqs(Field::Ipv4Src));
}

#[test]
fn subfields() {
    let (reg, rest) = Subfield::parse("NXM_NX_REG3[4..7],x").unwrap();
    assert_eq!((reg.field(), reg.offset(), reg.bits(), rest), (Field::Reg3, 4, 4, ",x"));
    assert_eq!(reg.to_string(), "NXM_NX_REG3[4..7]");
    let mut flow = Flow::ZERO;
    flow.regs[3] = 0xffff;
    reg.set(&mut flow, 0x5);
    assert_eq!((flow.regs[3], reg.get(&flow)), (0xff5f, 5));
    let mut wildcards = FlowWildcards::CATCHALL;
    reg.unwildcard(&mut wildcards);
    assert_eq!(wildcards.masks.regs[3], 0xf0);
    assert_eq!(Subfield::parse("eth_dst[40]").unwrap().0.to_string(), "NXM_OF_ETH_DST[40]");
    assert_eq!(Subfield::parse("metadata").unwrap().0.to_string(), "OXM_OF_METADATA[]");
    assert!(Subfield::new(Field::Reg0, 31, 2).is_none());
    assert!(Subfield::new(Field::TunMetadata0, 900, 92).is_some());
}

proptest! {
    #[test]
    fn set_then_get(index in 0..Field::ALL.len(), value: u128, words: [u64; 8]) {
        let field = Field::ALL[index];
        if field.is_tun_metadata() {
            return Ok(());
        }
        let mut flow = Flow::ZERO;
        for (i, word) in words.into_iter().enumerate() {
            flow.words_mut()[43 + i * 5] = word;
        }
        let value = match field.info().format {
            Format::Port32 => value & 0xfeff,
            _ => value & (u128::MAX >> (128 - field.info().bits)),
        };
        let value = match field {
            Field::IpDscp => value & 0xfc,
            Field::CtState | Field::ArpOp => value & 0xff,
            Field::VlanVid => value | 0x1000,
            _ => value,
        };
        field.set(&mut flow, value);
        prop_assert!(field.is_valid(value) || field == Field::NshTtl || field == Field::NshMdtype);
        // Bits beyond the field may stand in a flow of noise only where the field is whole.
        prop_assert_eq!(field.get(&flow), value);
    }

    /// A match on a field matches exactly the flows that have its value under its mask.
    #[test]
    fn masks_mean_what_they_say(index in 0..Field::ALL.len(), value: u128, mask: u128, other: u128) {
        let field = Field::ALL[index];
        if field.is_tun_metadata() || field.info().maskable == Maskable::Whole {
            return Ok(());
        }
        let bits = match field {
            Field::VlanVid => 0x1fff,
            Field::CtState => 0xff,
            _ => u128::MAX >> (128 - field.info().bits),
        };
        let (value, mask, other) = (value & bits, mask & bits, other & bits);
        let mut m = Match::CATCHALL;
        m.set_masked(field, value, mask);
        let mut flow = Flow::ZERO;
        field.set(&mut flow, other);
        prop_assert_eq!(m.matches(&flow), (other ^ value) & mask == 0);
        field.set(&mut flow, value);
        prop_assert!(m.matches(&flow));
        let (got, got_mask) = m.get(field);
        prop_assert_eq!(got, value & mask);
        prop_assert_eq!(got_mask & bits, mask);
        m.clear(field);
        prop_assert_eq!(m, Match::CATCHALL);
    }
}
