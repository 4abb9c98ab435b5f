//! The fake kernel's datapath as the rest of the program sees it, and the messages it takes.
//!
//! What always holds: a request that comes as a message and one that comes as a call take the same
//! way.
//!
//! Any thread; each call takes the fake kernel's lock once.

use std::{borrow::Cow, collections::BTreeSet, fmt, sync::Arc};

use ovs_netlink::{
    attr::Attrs,
    flow::{FlowMsg, UfidFlags},
    msg::{Message, Messages, MsgFlags, split_ovs_header},
    uapi,
};

use super::{
    Dp, FakeKernel, Refusal, State,
    dump::FakeDump,
    execute::{Walk, validate},
    handler::{FakeUpcallPort, Queue},
    key::{DP_MAX_PORTS, Match},
    table::{Change, Id},
    watch::Watcher,
};
use crate::datapath::{
    CtPolicyId, CtTimeouts, Datapath, Dispatch, DpError, DpErrorKind, DpStats, DumpDetail,
    FamilyIds, Feature, FlowDump, FlowOp, FlowResult, FlowTotals, MaskStats, OdpPort, PortEvents,
    PortInfo, PortKind, Support, UpcallPort, error::Op,
};

/// What is done before and after an operation on a flow.
#[derive(Clone, Default)]
pub(super) struct FlowHook(pub Option<Arc<OnFlow>>);

type OnFlow = dyn Fn(&[u8; 16], bool) + Send + Sync;

impl fmt::Debug for FlowHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a hook" } else { "no hook" })
    }
}

/// A datapath of a [`FakeKernel`].
#[derive(Clone, Debug)]
pub struct FakeDatapath {
    kernel: FakeKernel,
    name: String,
    pub(super) dp_ifindex: u32,
    families: FamilyIds,
    support: Support,
    /// Flows are shown with the keys that they were installed with.
    pub(super) unmasked: bool,
}

impl FakeDatapath {
    pub(super) fn new(
        kernel: FakeKernel,
        name: &str,
        dp_ifindex: u32,
        families: FamilyIds,
    ) -> Self {
        let name = name.to_owned();
        Self { kernel, name, dp_ifindex, families, support: support(), unmasked: false }
    }

    /// The same, showing flows with the keys that they were installed with.
    pub fn unmasked(self) -> Self {
        Self { unmasked: true, ..self }
    }

    /// The kernel that it belongs to.
    pub const fn kernel(&self) -> &FakeKernel {
        &self.kernel
    }

    /// Runs `f` on the datapath, or says why it cannot.
    fn with<T>(
        &self,
        op: Op,
        doing: impl Into<Cow<'static, str>>,
        f: impl FnOnce(&mut State, u32) -> Result<T, Refusal>,
    ) -> Result<T, DpError> {
        let mut state = self.kernel.lock();
        if state.families != Some(self.families) {
            return Err(DpError::new(DpErrorKind::FamiliesGone, doing, libc::ENOENT));
        }
        if !state.datapaths.contains_key(&self.dp_ifindex) {
            return Err(DpError::new(DpErrorKind::DatapathGone, doing, libc::ENODEV));
        }
        f(&mut state, self.dp_ifindex).map_err(|r| r.error(op, doing.into().into_owned()))
    }

    pub(super) fn with_dp<T>(
        &self,
        op: Op,
        doing: impl Into<Cow<'static, str>>,
        f: impl FnOnce(&mut Dp) -> Result<T, Refusal>,
    ) -> Result<T, DpError> {
        self.with(op, doing, |state, dp| match state.datapaths.get_mut(&dp) {
            Some(dp) => f(dp),
            None => Err(Refusal::new(libc::ENODEV, "")),
        })
    }
}

impl Datapath for FakeDatapath {
    fn name(&self) -> &str {
        &self.name
    }

    fn dp_ifindex(&self) -> u32 {
        self.dp_ifindex
    }

    fn families(&self) -> FamilyIds {
        self.families
    }

    fn support(&self) -> &Support {
        &self.support
    }

    fn handlers_wanted(&self, _configured: Option<usize>) -> usize {
        self.kernel.lock().cpus
    }

    fn open_handlers(&self, n: usize) -> Result<Vec<Box<dyn UpcallPort>>, DpError> {
        self.with_dp(Op::Datapath, "open handlers", |dp| {
            let fresh: Vec<Arc<Queue>> = (0..n.max(1)).map(|_| Arc::default()).collect();
            for old in std::mem::replace(&mut dp.handlers, fresh.clone()) {
                old.close();
            }
            let port = |queue| FakeUpcallPort {
                kernel: self.kernel.clone(),
                dp_ifindex: self.dp_ifindex,
                queue,
                refusals: Vec::new(),
            };
            Ok(fresh.into_iter().map(|q| Box::new(port(q)) as Box<dyn UpcallPort>).collect())
        })
    }

    fn refresh_cpus(&self) -> Result<bool, DpError> {
        let cpus = self.kernel.lock().cpus;
        self.with_dp(Op::Datapath, "refresh CPUs", |dp| Ok(dp.handlers.len() != cpus))
    }

    fn upcall_pid(&self, _port: OdpPort) -> u32 {
        u32::MAX
    }

    fn port_add(
        &self,
        name: &str,
        kind: PortKind,
        want: Option<OdpPort>,
    ) -> Result<OdpPort, DpError> {
        self.with(Op::PortAdd, format!("add port {name}"), |state, dp_ifindex| {
            let Some(dp) = state.datapaths.get(&dp_ifindex) else {
                return Err(Refusal::new(libc::ENODEV, ""));
            };
            let odp = match want {
                Some(OdpPort(n)) if n >= DP_MAX_PORTS => return Err(Refusal::new(libc::EFBIG, "")),
                Some(OdpPort(n)) if dp.ports.contains_key(&n) => {
                    return Err(Refusal::new(libc::EBUSY, ""));
                }
                Some(OdpPort(n)) => n,
                None => (1..DP_MAX_PORTS)
                    .find(|n| !dp.ports.contains_key(n))
                    .ok_or(Refusal::new(libc::EFBIG, ""))?,
            };
            match kind {
                PortKind::Internal => {
                    state.create_device(name, Some(kind))?;
                }
                PortKind::Netdev => match state.devices.get(name) {
                    None => return Err(Refusal::new(libc::ENODEV, "")),
                    Some(device) if device.shown.internal => return Err(Refusal::invalid("")),
                    Some(device) if device.port_of == Some(dp_ifindex) => {
                        return Err(Refusal::new(libc::EEXIST, ""));
                    }
                    Some(device) if device.port_of.is_some() => {
                        return Err(Refusal::new(libc::EBUSY, ""));
                    }
                    Some(_) => (),
                },
                _ => return Err(Refusal::new(libc::EAFNOSUPPORT, "")),
            }
            state.attach(dp_ifindex, odp, name, kind);
            Ok(OdpPort(odp))
        })
    }

    fn port_del(&self, port: OdpPort) -> Result<(), DpError> {
        self.with(Op::Port, format!("delete port {port}"), |state, dp_ifindex| {
            if port == OdpPort::LOCAL {
                return Err(Refusal::invalid(""));
            }
            if state.port_info(dp_ifindex, port.0).is_none() {
                return Err(Refusal::new(libc::ENODEV, ""));
            }
            state.detach(dp_ifindex, port.0);
            Ok(())
        })
    }

    fn ports(&self) -> Result<Vec<PortInfo>, DpError> {
        self.with(Op::Port, "list ports", |state, dp_ifindex| {
            let dp = state.datapaths.get(&dp_ifindex);
            let numbers = dp.into_iter().flat_map(|dp| dp.ports.keys());
            Ok(numbers.filter_map(|&n| state.port_info(dp_ifindex, n)).collect())
        })
    }

    fn port(&self, name: &str) -> Result<Option<PortInfo>, DpError> {
        Ok(self.ports()?.into_iter().find(|p| p.name == name))
    }

    fn watch_ports(&self) -> Result<Box<dyn PortEvents>, DpError> {
        self.with_dp(Op::Datapath, "watch ports", |dp| {
            let (watcher, reader) = Watcher::pair().map_err(|_| Refusal::new(libc::EMFILE, ""))?;
            dp.watchers.push(watcher);
            Ok(Box::new(reader) as Box<dyn PortEvents>)
        })
    }

    fn stats(&self) -> Result<DpStats, DpError> {
        self.with_dp(Op::Datapath, "read statistics", |dp| {
            Ok(DpStats {
                flows: dp.table.flows().len() as u64,
                masks: Some(MaskStats {
                    hit: dp.mask_hits,
                    masks: u32::try_from(dp.table.masks()).unwrap_or(u32::MAX),
                    cache_hit: 0,
                }),
                ..dp.stats
            })
        })
    }

    fn flow_dump_start(&self, detail: DumpDetail) -> Result<Box<dyn FlowDump>, DpError> {
        Ok(Box::new(FakeDump::start(self.clone(), detail)?))
    }

    fn flow_get(
        &self,
        ufid: &[u8; 16],
        each: &mut dyn FnMut(&FlowMsg<'_>),
    ) -> Result<bool, DpError> {
        self.with_dp(Op::Flow, "get flow", |dp| {
            let id = dp.table.find(Id::Ufid(*ufid))?;
            let flow = id.and_then(|id| dp.table.get(id));
            if let Some(flow) = flow {
                flow.show(self.dp_ifindex, UfidFlags::empty(), self.unmasked, each);
            }
            Ok(flow.is_some())
        })
    }

    fn flow_ops(&self, ops: &[FlowOp<'_>], done: &mut dyn FnMut(usize, FlowResult)) {
        let FlowHook(hook) = self.kernel.lock().flow_hook.clone();
        let tell = |op: &FlowOp<'_>, begins| {
            let (FlowOp::Put { ufid, .. } | FlowOp::Modify { ufid, .. } | FlowOp::Del { ufid, .. }) =
                op;
            if let (Some(hook), Some(ufid)) = (&hook, ufid) {
                hook(ufid, begins);
            }
        };
        ops.iter().for_each(|op| tell(op, true));
        for (index, op) in ops.iter().enumerate() {
            let result = match *op {
                FlowOp::Put { ufid, key, mask, actions } => {
                    self.with_dp(Op::Flow, "put flow", |dp| {
                        let new =
                            FlowRequest { ufid: ufid.copied(), key, mask, actions, clear: false };
                        new.put(dp, false).map(|()| None)
                    })
                }
                FlowOp::Modify { ufid, key, mask, actions } => {
                    self.with_dp(Op::Flow, "modify flow", |dp| {
                        let new =
                            FlowRequest { ufid: ufid.copied(), key, mask, actions, clear: false };
                        new.set(dp).map(Some)
                    })
                }
                FlowOp::Del { ufid, key } => self.with_dp(Op::Flow, "delete flow", |dp| {
                    delete(dp, ufid.map_or(Id::Key(key), |u| Id::Ufid(*u))).map(Some)
                }),
            };
            tell(op, false);
            done(index, result);
        }
    }

    fn flow_flush(&self) -> Result<(), DpError> {
        self.with_dp(Op::Flow, "flush flows", |dp| {
            dp.table.flush();
            Ok(())
        })
    }

    fn execute(&self, packet: &[u8], key: &[u8], actions: &[u8]) -> Result<(), DpError> {
        self.with(Op::Execute, "execute actions", |state, dp| {
            state.execute(dp, packet, key, actions)
        })
    }

    fn ct_policies(&self) -> Result<BTreeSet<CtPolicyId>, DpError> {
        self.kernel.lock().ct_policies.list()
    }

    fn set_ct_policy(&self, id: CtPolicyId, timeouts: &CtTimeouts) -> Result<(), DpError> {
        self.kernel.lock().ct_policies.set(id, timeouts)
    }

    fn delete_ct_policy(&self, id: CtPolicyId) -> Result<(), DpError> {
        self.kernel.lock().ct_policies.delete(id)
    }

    fn destroy(&self) -> Result<(), DpError> {
        self.with(Op::Datapath, "delete datapath", |state, dp| {
            state.destroy(dp);
            Ok(())
        })
    }
}

/// A flow to be installed or changed.
struct FlowRequest<'a> {
    ufid: Option<[u8; 16]>,
    key: &'a [u8],
    mask: Option<&'a [u8]>,
    actions: &'a [u8],
    clear: bool,
}

impl<'a> FlowRequest<'a> {
    fn change(&self) -> Result<Change<'a>, Refusal> {
        let matching = Match::parse(self.key, self.mask)?;
        validate(self.actions, &matching.key.masked(&matching.mask), 0)?;
        let &Self { ufid, actions, clear, .. } = self;
        Ok(Change { ufid, matching, actions: Some(actions), clear })
    }

    fn put(&self, dp: &mut Dp, replace: bool) -> Result<(), Refusal> {
        dp.table.install(self.change()?, replace)
    }

    fn set(&self, dp: &mut Dp) -> Result<FlowTotals, Refusal> {
        dp.table.set(self.change()?)
    }
}

fn delete(dp: &mut Dp, id: Id<'_>) -> Result<FlowTotals, Refusal> {
    let absent = Refusal::new(libc::ENOENT, "");
    let id = dp.table.find(id)?.ok_or(absent)?;
    Ok(dp.table.remove(id).ok_or(absent)?.totals)
}

impl FakeKernel {
    /// Takes messages as the kernel's end of a socket does; refusals are added to `refusals`.
    pub(super) fn requests(&self, dp: u32, messages: &[u8], refusals: &mut Vec<(u32, i32)>) {
        let mut state = self.lock();
        for message in Messages::new(messages).map_while(Result::ok) {
            if let Err(refusal) = state.request(dp, &message) {
                refusals.push((message.seq, refusal.errno));
            }
        }
    }
}

impl State {
    fn request(&mut self, own: u32, message: &Message<'_>) -> Result<(), Refusal> {
        let unknown = Refusal::new(libc::ENOENT, "no such family");
        let families = self.families.ok_or(unknown)?;
        let malformed = |_| Refusal::invalid("malformed message");
        let genl = message.genl().map_err(malformed)?;
        let (dp_ifindex, attrs) = split_ovs_header(genl.body).map_err(malformed)?;
        debug_assert_eq!(own, dp_ifindex, "a handler sends to its own datapath");
        let gone = Refusal::new(libc::ENODEV, "");
        if message.kind == families.packet && genl.cmd == uapi::OVS_PACKET_CMD_EXECUTE {
            if !self.datapaths.contains_key(&dp_ifindex) {
                return Err(gone);
            }
            return self.execute_message(dp_ifindex, attrs);
        }
        if message.kind != families.flow {
            return Err(unknown);
        }
        let flow = FlowMsg::parse(genl.body).map_err(malformed)?;
        let dp = self.datapaths.get_mut(&dp_ifindex).ok_or(gone)?;
        let request = || {
            let missing = Refusal::invalid("flow key or actions are missing");
            Ok(FlowRequest {
                ufid: flow.ufid,
                key: flow.key.ok_or(missing)?,
                mask: flow.mask,
                actions: flow.actions.ok_or(missing)?,
                clear: flow.clear,
            })
        };
        match genl.cmd {
            uapi::OVS_FLOW_CMD_NEW => {
                let replace = !message.flags.contains(MsgFlags::CREATE);
                request()?.put(dp, replace)
            }
            uapi::OVS_FLOW_CMD_SET => request()?.set(dp).map(drop),
            uapi::OVS_FLOW_CMD_DEL => match (flow.ufid, flow.key) {
                (Some(ufid), _) => delete(dp, Id::Ufid(ufid)).map(drop),
                (None, Some(key)) => delete(dp, Id::Key(key)).map(drop),
                (None, None) => {
                    dp.table.flush();
                    Ok(())
                }
            },
            _ => Err(Refusal::new(libc::EOPNOTSUPP, "")),
        }
    }

    fn execute_message(&mut self, dp_ifindex: u32, attrs: Attrs<'_>) -> Result<(), Refusal> {
        let (mut packet, mut key, mut actions) = (None, None, None);
        for attr in attrs {
            let attr = attr.map_err(|_| Refusal::invalid("malformed attribute"))?;
            match attr.kind {
                uapi::OVS_PACKET_ATTR_PACKET => packet = Some(attr.value),
                uapi::OVS_PACKET_ATTR_KEY => key = Some(attr.value),
                uapi::OVS_PACKET_ATTR_ACTIONS => actions = Some(attr.value),
                _ => (),
            }
        }
        match (packet, key, actions) {
            (Some(packet), Some(key), Some(actions)) => {
                self.execute(dp_ifindex, packet, key, actions)
            }
            _ => Err(Refusal::invalid("packet, key or actions are missing")),
        }
    }

    fn execute(
        &mut self,
        dp_ifindex: u32,
        packet: &[u8],
        key: &[u8],
        actions: &[u8],
    ) -> Result<(), Refusal> {
        let mut key = Match::parse_metadata(key)?;
        key.extract(packet)?;
        validate(actions, &key, 0)?;
        let mut effects = Vec::new();
        Walk { packet: packet.to_vec(), key, cut: None, effects: &mut effects }.run(actions);
        self.process(dp_ifindex, effects);
        Ok(())
    }
}

/// What it can do, in the words of the probes.
fn support() -> Support {
    let no = Feature { value: false, errno: libc::EINVAL };
    let yes = Feature::found(true);
    Support {
        dispatch: Dispatch::PerCpu,
        kernel: "fake".to_owned(),
        refuses_unknown_features: true,
        ufid: yes,
        recirc: yes,
        max_vlan_headers: Feature { value: 2, errno: libc::EINVAL },
        max_mpls_depth: Feature { value: 3, errno: libc::EINVAL },
        masked_set: yes,
        trunc: yes,
        clone: yes,
        sample_nesting: Feature { value: 3, errno: libc::EOVERFLOW },
        ct_state: yes,
        ct_zone: yes,
        ct_mark: yes,
        ct_label: yes,
        ct_state_nat: yes,
        ct_orig_tuple: no,
        ct_orig_tuple6: no,
        ct_eventmask: no,
        ct_clear: no,
        ct_zero_snat: no,
        ct_timeout: no,
        max_hash_alg: Feature { value: 0, errno: libc::EINVAL },
        check_pkt_len: yes,
        drop_action: yes,
        add_mpls: no,
        psample: no,
    }
}
