//! The dummy datapath (`--enable-dummy`): a switch of this process, without a kernel, that carries
//! actions out on packets which `netdev-dummy/receive` brings.
//!
//! It is a [`FakeKernel`] of dummies, one for the process, seen as the peer's user-space datapath: ports
//! have the numbers that their names end in, `br…` from 100 on; a device lives as long as its port;
//! flows are shown with the packet type, and with as much of the mask as was asked for.
//!
//! Besides there are those that `dpctl/add-dp` makes ([`by_hand`]), each with devices of its own; no bridge
//! is on them.
//!
//! What always holds: what is shown says the same as what was installed. Any thread.

pub mod by_hand;

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use ovs_netlink::{
    attr::{AttrError, AttrWriter, Attrs},
    flow::FlowMsg,
    uapi,
};

use super::{
    CtPolicyId, CtTimeouts, Datapath, DpError, DpErrorKind, DpStats, DumpDetail, DumpPiece,
    FamilyIds, FlowDump, FlowOp, FlowResult, OdpPort, PortEvents, PortInfo, PortKind, Support,
    UpcallPort,
    fake::{FakeDatapath, FakeKernel},
};
use crate::{
    flow::{Flow, FlowWildcards},
    odp::{
        self,
        key::{OdpKey, key_from_flow},
        mask::{mask_from_wildcards, mask_to_wildcards},
    },
};

/// First number of a port whose name begins with `br`, so that numbers of tests stay readable.
const BRIDGES_FROM: u32 = 100;
const PORT_MAX: u32 = 0xfffe;
/// Name space of packet types without an Ethernet header, which are then Ethernet types.
const BY_ETHERTYPE: u32 = 1 << 16;

/// The dummies of this process.
pub fn kernel() -> &'static FakeKernel {
    static KERNEL: LazyLock<FakeKernel> = LazyLock::new(FakeKernel::of_dummies);
    &KERNEL
}

/// Opens or creates a dummy datapath of this process; `type_name` is the type that is shown.
///
/// # Errors
/// When a device has that name.
pub fn open(type_name: &str, name: &str) -> Result<DummyDatapath, DpError> {
    open_in(kernel(), type_name, name)
}

fn open_in(kernel: &FakeKernel, type_name: &str, name: &str) -> Result<DummyDatapath, DpError> {
    Ok(DummyDatapath {
        fake: kernel.open(name, true)?.unmasked(),
        type_name: type_name.to_owned(),
        is_by_hand: false,
        flows_by_hand: Mutex::default(),
    })
}

/// See the module's page.
#[derive(Debug)]
pub struct DummyDatapath {
    fake: FakeDatapath,
    type_name: String,
    /// Whether no bridge is on it: its ports have the numbers that they are given.
    is_by_hand: bool,
    /// Flows that were not put by a handler.
    flows_by_hand: Mutex<HashMap<[u8; 16], Said>>,
}

/// What a flow says of what is not told apart here: every packet has an Ethernet header.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// Its mask is exact in the packet type.
    packet_type: bool,
    /// Its key has Ethernet addresses.
    ethernet: bool,
}

impl Said {
    /// As handlers put flows.
    const ALL: Self = Self { packet_type: true, ethernet: true };
}

impl DummyDatapath {
    /// What it makes its ports of.
    pub const fn devices(&self) -> &FakeKernel {
        self.fake.kernel()
    }

    /// The number that a port of this name gets.
    fn choose(&self, name: &str) -> Result<Option<OdpPort>, DpError> {
        let ports = self.fake.ports()?;
        let is_free = |n: u32| ports.iter().all(|port| port.odp.0 != n);
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let first = if name.starts_with("br") { BRIDGES_FROM } else { 0 };
        let named = digits.get(..end).and_then(|digits| digits.parse::<u32>().ok());
        let named = named.and_then(|n| n.checked_add(first));
        let fits = |n: &u32| (1..=PORT_MAX).contains(n) && is_free(*n);
        Ok(named.filter(fits).or_else(|| (1..=PORT_MAX).find(fits)).map(OdpPort))
    }

    fn flows_by_hand(&self) -> MutexGuard<'_, HashMap<[u8; 16], Said>> {
        self.flows_by_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown<'a>(&'a self, each: &'a mut dyn FnMut(&FlowMsg<'_>)) -> impl FnMut(&FlowMsg<'_>) + 'a {
        move |flow| {
            let said = flow.ufid.and_then(|ufid| self.flows_by_hand().get(&ufid).copied());
            show(flow, said.unwrap_or(Said::ALL), each);
        }
    }
}

/// A dump of flows as they are shown.
struct ShownDump {
    by_hand: HashMap<[u8; 16], Said>,
    inner: Box<dyn FlowDump>,
    piece: DumpPiece,
}

impl FlowDump for ShownDump {
    fn next(&mut self, piece: &mut DumpPiece) -> Result<bool, DpError> {
        if !self.inner.next(&mut self.piece)? {
            return Ok(false);
        }
        let flows: Vec<FlowMsg<'_>> = self.piece.flows().collect::<Result<_, _>>()?;
        piece.fill(|each| {
            for flow in &flows {
                let said = flow.ufid.and_then(|ufid| self.by_hand.get(&ufid).copied());
                show(flow, said.unwrap_or(Said::ALL), each);
            }
        });
        Ok(true)
    }
}

impl Datapath for DummyDatapath {
    fn name(&self) -> &str {
        self.fake.name()
    }

    fn type_name(&self) -> &str {
        &self.type_name
    }

    fn flows_of(&self) -> Option<&'static str> {
        Some("main thread")
    }

    fn port_type(&self, port: &PortInfo) -> Cow<'static, str> {
        match (port.kind, self.fake.kernel().device_text(&port.name)) {
            (PortKind::Internal, _) => Cow::Borrowed("dummy-internal"),
            (_, Some(type_name)) => Cow::Owned(type_name),
            (_, None) => Cow::Borrowed("dummy"),
        }
    }

    fn dp_ifindex(&self) -> u32 {
        self.fake.dp_ifindex()
    }

    fn families(&self) -> FamilyIds {
        self.fake.families()
    }

    fn support(&self) -> &Support {
        self.fake.support()
    }

    fn handlers_wanted(&self, configured: Option<usize>) -> usize {
        self.fake.handlers_wanted(configured)
    }

    fn open_handlers(&self, n: usize) -> Result<Vec<Box<dyn UpcallPort>>, DpError> {
        self.fake.open_handlers(n)
    }

    fn refresh_cpus(&self) -> Result<bool, DpError> {
        self.fake.refresh_cpus()
    }

    fn upcall_pid(&self, port: OdpPort) -> u32 {
        self.fake.upcall_pid(port)
    }

    /// For bridges the number is chosen by the name, whatever is wanted.
    fn port_add(
        &self,
        name: &str,
        kind: PortKind,
        want: Option<OdpPort>,
    ) -> Result<OdpPort, DpError> {
        let want = match want.filter(|_| self.is_by_hand) {
            Some(want) => Some(want),
            None => self.choose(name)?,
        };
        self.fake.port_add(name, kind, want)
    }

    fn port_del(&self, port: OdpPort) -> Result<(), DpError> {
        let name = self.fake.ports()?.into_iter().find(|info| info.odp == port).map(|i| i.name);
        self.fake.port_del(port)?;
        // A dummy is there for its port only.
        if let Some(name) = name {
            self.fake.kernel().remove_device(&name);
        }
        Ok(())
    }

    fn ports(&self) -> Result<Vec<PortInfo>, DpError> {
        self.fake.ports()
    }

    fn port(&self, name: &str) -> Result<Option<PortInfo>, DpError> {
        self.fake.port(name)
    }

    fn watch_ports(&self) -> Result<Box<dyn PortEvents>, DpError> {
        self.fake.watch_ports()
    }

    /// The peer's has no masks to tell of.
    fn stats(&self) -> Result<DpStats, DpError> {
        Ok(DpStats { masks: None, ..self.fake.stats()? })
    }

    fn flow_dump_start(&self, detail: DumpDetail) -> Result<Box<dyn FlowDump>, DpError> {
        let by_hand = self.flows_by_hand().clone();
        let inner = self.fake.flow_dump_start(detail)?;
        Ok(Box::new(ShownDump { by_hand, inner, piece: DumpPiece::new() }))
    }

    fn flow_get(
        &self,
        ufid: &[u8; 16],
        each: &mut dyn FnMut(&FlowMsg<'_>),
    ) -> Result<bool, DpError> {
        self.fake.flow_get(ufid, &mut self.shown(each))
    }

    fn flow_ops(&self, ops: &[FlowOp<'_>], done: &mut dyn FnMut(usize, FlowResult)) {
        for (index, op) in ops.iter().enumerate() {
            done(index, self.flow_op(op));
        }
    }

    fn flow_flush(&self) -> Result<(), DpError> {
        self.flows_by_hand().clear();
        self.fake.flow_flush()
    }

    fn execute(&self, packet: &[u8], key: &[u8], actions: &[u8]) -> Result<(), DpError> {
        self.fake.execute(packet, key, actions)
    }

    fn ct_policies(&self) -> Result<BTreeSet<CtPolicyId>, DpError> {
        self.fake.ct_policies()
    }

    fn set_ct_policy(&self, id: CtPolicyId, timeouts: &CtTimeouts) -> Result<(), DpError> {
        self.fake.set_ct_policy(id, timeouts)
    }

    fn delete_ct_policy(&self, id: CtPolicyId) -> Result<(), DpError> {
        self.fake.delete_ct_policy(id)
    }

    fn destroy(&self) -> Result<(), DpError> {
        for port in self.ports()?.into_iter().filter(|port| port.odp != OdpPort::LOCAL) {
            self.port_del(port.odp)?;
        }
        by_hand::forget(self);
        self.fake.destroy()
    }
}

impl DummyDatapath {
    /// Handlers put flows by messages of their own: what is put here is somebody's own idea of a flow.
    fn flow_op(&self, op: &FlowOp<'_>) -> FlowResult {
        match *op {
            FlowOp::Put { ufid, key, mask, actions } => {
                let taken = Taken::new(key, mask, "create")?;
                let (key, mask) = (&taken.key, taken.mask.as_deref());
                let result = self.one_op(FlowOp::Put { ufid, key, mask, actions });
                if let (Some(&ufid), Ok(_)) = (ufid, &result) {
                    self.flows_by_hand().insert(ufid, taken.said);
                }
                result
            }
            FlowOp::Modify { ufid, key, mask, actions } => {
                let taken = Taken::new(key, mask, "modify")?;
                let (key, mask) = (&taken.key, taken.mask.as_deref());
                self.one_op(FlowOp::Modify { ufid, key, mask, actions })
            }
            FlowOp::Del { ufid, .. } => {
                if let Some(ufid) = ufid {
                    self.flows_by_hand().remove(ufid);
                }
                self.one_op(*op)
            }
        }
    }

    fn one_op(&self, op: FlowOp<'_>) -> FlowResult {
        let mut result = Ok(None);
        self.fake.flow_ops(&[op], &mut |_, done| result = done);
        result
    }
}

/// Key and mask of a flow as a datapath in user space takes them: it wants to know the port and knows
/// packet types, and does without Ethernet addresses, where Linux has it the other way round.
struct Taken {
    key: Vec<u8>,
    mask: Option<Vec<u8>>,
    said: Said,
}

impl Taken {
    fn new(key: &[u8], mask: Option<&[u8]>, doing: &str) -> Result<Self, DpError> {
        let refused = || DpError::new(DpErrorKind::Invalid, format!("{doing} flow"), libc::EINVAL);
        let find = |attrs, kind| Attrs::new(attrs).find_kind(kind).map_err(|_| refused());
        let said_in = mask.unwrap_or(key);
        if find(said_in, uapi::OVS_KEY_ATTR_IN_PORT)?.is_none() {
            tracing::error!(
                target: "dpif_netdev", "failed to put[{doing}] flow: in_port is not an exact match"
            );
            return Err(refused());
        }
        // There are no packets of other types.
        let packet_type = find(key, uapi::OVS_KEY_ATTR_PACKET_TYPE)?;
        if packet_type.is_some_and(|attr| attr.u32() != Ok(0)) {
            return Err(refused());
        }
        let said = Said {
            packet_type: find(said_in, uapi::OVS_KEY_ATTR_PACKET_TYPE)?.is_some(),
            ethernet: find(key, uapi::OVS_KEY_ATTR_ETHERNET)?.is_some(),
        };
        let without_type = |attrs| {
            let mut kept = Vec::new();
            let mut w = AttrWriter::new(&mut kept);
            for attr in Attrs::new(attrs) {
                let attr = attr?;
                if attr.kind != uapi::OVS_KEY_ATTR_PACKET_TYPE {
                    w.bytes(attr.kind, attr.value);
                }
            }
            w.finish().map(|()| kept)
        };
        let mut kept = without_type(key).map_err(|_: AttrError| refused())?;
        if !said.ethernet {
            AttrWriter::new(&mut kept).bytes(uapi::OVS_KEY_ATTR_ETHERNET, &[0; 12]);
        }
        let mask = mask.map(without_type).transpose().map_err(|_| refused())?;
        Ok(Self { key: kept, mask, said })
    }
}

/// Shows a flow as a datapath in user space does, which speaks of packet types.
fn show(flow: &FlowMsg<'_>, said: Said, each: &mut dyn FnMut(&FlowMsg<'_>)) {
    let (mut key, mut mask) = (Vec::new(), Vec::new());
    match (flow.key, flow.mask) {
        (Some(from_key), Some(from_mask)) => {
            if in_user_space(from_key, from_mask, said, &mut key, &mut mask).is_none() {
                return each(flow);
            }
            each(&FlowMsg { key: Some(&key), mask: Some(&mask), ..*flow });
        }
        _ => each(flow),
    }
}

/// Writes key and mask as a datapath in user space does; `None` when they say something that is
/// not told apart here.
fn in_user_space(
    from_key: &[u8],
    from_mask: &[u8],
    said: Said,
    key: &mut Vec<u8>,
    mask: &mut Vec<u8>,
) -> Option<()> {
    let support = odp::Support { packet_type: true, ..odp::Support::default() };
    let limit = support.max_vlan_headers;
    let (mut flow, mut wc) = (Flow::ZERO, FlowWildcards::default());
    OdpKey(from_key).to_flow(limit, &mut flow).ok()?;
    mask_to_wildcards(from_mask, &flow, limit, &mut wc).ok()?;
    wc.masks.packet_type = if said.packet_type { u32::MAX } else { 0 }.into();
    if !said.ethernet {
        flow.packet_type = (BY_ETHERTYPE | u32::from(flow.dl_type.get())).into();
    }
    let mut attrs = Vec::new();
    key_from_flow(&flow, &support, &mut attrs).ok()?;
    in_order(&attrs, key).ok()?;
    attrs.clear();
    mask_from_wildcards(&wc, &flow, &support, &mut attrs).ok()?;
    in_order(&attrs, mask).ok()
}

/// Metadata in the order in which the peer writes it; the kernel has another.
const METADATA: [u16; 13] = [
    uapi::OVS_KEY_ATTR_PRIORITY,
    uapi::OVS_KEY_ATTR_TUNNEL,
    uapi::OVS_KEY_ATTR_SKB_MARK,
    uapi::OVS_KEY_ATTR_CT_STATE,
    uapi::OVS_KEY_ATTR_CT_ZONE,
    uapi::OVS_KEY_ATTR_CT_MARK,
    uapi::OVS_KEY_ATTR_CT_LABELS,
    uapi::OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4,
    uapi::OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6,
    uapi::OVS_KEY_ATTR_RECIRC_ID,
    uapi::OVS_KEY_ATTR_DP_HASH,
    uapi::OVS_KEY_ATTR_IN_PORT,
    uapi::OVS_KEY_ATTR_PACKET_TYPE,
];

fn in_order(attrs: &[u8], out: &mut Vec<u8>) -> Result<(), AttrError> {
    let mut w = AttrWriter::new(out);
    for kind in METADATA {
        if let Some(attr) = Attrs::new(attrs).find_kind(kind)? {
            w.bytes(kind, attr.value);
        }
    }
    for attr in Attrs::new(attrs) {
        let attr = attr?;
        if !METADATA.contains(&attr.kind) {
            w.bytes(attr.kind, attr.value);
        }
    }
    w.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::odp::{
        format::{Style, format_key},
        parse::parse_flow,
    };

    fn datapath() -> DummyDatapath {
        open_in(&FakeKernel::of_dummies(), "dummy", "ovs-dummy").unwrap()
    }

    fn add(dp: &DummyDatapath, name: &str) -> u32 {
        dp.fake.kernel().configure_device(name, "dummy", &Default::default()).unwrap();
        dp.port_add(name, PortKind::Netdev, Some(OdpPort(77))).unwrap().0
    }

    #[test]
    fn numbers_come_from_names() {
        let dp = datapath();
        assert_eq!(dp.port_add("br0", PortKind::Internal, None), Ok(OdpPort(100)));
        assert_eq!(dp.port_add("br12", PortKind::Internal, None), Ok(OdpPort(112)));
        assert_eq!(add(&dp, "p8"), 8);
        assert_eq!(add(&dp, "x8y9"), 1);
        assert_eq!(add(&dp, "eth"), 2);
        assert_eq!(add(&dp, "p0"), 3);
        let types: Vec<_> = dp.ports().unwrap().iter().map(|p| dp.port_type(p)).collect();
        assert_eq!(types[..2], ["dummy-internal", "dummy"]);
        dp.port_del(OdpPort(8)).unwrap();
        assert!(dp.fake.kernel().devices().iter().all(|device| device.name != "p8"));
        assert_eq!(add(&dp, "q08"), 8);
    }

    #[test]
    fn addresses_are_counted_up() {
        let dp = datapath();
        add(&dp, "p1");
        add(&dp, "p2");
        let macs: Vec<_> =
            dp.fake.kernel().devices().iter().map(|d| (d.name.clone(), d.mac)).collect();
        let mac = |n| [0xaa, 0x55, 0xaa, 0x55, 0, n];
        let expected = [("ovs-dummy", mac(0)), ("p1", mac(1)), ("p2", mac(2))];
        assert_eq!(macs, expected.map(|(name, mac)| (name.to_owned(), mac)));
    }

    /// The lines are the peer's.
    #[test]
    fn flows_are_shown_as_a_datapath_in_user_space_shows_them() {
        let dp = datapath();
        add(&dp, "p1");
        let installed = parse_flow(
            "recirc_id(0),in_port(1),eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),\
             eth_type(0x0800),ipv4(src=10.0.0.1/0.0.0.0,dst=10.0.0.2/0.0.0.0,proto=6/0,tos=0/0,\
             ttl=64/0,frag=no),tcp(src=8/0,dst=9/0),tcp_flags(0/0), packets:0, bytes:0, used:never, actions:1",
            None,
        )
        .unwrap();
        let ufid = [9; 16];
        let put = FlowOp::Put {
            ufid: Some(&ufid),
            key: &installed.key,
            mask: Some(&installed.mask),
            actions: installed.actions.as_bytes(),
        };
        // As a handler does.
        dp.fake.flow_ops(&[put], &mut |_, result| assert!(result.is_ok(), "{result:?}"));
        let shown = |verbose| {
            let mut text = String::new();
            dp.flow_dump(DumpDetail::Full, &mut |flow| {
                let style = Style { names: None, verbose };
                format_key(flow.key.unwrap(), flow.mask, style, &mut text);
            })
            .unwrap();
            text
        };
        assert_eq!(
            shown(false),
            "recirc_id(0),in_port(1),packet_type(ns=0,id=0),\
             eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),eth_type(0x0800),ipv4(frag=no)"
        );
        assert_eq!(
            shown(true),
            "skb_priority(0/0),skb_mark(0/0),ct_state(0/0),ct_zone(0/0),ct_mark(0/0),ct_label(0/0),\
             recirc_id(0),dp_hash(0/0),in_port(1),packet_type(ns=0,id=0),\
             eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),eth_type(0x0800),\
             ipv4(src=10.0.0.1/0.0.0.0,dst=10.0.0.2/0.0.0.0,proto=6/0,tos=0/0,ttl=64/0,frag=no),\
             tcp(src=8/0,dst=9/0),tcp_flags(0/0)"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(
            key in proptest::collection::vec(any::<u8>(), 0..96),
            mask in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..96)),
        ) {
            if let Ok(taken) = Taken::new(&key, mask.as_deref(), "create") {
                for attrs in [Some(taken.key), taken.mask].into_iter().flatten() {
                    prop_assert!(Attrs::new(&attrs).all(|attr| attr.is_ok()));
                }
            }
        }

        /// Among attributes that are well formed.
        #[test]
        fn what_is_taken_has_ethernet_and_no_type(kinds in proptest::collection::vec(0..40u16, 0..8)) {
            let mut key = Vec::new();
            let mut w = AttrWriter::new(&mut key);
            kinds.iter().for_each(|&kind| w.u32(kind, 0));
            w.finish().unwrap();
            let has = |attrs: &[u8], kind| Attrs::new(attrs).find_kind(kind).unwrap().is_some();
            let in_port = has(&key, uapi::OVS_KEY_ATTR_IN_PORT);
            let result = Taken::new(&key, None, "modify");
            prop_assert_eq!(result.is_ok(), in_port);
            if let Ok(Taken { key: taken, said, .. }) = result {
                prop_assert!(has(&taken, uapi::OVS_KEY_ATTR_ETHERNET));
                prop_assert!(!has(&taken, uapi::OVS_KEY_ATTR_PACKET_TYPE));
                prop_assert_eq!(said.packet_type, has(&key, uapi::OVS_KEY_ATTR_PACKET_TYPE));
                prop_assert_eq!(said.ethernet, has(&key, uapi::OVS_KEY_ATTR_ETHERNET));
            }
        }
    }
}
