use proptest::prelude::*;

use super::*;
use crate::attr::Attrs;

const BASE: NshAttr<'_> =
    NshAttr::Base { flags: 0x40, ttl: 63, mdtype: 1, np: 3, path_hdr: 0x0012_34ff };

#[test]
fn attributes_read_back() {
    let all = [
        BASE,
        NshAttr::Md1([1, 2, 3, 0xffff_fffe]),
        NshAttr::Md2(&[1, 2, 3, 4, 5]),
        NshAttr::Unknown { kind: 9, value: &[7] },
    ];
    let mut bytes = Vec::new();
    let mut w = AttrWriter::new(&mut bytes);
    all.iter().for_each(|attr| attr.write(&mut w));
    let values: Vec<_> = Attrs::new(&bytes).map(|a| a.unwrap().value).collect();
    assert_eq!(values[0], [0x40, 63, 1, 3, 0x00, 0x12, 0x34, 0xff]);
    assert_eq!(values[1], [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xff, 0xff, 0xff, 0xfe]);
    assert_eq!(NshAttrs::new(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), all);
}

#[test]
fn value_and_mask_are_side_by_side() {
    let mask = NshAttr::Base { flags: 0, ttl: 0xff, mdtype: 0, np: 0, path_hdr: 0xff };
    let masked = MaskedNshAttr::new(BASE, mask).unwrap();
    let mut bytes = Vec::new();
    masked.write(&mut AttrWriter::new(&mut bytes));
    let value = Attrs::new(&bytes).next().unwrap().unwrap().value;
    assert_eq!(value[..8], [0x40, 63, 1, 3, 0x00, 0x12, 0x34, 0xff]);
    assert_eq!(value[8..], [0, 0xff, 0, 0, 0, 0, 0, 0xff]);
    let back = MaskedNshAttrs::new(&bytes).next().unwrap().unwrap();
    assert_eq!((back.key(), back.mask()), (BASE, mask));
    assert!(MaskedNshAttr::new(BASE, NshAttr::Md1([0; 4])).is_err());
    assert!(MaskedNshAttr::parse(Attr { kind: OVS_NSH_KEY_ATTR_BASE, value: &[0; 15] }).is_err());
}

proptest! {
    #[test]
    fn what_is_parsed_is_written_back(kind in 0u16..6, half: bool, fill: [u8; 32], len in 0..32usize) {
        let len = match kind {
            OVS_NSH_KEY_ATTR_BASE if half => 8,
            OVS_NSH_KEY_ATTR_MD1 if half => 16,
            _ => len,
        };
        let attr = Attr { kind, value: &fill[..len] };
        let mut bytes = Vec::new();
        if let Ok(parsed) = NshAttr::parse(attr) {
            parsed.write(&mut AttrWriter::new(&mut bytes));
            prop_assert_eq!(Attrs::new(&bytes).next(), Some(Ok(attr)));
        }
        let attr = Attr { kind, value: &fill[..(len * 2).min(32)] };
        if let Ok(parsed) = MaskedNshAttr::parse(attr) {
            bytes.clear();
            parsed.write(&mut AttrWriter::new(&mut bytes));
            prop_assert_eq!(Attrs::new(&bytes).next(), Some(Ok(attr)));
        }
    }

    #[test]
    fn walking_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(NshAttrs::new(&bytes).count() <= bytes.len() / 4 + 1);
        prop_assert!(MaskedNshAttrs::new(&bytes).count() <= bytes.len() / 4 + 1);
    }
}
