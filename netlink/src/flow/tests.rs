use proptest::prelude::*;

use super::*;
use crate::key::KeyAttr;

const FAMILY: u16 = 0x1c;
const UFID: UfidBytes = [7; 16];

fn key() -> Vec<u8> {
    let mut key = Vec::new();
    KeyAttr::InPort(2).write(&mut AttrWriter::new(&mut key));
    key
}

/// Command, flags and flow of the one message in `buf`.
fn only(buf: &MsgBuf) -> (u8, MsgFlags, FlowMsg<'_>) {
    assert_eq!(buf.count(), 1);
    let msg = buf.messages().next().unwrap().unwrap();
    let genl = msg.genl().unwrap();
    assert_eq!((msg.kind, msg.seq, genl.version), (FAMILY, 3, OVS_FLOW_VERSION));
    (genl.cmd, msg.flags, FlowMsg::parse(genl.body).unwrap())
}

#[test]
fn put_says_what_it_is_told() {
    let key = key();
    let put = FlowPut {
        dp_ifindex: 5,
        key: &key,
        mask: Some(&key),
        actions: &[],
        ufid: Some(UFID),
        if_exists: IfExists::Fail,
        probe: true,
        clear: false,
    };
    let mut buf = MsgBuf::new();
    put.append(&mut buf, FAMILY, MsgFlags::ACK, 3).unwrap();
    let (cmd, flags, flow) = only(&buf);
    assert_eq!(cmd, OVS_FLOW_CMD_NEW);
    assert_eq!(flags, MsgFlags::REQUEST | MsgFlags::ACK | MsgFlags::CREATE);
    assert_eq!((flow.dp_ifindex, flow.key, flow.mask), (5, Some(&key[..]), Some(&key[..])));
    assert_eq!((flow.actions, flow.ufid), (Some(&[][..]), Some(UFID)));
    assert!(flow.probe && !flow.clear);

    buf.clear();
    let put = FlowPut { if_exists: IfExists::Replace, clear: true, ..put };
    put.append(&mut buf, FAMILY, MsgFlags::ECHO, 3).unwrap();
    let (_, flags, flow) = only(&buf);
    assert_eq!(flags, MsgFlags::REQUEST | MsgFlags::ECHO);
    assert!(flow.clear);
}

#[test]
fn set_without_actions_leaves_them_out() {
    let key = key();
    let set = FlowSet {
        dp_ifindex: 5,
        key: &key,
        mask: None,
        actions: None,
        ufid: None,
        probe: false,
        clear: true,
    };
    let mut buf = MsgBuf::new();
    set.append(&mut buf, FAMILY, MsgFlags::ACK, 3).unwrap();
    let (cmd, _, flow) = only(&buf);
    assert_eq!((cmd, flow.actions, flow.mask, flow.clear), (OVS_FLOW_CMD_SET, None, None, true));
}

#[test]
fn only_flush_has_no_id() {
    let mut buf = MsgBuf::new();
    for id in [FlowId::Ufid(UFID), FlowId::Key(&key()), FlowId::Key(&[])] {
        for terse in [false, true] {
            buf.clear();
            let del = FlowDel { dp_ifindex: 1, id, terse, probe: terse };
            del.append(&mut buf, FAMILY, MsgFlags::ECHO, 3).unwrap();
            let (cmd, _, flow) = only(&buf);
            assert_eq!(cmd, OVS_FLOW_CMD_DEL);
            assert!(flow.key.is_some() || flow.ufid.is_some());
            assert_eq!((flow.ufid_flags, flow.probe), (terse.then_some(UfidFlags::TERSE), terse));
        }
    }
    buf.clear();
    FlowFlush { dp_ifindex: 1 }.append(&mut buf, FAMILY, MsgFlags::ACK, 3).unwrap();
    let (cmd, flags, flow) = only(&buf);
    assert_eq!((cmd, flags), (OVS_FLOW_CMD_DEL, MsgFlags::REQUEST | MsgFlags::ACK));
    assert_eq!(flow, FlowMsg { dp_ifindex: 1, ..FlowMsg::default() });
}

#[test]
fn dump_and_get_are_get() {
    let mut buf = MsgBuf::new();
    FlowDump { dp_ifindex: 1, omit: UfidFlags::TERSE }.append(&mut buf, FAMILY, 3).unwrap();
    let (cmd, flags, flow) = only(&buf);
    assert_eq!((cmd, flags), (OVS_FLOW_CMD_GET, MsgFlags::REQUEST | MsgFlags::DUMP));
    assert_eq!(flow.ufid_flags, Some(UfidFlags::TERSE));
    buf.clear();
    let get = FlowGet { dp_ifindex: 1, id: FlowId::Ufid(UFID), omit: UfidFlags::empty() };
    get.append(&mut buf, FAMILY, MsgFlags::empty(), 3).unwrap();
    let (cmd, flags, flow) = only(&buf);
    assert_eq!((cmd, flags, flow.ufid), (OVS_FLOW_CMD_GET, MsgFlags::REQUEST, Some(UFID)));
    assert_eq!(flow.ufid_flags, None);
}

#[test]
fn too_long_leaves_no_trace() {
    let mut buf = MsgBuf::new();
    let put = FlowPut {
        dp_ifindex: 5,
        key: &[],
        mask: None,
        actions: &[0; 70_000],
        ufid: None,
        if_exists: IfExists::Fail,
        probe: false,
        clear: false,
    };
    assert!(put.append(&mut buf, FAMILY, MsgFlags::ACK, 3).is_err());
    assert!(buf.is_empty());
}

#[test]
fn a_ufid_has_16_bytes() {
    let mut body = 1u32.to_ne_bytes().to_vec();
    AttrWriter::new(&mut body).bytes(OVS_FLOW_ATTR_UFID, &[0; 8]);
    let error = AttrError::Size { kind: OVS_FLOW_ATTR_UFID, expected: 16, got: 8 };
    assert_eq!(FlowMsg::parse(&body), Err(MsgError::Attr(error)));
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..30))
}

proptest! {
    #[test]
    fn what_is_written_is_parsed_back(
        dp_ifindex: u32, key in bytes(), mask in bytes(), actions in bytes(),
        stats: Option<(u64, u64)>, tcp_flags: Option<u8>, used_ms: Option<u64>,
        ufid: Option<UfidBytes>, ufid_flags: Option<u32>, clear: bool, probe: bool,
    ) {
        let flow = FlowMsg {
            dp_ifindex,
            key: key.as_deref(),
            mask: mask.as_deref(),
            actions: actions.as_deref(),
            stats: stats.map(|(packets, bytes)| FlowStats { packets, bytes }),
            tcp_flags,
            used_ms,
            ufid,
            ufid_flags: ufid_flags.map(UfidFlags::from_bits_retain),
            clear,
            probe,
            attrs: &[],
        };
        let mut body = dp_ifindex.to_ne_bytes().to_vec();
        flow.write(&mut AttrWriter::new(&mut body));
        let back = FlowMsg::parse(&body).unwrap();
        prop_assert_eq!(back.attrs, &body[4..]);
        prop_assert_eq!(FlowMsg { attrs: &[], ..back }, flow);
    }

    #[test]
    fn parsing_any_bytes_ends(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(flow) = FlowMsg::parse(&body) {
            prop_assert!(flow.attrs().all(|a| a.is_ok()));
        }
    }
}

proptest! {
    #[test]
    fn counts_are_what_the_whole_flow_says(body in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(flow) = FlowMsg::parse(&body) {
            prop_assert_eq!(FlowCounts::parse(&body), Ok(counts_of(&flow)));
        }
    }

    #[test]
    fn counts_are_read_from_what_is_written(
        ufid in any::<Option<[u8; 16]>>(),
        stats in any::<Option<(u64, u64)>>(),
        tcp_flags in any::<Option<u8>>(),
        used_ms in any::<Option<u64>>(),
        is_full in any::<bool>(),
    ) {
        let key = key();
        let stats = stats.map(|(packets, bytes)| FlowStats { packets, bytes });
        let key = is_full.then_some(&key[..]);
        let flow = FlowMsg { ufid, stats, tcp_flags, used_ms, key, ..FlowMsg::default() };
        let mut body = vec![0; 4];
        flow.write(&mut AttrWriter::new(&mut body));
        prop_assert_eq!(FlowCounts::parse(&body), Ok(counts_of(&flow)));
    }
}

fn counts_of(flow: &FlowMsg<'_>) -> FlowCounts {
    FlowCounts {
        ufid: flow.ufid,
        stats: flow.stats.unwrap_or_default(),
        tcp_flags: flow.tcp_flags.unwrap_or(0),
        used_ms: flow.used_ms.unwrap_or(0),
    }
}
