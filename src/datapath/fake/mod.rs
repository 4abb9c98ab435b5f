//! A kernel within the process: devices, datapaths, megaflows, upcalls. For tests of the whole
//! daemon without root, and what a dummy datapath grows from.
//!
//! What always holds: it answers as the stock module does, error numbers included; one list of
//! checks (`tests/datapath_checks`) runs against both. Upcalls are real generic netlink messages, and
//! flow puts and executes are taken as such.
//!
//! One lock for all of it; any thread. Tests inject packets at a device and collect what left by it.

mod ct_policies;
mod device;
mod dump;
mod execute;
mod handler;
mod key;
mod ops;
mod table;
mod watch;
mod wire;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use ovs_netlink::{attr::AttrWriter, uapi};
use zerocopy::FromZeros;

use self::{
    ct_policies::CtPolicies,
    device::Device,
    dump::DumpHook,
    execute::{Effect, Walk},
    handler::Queue,
    key::Key,
    ops::FlowHook,
    table::FlowTable,
    watch::Watcher,
};
pub use self::{
    device::{DeviceEvent, FakeDevice},
    ops::FakeDatapath,
    watch::Reader,
    wire::{DeviceOptions, LinkState},
};
use super::{
    DpError, DpErrorKind, DpStats, FamilyIds, OdpPort, PortEvent, PortInfo, PortKind, PortStats,
    UpcallStats, error::Op,
};
use crate::{clock, limits};

/// Packets that a device keeps until they are collected; further ones are dropped.
const SENT_MAX: usize = 1 << 16;
/// Times that a packet may be looked up before it is dropped.
const LOOKUPS_MAX: usize = 64;

/// A refusal of the kernel's: error number and extended-ACK text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    errno: i32,
    message: &'static str,
}

impl Refusal {
    const fn new(errno: i32, message: &'static str) -> Self {
        Self { errno, message }
    }

    const fn invalid(message: &'static str) -> Self {
        Self::new(libc::EINVAL, message)
    }

    fn error(self, op: Op, doing: String) -> DpError {
        let message = (!self.message.is_empty()).then(|| self.message.to_owned());
        DpError::new(DpErrorKind::from_errno(op, self.errno), doing, self.errno)
            .with_message(message)
    }
}

/// The kernel; clones are the same one.
#[derive(Clone, Debug)]
pub struct FakeKernel {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Devices and ports behave as the peer's dummies rather than as Linux has them.
    dummies: bool,
    /// Dummy devices made so far.
    next_dummy: u32,
    /// Absent while the module is not loaded.
    families: Option<FamilyIds>,
    next_family: u16,
    next_ifindex: u32,
    devices: BTreeMap<String, Device>,
    datapaths: BTreeMap<u32, Dp>,
    ct_policies: CtPolicies,
    /// CPUs of the machine, and the one that packets come in on.
    cpus: usize,
    cpu: usize,
    handler_bytes: usize,
    flow_capacity: Option<usize>,
    /// The clock when it stands; else it is the host's.
    now_ms: Option<u64>,
    device_watchers: Vec<Watcher<DeviceEvent>>,
    dump_hook: DumpHook,
    flow_hook: FlowHook,
}

#[derive(Debug)]
struct Dp {
    name: String,
    ports: BTreeMap<u32, Port>,
    table: FlowTable,
    handlers: Vec<Arc<Queue>>,
    stats: DpStats,
    mask_hits: u64,
    watchers: Vec<Watcher<PortEvent>>,
}

#[derive(Debug)]
struct Port {
    /// Name of its device.
    name: String,
    kind: PortKind,
    stats: PortStats,
    upcalls: UpcallStats,
}

/// Which way a packet passes a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    FromDevice,
    ToDevice,
}

impl Port {
    /// Counts as the device sees it: what goes to an internal device is received by it. A dummy has
    /// no other side and counts as the datapath sees it.
    fn count(&mut self, way: Way, len: usize, dummies: bool) {
        let turned = self.kind == PortKind::Internal && !dummies;
        let received = (way == Way::FromDevice) != turned;
        let (packets, bytes) = if received {
            (&mut self.stats.rx_packets, &mut self.stats.rx_bytes)
        } else {
            (&mut self.stats.tx_packets, &mut self.stats.tx_bytes)
        };
        *packets += 1;
        *bytes += len as u64;
    }
}

impl Default for FakeKernel {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeKernel {
    /// A machine with one CPU and the module loaded, without devices.
    pub fn new() -> Self {
        Self::with(false)
    }

    /// A machine whose devices are the peer's dummies: made when a port wants them and gone with it,
    /// up from the start, with addresses `aa:55:aa:55:00:00` and on; ports have the numbers that their
    /// names end in.
    pub fn of_dummies() -> Self {
        Self::with(true)
    }

    fn with(dummies: bool) -> Self {
        let mut state = State {
            dummies,
            next_dummy: 0,
            families: None,
            next_family: 0x1c,
            next_ifindex: 2,
            devices: BTreeMap::new(),
            datapaths: BTreeMap::new(),
            ct_policies: CtPolicies::default(),
            cpus: 1,
            cpu: 0,
            handler_bytes: limits::UPCALL_RCVBUF_BYTES,
            flow_capacity: None,
            now_ms: None,
            device_watchers: Vec::new(),
            dump_hook: DumpHook::default(),
            flow_hook: FlowHook::default(),
        };
        state.load();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Opens a datapath; with `create` it is created if it does not exist.
    ///
    /// # Errors
    /// [`DpErrorKind::NoSuchDatapath`], [`DpErrorKind::FamiliesGone`], and
    /// [`DpErrorKind::Exists`] when a device has the name.
    pub fn open(&self, name: &str, create: bool) -> Result<FakeDatapath, DpError> {
        let doing = || format!("open datapath {name}");
        let mut state = self.lock();
        let Some(families) = state.families else {
            return Err(DpError::new(DpErrorKind::FamiliesGone, doing(), libc::ENOENT));
        };
        let found = state.datapaths.iter().find(|(_, dp)| dp.name == name).map(|(&i, _)| i);
        let dp_ifindex = match found {
            Some(dp_ifindex) => dp_ifindex,
            None if create => {
                state.create(name).map_err(|refusal| refusal.error(Op::Open, doing()))?
            }
            None => return Err(Refusal::new(libc::ENODEV, "").error(Op::Open, doing())),
        };
        Ok(FakeDatapath::new(self.clone(), name, dp_ifindex, families))
    }

    /// Removes a datapath, as `ovs-dpctl del-dp` does. False when there is none.
    pub fn delete_datapath(&self, name: &str) -> bool {
        let mut state = self.lock();
        let found = state.datapaths.iter().find(|(_, dp)| dp.name == name).map(|(&i, _)| i);
        found.is_some_and(|dp| state.destroy(dp))
    }

    /// Removes the module with all datapaths.
    pub fn unload(&self) {
        let mut state = self.lock();
        let all: Vec<u32> = state.datapaths.keys().copied().collect();
        for dp in all {
            state.destroy(dp);
        }
        state.families = None;
    }

    /// Loads the module again; the families get other ids.
    pub fn load(&self) {
        self.lock().load();
    }

    /// The clock stands at `now_ms` from now on.
    pub fn set_now_ms(&self, now_ms: u64) {
        self.lock().now_ms = Some(now_ms);
    }

    /// CPUs of the machine, at least 1.
    pub fn set_cpus(&self, cpus: usize) {
        self.lock().cpus = cpus.max(1);
    }

    /// A port gets another number, as no real kernel does.
    ///
    /// # Errors
    /// In the peer's words, when there is no such port or the number is not free.
    pub fn renumber_port(
        &self,
        datapath: &str,
        port: &str,
        number: u32,
    ) -> Result<(), &'static str> {
        let mut state = self.lock();
        let found = state.datapaths.iter().find(|(_, dp)| dp.name == datapath).map(|(&i, _)| i);
        let dp_ifindex = found.ok_or("unknown datapath or not a dummy")?;
        let dp = state.datapaths.get_mut(&dp_ifindex).ok_or("unknown datapath or not a dummy")?;
        let old = dp.ports.iter().find(|(_, p)| p.name == port).map(|(&odp, _)| odp);
        let old = old.ok_or("unknown port")?;
        if !(1..key::DP_MAX_PORTS).contains(&number) {
            return Err("bad port number");
        }
        if dp.ports.contains_key(&number) {
            return Err("port number already in use");
        }
        let removed = state.port_info(dp_ifindex, old);
        if let Some(dp) = state.datapaths.get_mut(&dp_ifindex)
            && let Some(port) = dp.ports.remove(&old)
        {
            dp.ports.insert(number, port);
        }
        for event in removed
            .map(PortEvent::Removed)
            .into_iter()
            .chain(state.port_info(dp_ifindex, number).map(PortEvent::Changed))
        {
            state.tell(dp_ifindex, event);
        }
        Ok(())
    }

    /// The CPU that packets come in on from now on.
    pub fn set_cpu(&self, cpu: usize) {
        self.lock().cpu = cpu;
    }

    /// Bytes of upcalls that each handler's socket holds.
    pub fn set_handler_bytes(&self, bytes: usize) {
        self.lock().handler_bytes = bytes;
    }

    /// Does something whenever a piece of a dump has been fetched, before it is looked at; `hook` is
    /// given how many pieces of that dump came before.
    pub fn set_dump_hook(&self, hook: impl Fn(usize) + Send + Sync + 'static) {
        self.lock().dump_hook = DumpHook(Some(Arc::new(hook)));
    }

    /// Does something before and after each operation on a flow with a UFID, which it is given beside
    /// whether the operation begins.
    pub fn set_flow_hook(&self, hook: impl Fn(&[u8; 16], bool) + Send + Sync + 'static) {
        self.lock().flow_hook = FlowHook(Some(Arc::new(hook)));
    }

    /// Flows that a datapath takes before it answers `ENOSPC`.
    pub fn set_flow_capacity(&self, flows: Option<usize>) {
        let mut state = self.lock();
        state.flow_capacity = flows;
        for dp in state.datapaths.values_mut() {
            dp.table.capacity = flows;
        }
    }

    /// A packet comes in by this device (for an internal port: the host sends it). False when there
    /// is no such device, or it is no port.
    pub fn inject(&self, device: &str, packet: &[u8]) -> bool {
        let mut state = self.lock();
        let Some((dp_ifindex, odp)) = state.port_of(device) else { return false };
        // Dummies hear even while they are down, as the peer's do.
        let dummies = state.dummies;
        match state.devices.get_mut(device) {
            Some(device) if device.shown.up || dummies => device.heard(packet),
            _ => return false,
        }
        let arrival = state.arrival(dp_ifindex, odp, packet.to_vec());
        state.process(dp_ifindex, vec![arrival]);
        true
    }

    /// Waits until the handlers have answered all upcalls and wait for more, or until `timeout` has
    /// passed; returns whether they do.
    pub fn settle(&self, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        loop {
            let queues: Vec<Arc<Queue>> = {
                let state = self.lock();
                state.datapaths.values().flat_map(|dp| dp.handlers.iter().cloned()).collect()
            };
            // An answer of one may be an upcall of another.
            let counts: Vec<u64> = queues.iter().map(|queue| queue.taken()).collect();
            let left = end.saturating_duration_since(Instant::now());
            if !queues.iter().all(|queue| queue.wait_idle(left)) {
                return false;
            }
            if queues.iter().map(|queue| queue.taken()).eq(counts) {
                return true;
            }
        }
    }

    /// Takes the packets that left by this device since the last time.
    pub fn sent(&self, device: &str) -> Vec<Vec<u8>> {
        self.lock().devices.get_mut(device).map_or_else(Vec::new, |d| std::mem::take(&mut d.sent))
    }

    fn downgrade(&self) -> WeakKernel {
        WeakKernel(Arc::downgrade(&self.state))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kernel as a thread of one of its devices holds it, without keeping it alive.
#[derive(Clone, Debug)]
struct WeakKernel(Weak<Mutex<State>>);

impl WeakKernel {
    fn upgrade(&self) -> Option<FakeKernel> {
        self.0.upgrade().map(|state| FakeKernel { state })
    }
}

impl State {
    fn load(&mut self) {
        let first = self.next_family;
        self.next_family += 6;
        self.families = Some(FamilyIds {
            datapath: first,
            vport: first + 1,
            flow: first + 2,
            packet: first + 3,
            meter: Some(first + 4),
            ct_limit: Some(first + 5),
        });
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.unwrap_or_else(clock::now_ms)
    }

    /// Datapath and number of the port on a device.
    fn port_of(&self, device: &str) -> Option<(u32, u32)> {
        let dp_ifindex = self.devices.get(device)?.port_of?;
        let dp = self.datapaths.get(&dp_ifindex)?;
        let (&odp, _) = dp.ports.iter().find(|(_, port)| port.name == device)?;
        Some((dp_ifindex, odp))
    }

    /// Counts a packet that comes in by a port, which is then to be looked up.
    fn arrival(&mut self, dp_ifindex: u32, odp: u32, packet: Vec<u8>) -> Effect {
        let dummies = self.dummies;
        if let Some(port) = self.port_mut(dp_ifindex, odp) {
            port.count(Way::FromDevice, packet.len(), dummies);
        }
        Effect::Recirculate { key: Key { in_port: odp, ..Key::new_zeroed() }, packet }
    }

    fn create(&mut self, name: &str) -> Result<u32, Refusal> {
        let dp_ifindex = self.create_device(name, Some(PortKind::Internal))?;
        let mut table = FlowTable::default();
        table.capacity = self.flow_capacity;
        let dp = Dp {
            name: name.to_owned(),
            ports: BTreeMap::new(),
            table,
            handlers: Vec::new(),
            stats: DpStats::default(),
            mask_hits: 0,
            watchers: Vec::new(),
        };
        self.datapaths.insert(dp_ifindex, dp);
        self.attach(dp_ifindex, OdpPort::LOCAL.0, name, PortKind::Internal);
        Ok(dp_ifindex)
    }

    fn destroy(&mut self, dp_ifindex: u32) -> bool {
        let Some(dp) = self.datapaths.get_mut(&dp_ifindex) else { return false };
        // As sockets do, the handlers outlive the datapath; they fall silent.
        dp.handlers.clear();
        let ports: Vec<u32> = dp.ports.keys().rev().copied().collect();
        for port in ports {
            self.detach(dp_ifindex, port);
        }
        self.datapaths.remove(&dp_ifindex).is_some()
    }

    fn port_mut(&mut self, dp_ifindex: u32, port: u32) -> Option<&mut Port> {
        self.datapaths.get_mut(&dp_ifindex)?.ports.get_mut(&port)
    }

    fn port_info(&self, dp_ifindex: u32, odp: u32) -> Option<PortInfo> {
        let port = self.datapaths.get(&dp_ifindex)?.ports.get(&odp)?;
        Some(PortInfo {
            odp: OdpPort(odp),
            name: port.name.clone(),
            kind: port.kind,
            ifindex: self.devices.get(&port.name).map(|d| d.shown.ifindex),
            netns_id: None,
            stats: port.stats,
            upcall_stats: Some(port.upcalls),
        })
    }

    fn attach(&mut self, dp_ifindex: u32, odp: u32, name: &str, kind: PortKind) {
        let port = Port {
            name: name.to_owned(),
            kind,
            stats: PortStats::default(),
            upcalls: UpcallStats::default(),
        };
        if let Some(dp) = self.datapaths.get_mut(&dp_ifindex) {
            dp.ports.insert(odp, port);
        }
        if let Some(device) = self.devices.get_mut(name) {
            device.port_of = Some(dp_ifindex);
        }
        if let Some(info) = self.port_info(dp_ifindex, odp) {
            self.tell(dp_ifindex, PortEvent::Changed(info));
        }
    }

    /// Takes a port out; an internal port's device goes with it.
    fn detach(&mut self, dp_ifindex: u32, odp: u32) {
        let Some(info) = self.port_info(dp_ifindex, odp) else { return };
        if let Some(dp) = self.datapaths.get_mut(&dp_ifindex) {
            dp.ports.remove(&odp);
        }
        if info.kind == PortKind::Internal {
            self.remove_device(&info.name);
        } else if let Some(device) = self.devices.get_mut(&info.name) {
            device.port_of = None;
        }
        self.tell(dp_ifindex, PortEvent::Removed(info));
    }

    fn tell(&mut self, dp_ifindex: u32, event: PortEvent) {
        if let Some(dp) = self.datapaths.get_mut(&dp_ifindex) {
            dp.watchers.retain_mut(|w| w.tell(event.clone(), PortEvent::Overrun));
        }
    }

    /// Carries out `effects` and all that follows from them.
    fn process(&mut self, dp_ifindex: u32, effects: Vec<Effect>) {
        let mut queue: VecDeque<Effect> = effects.into();
        let mut lookups = 0;
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Output { port, packet } => {
                    if let Some(reply) = self.transmit(dp_ifindex, port, packet) {
                        queue.push_back(self.arrival(dp_ifindex, port, reply));
                    }
                }
                Effect::Upcall { key, packet, userdata, actions } => {
                    let extra =
                        Extra { userdata: userdata.as_deref(), actions: actions.as_deref() };
                    self.upcall(dp_ifindex, uapi::OVS_PACKET_CMD_ACTION, &key, &packet, extra);
                }
                Effect::Recirculate { key, packet } => {
                    lookups += 1;
                    if lookups <= LOOKUPS_MAX {
                        queue.extend(self.lookup(dp_ifindex, key, packet));
                    }
                }
            }
        }
    }

    fn lookup(&mut self, dp_ifindex: u32, mut key: Key, packet: Vec<u8>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let now_ms = self.now_ms();
        if key.extract(&packet).is_err() {
            return effects;
        }
        let Some(dp) = self.datapaths.get_mut(&dp_ifindex) else { return effects };
        let (flow, tried) = dp.table.lookup(&key);
        dp.mask_hits += tried;
        let Some(flow) = flow else {
            dp.stats.missed += 1;
            let extra = Extra { userdata: None, actions: None };
            self.upcall(dp_ifindex, uapi::OVS_PACKET_CMD_MISS, &key, &packet, extra);
            return effects;
        };
        dp.stats.hit += 1;
        flow.totals.packets += 1;
        flow.totals.bytes += packet.len() as u64;
        flow.totals.used_ms = Some(now_ms);
        flow.totals.tcp_flags |= key.tcp_flags.to_be_bytes()[1];
        let actions = flow.actions.clone();
        Walk { packet, key, cut: None, effects: &mut effects }.run(&actions);
        effects
    }

    /// Sends a packet out of a port; returns what its device answers at once.
    fn transmit(&mut self, dp_ifindex: u32, odp: u32, packet: Vec<u8>) -> Option<Vec<u8>> {
        let port = self.datapaths.get_mut(&dp_ifindex)?.ports.get_mut(&odp)?;
        match self.devices.get_mut(&port.name) {
            Some(device) if self.dummies && device.takes(&packet) => {
                port.count(Way::ToDevice, packet.len(), true);
                return device.send(&packet);
            }
            Some(device) if device.shown.up && !self.dummies && device.sent.len() < SENT_MAX => {
                port.count(Way::ToDevice, packet.len(), false);
                device.sent.push(packet);
            }
            _ => port.stats.tx_dropped += 1,
        }
        None
    }

    fn upcall(&mut self, dp_ifindex: u32, cmd: u8, key: &Key, packet: &[u8], extra: Extra<'_>) {
        let Some(families) = self.families else { return };
        let message = upcall_message(families.packet, dp_ifindex, cmd, key, packet, extra);
        let Some(dp) = self.datapaths.get_mut(&dp_ifindex) else { return };
        let handler = dp.handlers.get(self.cpu % dp.handlers.len().max(1));
        let taken = handler.is_some_and(|queue| queue.push(message, self.handler_bytes));
        dp.stats.lost += u64::from(!taken);
        if let Some(port) = dp.ports.get_mut(&key.in_port) {
            *(if taken { &mut port.upcalls.success } else { &mut port.upcalls.fail }) += 1;
        }
    }
}

/// What an upcall of a userspace action carries besides.
#[derive(Clone, Copy)]
struct Extra<'a> {
    userdata: Option<&'a [u8]>,
    actions: Option<&'a [u8]>,
}

/// Encodes an upcall as the kernel does: attributes in its order, the packet last and unpadded.
fn upcall_message(
    family: u16,
    dp_ifindex: u32,
    cmd: u8,
    key: &Key,
    packet: &[u8],
    extra: Extra<'_>,
) -> Vec<u8> {
    let mut m = vec![0; 16];
    m[4..6].copy_from_slice(&family.to_ne_bytes());
    m.extend_from_slice(&[cmd, uapi::OVS_PACKET_VERSION, 0, 0]);
    m.extend_from_slice(&dp_ifindex.to_ne_bytes());
    let mut attrs = Vec::new();
    let written = key.write(key, false, &mut attrs);
    debug_assert!(written.is_ok(), "keys are far below the limit of an attribute");
    let mut w = AttrWriter::new(&mut m);
    w.bytes(uapi::OVS_PACKET_ATTR_KEY, &attrs);
    if let Some(userdata) = extra.userdata {
        w.bytes(uapi::OVS_PACKET_ATTR_USERDATA, userdata);
    }
    if let Some(actions) = extra.actions {
        w.bytes(uapi::OVS_PACKET_ATTR_ACTIONS, actions);
    }
    w.u64(uapi::OVS_PACKET_ATTR_HASH, 0);
    let before = m.len();
    AttrWriter::new(&mut m).bytes(uapi::OVS_PACKET_ATTR_PACKET, packet);
    m.truncate(before + 4 + packet.len());
    let len = u32::try_from(m.len()).unwrap_or(0);
    m[..4].copy_from_slice(&len.to_ne_bytes());
    m
}
