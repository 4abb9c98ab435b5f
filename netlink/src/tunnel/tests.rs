use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;
use crate::attr::Attrs;
use crate::key::view;

fn encode(attrs: &[TunnelAttr<'_>]) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    for attr in attrs {
        attr.write(&mut w);
    }
    w.finish().unwrap();
    buf
}

#[test]
fn every_attribute_reads_back() {
    let options = [0x01, 0x02, 0x80, 0x01, 0xde, 0xad, 0xbe, 0xef];
    let all = [
        TunnelAttr::Id(0x64),
        TunnelAttr::Ipv4Src([10, 0, 0, 1]),
        TunnelAttr::Ipv4Dst([10, 0, 0, 2]),
        TunnelAttr::Tos(4),
        TunnelAttr::Ttl(64),
        TunnelAttr::DontFragment,
        TunnelAttr::Csum,
        TunnelAttr::Oam,
        TunnelAttr::GeneveOpts(&options),
        TunnelAttr::TpSrc(0x1234),
        TunnelAttr::TpDst(4789),
        TunnelAttr::VxlanOpts(&[]),
        TunnelAttr::Ipv6Src([1; 16]),
        TunnelAttr::Ipv6Dst([2; 16]),
        TunnelAttr::Pad,
        TunnelAttr::ErspanOpts(&[0; 12]),
        TunnelAttr::Ipv4InfoBridge,
        TunnelAttr::Unknown { kind: 17, value: &[1, 2, 3] },
    ];
    let bytes = encode(&all);
    let back: Vec<_> = TunnelAttrs::new(&bytes).collect::<Result<_, _>>().unwrap();
    assert_eq!(back, all);
    let kinds: Vec<_> = Attrs::new(&bytes).map(|a| a.unwrap().kind).collect();
    assert_eq!(kinds, (0..=17).collect::<Vec<_>>());
    let values: Vec<_> = Attrs::new(&bytes).map(|a| a.unwrap().value).collect();
    assert_eq!(values[0], [0, 0, 0, 0, 0, 0, 0, 0x64]);
    assert_eq!((values[9], values[10]), (&[0x12, 0x34][..], &[0x12, 0xb5][..]));
}

#[test]
fn geneve_options_are_split() {
    let bytes = [0x01, 0x02, 0x80, 0xa1, 1, 2, 3, 4, 0xff, 0xff, 0x01, 0x00];
    let all: Vec<_> = GeneveOpts::new(&bytes).map(Result::unwrap).collect();
    assert_eq!(all[0], GeneveOpt { class: 0x0102, ty: 0x80, reserved: 5, data: &[1, 2, 3, 4] });
    assert_eq!(all[1], GeneveOpt { class: 0xffff, ty: 1, reserved: 0, data: &[] });
    let mut again = Vec::new();
    for option in &all {
        option.append(&mut again).unwrap();
    }
    assert_eq!(again, bytes);
    assert!(GeneveOpts::new(&bytes[..6]).next().unwrap().is_err());
    assert!(GeneveOpts::new(&bytes[..3]).next().unwrap().is_err());
    let long = GeneveOpt { class: 0, ty: 0, reserved: 0, data: &[0; 128] };
    assert_eq!(long.append(&mut again), None);
}

#[test]
fn gbp_reads_back() {
    let mut bytes = Vec::new();
    write_vxlan_gbp(&mut AttrWriter::new(&mut bytes), 0x0008_0200);
    let Some(Ok(TunnelAttr::VxlanOpts(value))) = TunnelAttrs::new(&bytes).next() else { panic!() };
    assert_eq!(vxlan_gbp(value), Ok(Some(0x0008_0200)));
    assert_eq!(vxlan_gbp(&[]), Ok(None));
    assert!(vxlan_gbp(&[9, 0]).is_err());
}

// Bytes from a C compiler over the bit fields of linux/erspan.h.
#[test]
fn erspan_fields_are_where_c_puts_them() {
    let v2 = erspan_metadata::v2(true, 0x2d);
    assert_eq!(v2.as_bytes()[4..], [0, 0, 0, 0, 0, 0, 0x02, 0xd8]);
    assert_eq!((v2.version.get(), v2.dir(), v2.hwid()), (2, true, 0x2d));
    let v1 = erspan_metadata::v1(0x1234);
    assert_eq!(v1.as_bytes()[4..], [0, 0, 0x12, 0x34, 0, 0, 0, 0]);
    assert_eq!((v1.version.get(), v1.index()), (1, 0x1234));
    let attr = Attr { kind: OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS, value: v2.as_bytes() };
    assert_eq!(view::<erspan_metadata>(attr), Ok(&v2));
}

proptest! {
    #[test]
    fn what_is_parsed_is_written_back(
        kind in 0u16..20,
        len in prop_oneof![Just(0usize), Just(1), Just(2), Just(4), Just(8), Just(16), 0..40usize],
        fill: [u8; 40],
    ) {
        let value = &fill[..len];
        if let Ok(parsed) = TunnelAttr::parse(Attr { kind, value }) {
            let bytes = encode(&[parsed]);
            prop_assert_eq!(Attrs::new(&bytes).next(), Some(Ok(Attr { kind, value })));
            prop_assert_eq!(TunnelAttrs::new(&bytes).next(), Some(Ok(parsed)));
        }
    }

    #[test]
    fn walking_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(TunnelAttrs::new(&bytes).count() <= bytes.len() / 4 + 1);
        prop_assert!(GeneveOpts::new(&bytes).count() <= bytes.len() / 4 + 1);
        let mut again = Vec::new();
        for option in GeneveOpts::new(&bytes).flatten() {
            option.append(&mut again).unwrap();
        }
        prop_assert_eq!(&again[..], &bytes[..again.len()]);
        let _ = vxlan_gbp(&bytes);
    }
}
