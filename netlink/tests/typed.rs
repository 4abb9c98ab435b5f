//! The typed messages of the rarer families against anything: no input panics, and what was
//! understood is the same after it was written and read again.

use proptest::collection::vec;
use proptest::prelude::*;

use ovs_netlink::attr::AttrWriter;
use ovs_netlink::ct_limit;
use ovs_netlink::datapath::Datapath;
use ovs_netlink::family::Family;
use ovs_netlink::meter::{Meter, MeterConfig, MeterFeatures};
use ovs_netlink::msg::{Genl, MsgBuf};
use ovs_netlink::packet::Upcall;
use ovs_netlink::vport::Vport;

type List = Vec<(u16, Vec<u8>)>;

/// Anything: an `ovs_header` and attributes of small types with values of any size, or mere bytes.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let attribute = (0u16..13, vec(any::<u8>(), 0..70));
    let list = vec(attribute, 0..12).prop_map(|list| body(&list));
    prop_oneof![list, vec(any::<u8>(), 0..80)]
}

fn body(list: &List) -> Vec<u8> {
    [&[7, 0, 0, 0][..], &attributes(list)].concat()
}

/// Bodies with the attributes `always`, any of those in `sizes` (type and size of the value) and of
/// `nested`, in any order, and one that nobody knows.
fn like(
    always: &'static [(u16, &'static [u8])],
    sizes: &'static [(u16, usize)],
    nested: Vec<(u16, BoxedStrategy<Vec<u8>>)>,
) -> BoxedStrategy<Vec<u8>> {
    let always = always.iter().map(|&(k, v)| Just((k, v.to_vec())).boxed());
    let known =
        sizes.iter().map(|&(k, size)| vec(any::<u8>(), size).prop_map(move |v| (k, v)).boxed());
    let nested = nested.into_iter().map(|(k, value)| value.prop_map(move |v| (k, v)).boxed());
    let unknown = (20u16..0x3fff, vec(any::<u8>(), 0..9)).boxed();
    let optional = known.chain(nested).chain([unknown]).map(|a| proptest::option::of(a).boxed());
    let all: Vec<_> = always.map(|a| a.prop_map(Some).boxed()).chain(optional).collect();
    all.prop_shuffle().prop_map(|list| body(&list.into_iter().flatten().collect())).boxed()
}

/// A nest of attributes, each of which may be missing.
fn nest(sizes: &'static [(u16, usize)]) -> BoxedStrategy<Vec<u8>> {
    let known = |&(k, size)| vec(any::<u8>(), size).prop_map(move |v| (k, v));
    let all: Vec<_> = sizes.iter().map(|s| proptest::option::of(known(s))).collect();
    all.prop_map(|list| attributes(&list.into_iter().flatten().collect())).boxed()
}

/// A list of up to three nests, as those of bands.
fn nests(sizes: &'static [(u16, usize)]) -> BoxedStrategy<Vec<u8>> {
    let all = |sizes: &'static [(u16, usize)]| -> Vec<_> {
        sizes.iter().map(|&(k, size)| vec(any::<u8>(), size).prop_map(move |v| (k, v))).collect()
    };
    let one = all(sizes).prop_map(|list| (0, attributes(&list)));
    vec(one, 0..4).prop_map(|list| attributes(&list)).boxed()
}

fn datapath() -> BoxedStrategy<Vec<u8>> {
    like(&[(1, b"br0\0")], &[(3, 32), (4, 32), (5, 4), (7, 4), (8, 12)], Vec::new())
}

fn vport() -> BoxedStrategy<Vec<u8>> {
    let always: &[(u16, &[u8])] = &[(1, &[1, 0, 0, 0]), (2, &[4, 0, 0, 0]), (3, b"v\0")];
    let options = nest(&[(1, 2), (2, 0), (9, 3)]);
    let upcalls = nest(&[(0, 8), (1, 8)]);
    like(always, &[(5, 8), (6, 64), (8, 4), (9, 4)], vec![(4, options), (10, upcalls)])
}

fn meter() -> BoxedStrategy<Vec<u8>> {
    like(&[(1, &[9, 0, 0, 0])], &[(3, 16), (5, 8)], vec![(4, nests(&[(4, 16)]))])
}

fn meter_config() -> BoxedStrategy<Vec<u8>> {
    like(&[(1, &[9, 0, 0, 0])], &[(2, 0), (6, 0)], vec![(4, nests(&[(1, 4), (2, 4), (3, 4)]))])
}

fn upcall() -> BoxedStrategy<Vec<u8>> {
    let always: &[(u16, &[u8])] = &[(1, &[0; 60]), (2, &[1; 40])];
    like(always, &[(3, 20), (4, 16), (5, 12), (9, 2), (10, 4), (11, 8)], Vec::new())
}

fn attributes(list: &List) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut w = AttrWriter::new(&mut buf);
    list.iter().for_each(|(kind, value)| w.bytes(*kind, value));
    buf
}

/// The body that `write` makes.
fn written(dp_ifindex: u32, write: impl FnOnce(&mut AttrWriter<'_>)) -> Vec<u8> {
    let mut buf = dp_ifindex.to_ne_bytes().to_vec();
    write(&mut AttrWriter::new(&mut buf));
    buf
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn datapaths(body in prop_oneof![datapath(), garbage()]) {
        if let Ok(dp) = Datapath::parse(&body) {
            prop_assert_eq!(Datapath::parse(&written(dp.ifindex, |w| dp.write(w))), Ok(dp));
        }
    }

    #[test]
    fn vports(body in prop_oneof![vport(), garbage()]) {
        if let Ok(port) = Vport::parse(&body) {
            prop_assert_eq!(Vport::parse(&written(port.dp_ifindex, |w| port.write(w))), Ok(port));
        }
    }

    #[test]
    fn meters(body in prop_oneof![meter(), meter_config(), garbage()]) {
        if let Ok(meter) = Meter::parse(&body) {
            prop_assert_eq!(Meter::parse(&written(0, |w| meter.write(w))), Ok(meter));
        }
        if let Ok(config) = MeterConfig::parse(&body) {
            prop_assert_eq!(MeterConfig::parse(&written(0, |w| config.write(w))), Ok(config));
        }
        let _ = MeterFeatures::parse(&body);
    }

    #[test]
    fn ct_limits(entries in vec((-1i32..70_000, any::<u32>(), any::<u32>()), 0..5), cut in 0usize..3, body in garbage()) {
        let entry = |(zone, limit, count): &(i32, u32, u32)| {
            [zone.to_ne_bytes(), limit.to_ne_bytes(), count.to_ne_bytes()].concat()
        };
        let mut list: Vec<u8> = entries.iter().flat_map(entry).collect();
        list.truncate(list.len().saturating_sub(cut));
        for body in [self::body(&vec![(1, list)]), body] {
            if let Ok(limits) = ct_limit::parse(&body) {
                let again = written(0, |w| ct_limit::write(&limits, w));
                prop_assert_eq!(ct_limit::parse(&again), Ok(limits));
            }
        }
    }

    #[test]
    fn upcalls(cmd in 0u8..5, body in prop_oneof![upcall(), garbage()]) {
        let _ = Family::parse(Genl { cmd, version: 1, body: &body });
        if let Ok(mut upcall) = Upcall::parse(Genl { cmd, version: 1, body: &body }) {
            prop_assert!((1..=2).contains(&cmd));
            let mut buf = MsgBuf::new();
            upcall.append(&mut buf, 0x20).unwrap();
            let genl = buf.messages().next().unwrap().unwrap().genl().unwrap();
            let mut again = Upcall::parse(genl).unwrap();
            (upcall.attrs, again.attrs) = (&[], &[]);
            prop_assert_eq!(again, upcall);
        }
    }

    #[test]
    fn unknown_attributes_of_an_upcall_are_reachable(kind in 12u16..0x3fff, value in vec(any::<u8>(), 0..30)) {
        let body = body(&vec![(1, vec![0; 14]), (2, Vec::new()), (kind, value.clone())]);
        let upcall = Upcall::parse(Genl { cmd: 1, version: 1, body: &body }).unwrap();
        let found = upcall.attrs().find_kind(kind).unwrap().unwrap();
        prop_assert_eq!(found.value, &value[..]);
    }
}
