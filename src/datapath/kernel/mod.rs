//! The datapath of the Linux openvswitch module.
//!
//! What always holds: there is at least one handler; the features that the kernel was asked for are
//! sent with every change of the datapath (it forgets those that are left out); a device or datapath
//! that went away is told apart from one that never was.
//!
//! Any thread. Requests take a socket of their own from a small pool, so revalidators dump side by
//! side and nobody waits for another's answer. What the six errors of a healthy life mean to the
//! callers stands at [`DpErrorKind`].

mod attach;
mod cpus;
pub mod ct_limits;
mod ct_timeouts;
mod dump;
mod flows;
mod handlers;
mod ports;
mod probe;

use std::{
    borrow::Cow,
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ovs_netlink::{
    Error, Families, Socket,
    datapath::{self, DatapathId, DatapathNew, DatapathSet, UserFeatures},
    family::FamilyError,
    flow::FlowMsg,
    msg::MsgBuf,
};

use self::dump::KernelDump;
use super::{
    CtPolicyId, CtTimeouts, Datapath, Dispatch, DpError, DpErrorKind, DpStats, DumpDetail,
    FamilyIds, FlowDump, FlowOp, FlowResult, MaskStats, OdpPort, PortEvents, PortInfo, PortKind,
    Support, UpcallPort, error::Op,
};
use crate::coverage::counter;
use crate::limits;

counter!(static DPIF_PORT_ADD = "dpif_port_add");
counter!(static DPIF_PORT_DEL = "dpif_port_del");
counter!(static DPIF_FLOW_FLUSH = "dpif_flow_flush");
counter!(static DPIF_FLOW_GET = "dpif_flow_get");
counter!(static DPIF_DESTROY = "dpif_destroy");

/// A feature bit that no kernel has. One that accepts it accepts everything and means nothing by it.
const UNKNOWN_FEATURE: UserFeatures = UserFeatures::from_bits_retain(1 << 31);

/// What may differ from one run to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelOptions {
    /// How to dispatch upcalls; absent: per CPU where the kernel can.
    pub dispatch: Option<Dispatch>,
    /// Receive buffer of each upcall socket, in bytes.
    pub upcall_rcvbuf_bytes: usize,
}

impl Default for KernelOptions {
    fn default() -> Self {
        Self { dispatch: None, upcall_rcvbuf_bytes: limits::UPCALL_RCVBUF_BYTES }
    }
}

impl KernelOptions {
    /// The defaults, with the dispatch mode that the environment variable
    /// `ROVS_UPCALL_DISPATCH` names (`per-cpu` or `per-vport`).
    pub fn from_env() -> Self {
        let dispatch = match std::env::var("ROVS_UPCALL_DISPATCH").as_deref() {
            Ok("per-vport") => Some(Dispatch::PerVport),
            Ok("per-cpu") => Some(Dispatch::PerCpu),
            _ => None,
        };
        Self { dispatch, ..Self::default() }
    }
}

/// See the module's page.
#[derive(Debug)]
pub struct KernelDatapath {
    name: String,
    dp_ifindex: u32,
    families: Families,
    features: UserFeatures,
    support: Support,
    options: KernelOptions,
    channels: Channels,
    /// Those for terse dumps, which come in small pieces.
    terse_channels: Channels,
    /// Port ids of the handlers' sockets.
    handlers: Mutex<Vec<u32>>,
}

/// A socket for requests, with the buffer for them.
#[derive(Debug)]
struct Channel {
    socket: Socket,
    buf: MsgBuf,
}

impl Channel {
    fn open() -> Result<Self, Error> {
        let mut socket = Socket::open()?;
        socket.set_rcvbuf_force(limits::REQUEST_RCVBUF_BYTES)?;
        Ok(Self { socket, buf: MsgBuf::new() })
    }
}

/// Sockets for requests that nobody uses just now; clones are the same.
#[derive(Clone, Debug, Default)]
struct Channels {
    idle: Arc<Mutex<Vec<Channel>>>,
    /// The longest datagram that they receive, if they are not for any.
    datagram_bytes: Option<usize>,
}

impl Channels {
    fn of_datagrams(bytes: usize) -> Self {
        Self { datagram_bytes: Some(bytes), ..Self::default() }
    }

    fn with(self, channel: Channel) -> Self {
        self.give_back(channel);
        self
    }

    fn take(&self) -> Result<Channel, Error> {
        if let Some(channel) = self.idle().pop() {
            return Ok(channel);
        }
        let mut channel = Channel::open()?;
        if let Some(bytes) = self.datagram_bytes {
            channel.socket.limit_datagrams(bytes);
        }
        Ok(channel)
    }

    fn give_back(&self, mut channel: Channel) {
        channel.buf.clear();
        let mut idle = self.idle();
        if idle.len() < limits::IDLE_SOCKETS_MAX {
            idle.push(channel);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KernelDatapath {
    /// Opens the datapath `name`, adopting it with its ports and flows; with `create` it is created
    /// if it is not there.
    ///
    /// # Errors
    /// [`DpErrorKind::FamiliesGone`] without the module, [`DpErrorKind::NoSuchDatapath`],
    /// [`DpErrorKind::Permission`], and [`DpErrorKind::Exists`] when a device has the name.
    pub fn open(name: &str, create: bool) -> Result<Self, DpError> {
        Self::open_with(name, create, KernelOptions::from_env())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_with(name: &str, create: bool, options: KernelOptions) -> Result<Self, DpError> {
        let doing = || Cow::Owned(format!("open datapath {name}"));
        let failed = |e| translate(Op::Open, doing(), e);
        let mut channel = Channel::open().map_err(failed)?;
        let families =
            Families::resolve_on(&mut channel.socket).map_err(|e| family_error(doing(), e))?;
        let opened = Opening { name, create, families: &families, options }
            .negotiate(&mut channel.socket)
            .map_err(failed)?;
        tracing::info!(target: "dpif_netlink", "Datapath dispatch mode: {}", opened.dispatch);
        let support = probe::probe(
            &mut channel,
            &families,
            opened.dp.ifindex,
            opened.dispatch,
            opened.strict,
        );
        Ok(Self {
            name: opened.dp.name,
            dp_ifindex: opened.dp.ifindex,
            features: opened.dp.user_features,
            families,
            support,
            options,
            channels: Channels::default().with(channel),
            terse_channels: Channels::of_datagrams(limits::TERSE_DUMP_DATAGRAM_BYTES),
            handlers: Mutex::new(Vec::new()),
        })
    }

    /// Runs `f` with a socket, and says in this program's words what went wrong.
    fn request<T>(
        &self,
        op: Op,
        doing: impl Into<Cow<'static, str>>,
        f: impl FnOnce(&mut Channel) -> Result<T, Error>,
    ) -> Result<T, DpError> {
        let mut channel = match self.channels.take() {
            Ok(channel) => channel,
            Err(e) => return Err(translate(op, doing.into(), e)),
        };
        let result = f(&mut channel);
        let result = result.map_err(|e| {
            let error = translate(op, doing.into(), e);
            self.explain(&mut channel.socket, error)
        });
        self.channels.give_back(channel);
        result
    }

    /// Finds out which of two things `ENODEV` and `ENOENT` meant, by asking for the datapath.
    fn explain(&self, socket: &mut Socket, error: DpError) -> DpError {
        explain(socket, &self.families, self.dp_ifindex, &self.name, error)
    }

    fn set_pids(&self, pids: &[u32]) -> Result<(), DpError> {
        self.request(Op::Datapath, "set upcall sockets", |channel| {
            let request = DatapathSet {
                id: DatapathId::Ifindex(self.dp_ifindex),
                user_features: self.features,
                per_cpu_pids: Some(pids),
                masks_cache_size: None,
            };
            datapath::set(&mut channel.socket, &self.families, &request).map(drop)
        })
    }
}

impl Datapath for KernelDatapath {
    fn name(&self) -> &str {
        &self.name
    }

    fn dp_ifindex(&self) -> u32 {
        self.dp_ifindex
    }

    fn families(&self) -> FamilyIds {
        family_ids(&self.families)
    }

    fn support(&self) -> &Support {
        &self.support
    }

    fn handlers_wanted(&self, configured: Option<usize>) -> usize {
        match self.support.dispatch {
            Dispatch::PerCpu => cpus::Cpus::now().handlers(),
            Dispatch::PerVport => configured.unwrap_or_else(|| cpus::Cpus::now().ours).max(1),
        }
    }

    fn open_handlers(&self, n: usize) -> Result<Vec<Box<dyn UpcallPort>>, DpError> {
        self.open_kernel_handlers(n)
    }

    fn refresh_cpus(&self) -> Result<bool, DpError> {
        self.direct_upcalls()?;
        let open = self.handlers.lock().unwrap_or_else(PoisonError::into_inner).len();
        Ok(self.support.dispatch == Dispatch::PerCpu && open != self.handlers_wanted(None))
    }

    fn upcall_pid(&self, port: OdpPort) -> u32 {
        if self.support.dispatch == Dispatch::PerCpu {
            return u32::MAX;
        }
        let pids = self.upcall_pids();
        let chosen = (port.0 as usize).checked_rem(pids.len()).and_then(|n| pids.get(n));
        chosen.copied().unwrap_or(u32::MAX)
    }

    fn port_add(
        &self,
        name: &str,
        kind: PortKind,
        want: Option<OdpPort>,
    ) -> Result<OdpPort, DpError> {
        DPIF_PORT_ADD.add(1);
        self.add_vport(name, kind, want)
    }

    fn port_del(&self, port: OdpPort) -> Result<(), DpError> {
        DPIF_PORT_DEL.add(1);
        self.delete_vport(port)
    }

    fn ports(&self) -> Result<Vec<PortInfo>, DpError> {
        self.vports()
    }

    fn port(&self, name: &str) -> Result<Option<PortInfo>, DpError> {
        self.vport(name)
    }

    fn watch_ports(&self) -> Result<Box<dyn PortEvents>, DpError> {
        self.watch_vports()
    }

    fn stats(&self) -> Result<DpStats, DpError> {
        let dp = self.request(Op::Datapath, "read statistics", |channel| {
            let id = DatapathId::Ifindex(self.dp_ifindex);
            datapath::get(&mut channel.socket, &self.families, id)
        })?;
        let stats = dp.stats.unwrap_or_default();
        let masks = dp.megaflow_stats.map(|m| MaskStats {
            hit: m.mask_hit,
            masks: m.masks,
            cache_hit: m.cache_hit,
        });
        let ovs_netlink::datapath::DatapathStats { hit, missed, lost, flows } = stats;
        Ok(DpStats { hit, missed, lost, flows, masks })
    }

    fn flow_dump_start(&self, detail: DumpDetail) -> Result<Box<dyn FlowDump>, DpError> {
        Ok(Box::new(KernelDump::start(self, detail)?))
    }

    fn flow_get(
        &self,
        ufid: &[u8; 16],
        each: &mut dyn FnMut(&FlowMsg<'_>),
    ) -> Result<bool, DpError> {
        DPIF_FLOW_GET.add(1);
        self.find_flow(ufid, each)
    }

    fn flow_ops(&self, ops: &[FlowOp<'_>], done: &mut dyn FnMut(usize, FlowResult)) {
        self.change_flows(ops, done);
    }

    fn flow_flush(&self) -> Result<(), DpError> {
        DPIF_FLOW_FLUSH.add(1);
        self.flush_flows()
    }

    fn execute(&self, packet: &[u8], key: &[u8], actions: &[u8]) -> Result<(), DpError> {
        self.execute_packet(packet, key, actions)
    }

    fn masks_cache_size(&self) -> Result<Option<u32>, DpError> {
        self.cache_size()
    }

    fn set_masks_cache_size(&self, size: u32) -> Result<u32, DpError> {
        self.set_cache_size(size)
    }

    fn ct_policies(&self) -> Result<BTreeSet<CtPolicyId>, DpError> {
        ct_timeouts::list()
    }

    fn set_ct_policy(&self, id: CtPolicyId, timeouts: &CtTimeouts) -> Result<(), DpError> {
        ct_timeouts::set(id, timeouts)
    }

    fn delete_ct_policy(&self, id: CtPolicyId) -> Result<(), DpError> {
        ct_timeouts::delete(id)
    }

    fn destroy(&self) -> Result<(), DpError> {
        DPIF_DESTROY.add(1);
        self.request(Op::Datapath, "delete datapath", |channel| {
            let id = DatapathId::Ifindex(self.dp_ifindex);
            datapath::delete(&mut channel.socket, &self.families, id)
        })
    }
}

/// Opening a datapath: creation or adoption, and agreement on features.
struct Opening<'a> {
    name: &'a str,
    create: bool,
    families: &'a Families,
    options: KernelOptions,
}

struct Opened {
    dp: datapath::Datapath,
    dispatch: Dispatch,
    /// Unknown features are refused.
    strict: bool,
}

impl Opening<'_> {
    fn negotiate(&self, socket: &mut Socket) -> Result<Opened, Error> {
        let base = UserFeatures::UNALIGNED;
        let per_vport = base | UserFeatures::VPORT_PIDS;
        let exists = match datapath::get(socket, self.families, DatapathId::Name(self.name)) {
            Ok(_) => true,
            Err(e) if e.errno() == Some(libc::ENODEV) && self.create => false,
            Err(e) => return Err(e),
        };
        match self.apply(socket, exists, per_vport | UNKNOWN_FEATURE) {
            Ok(_) => {
                let dp = self.apply(socket, true, per_vport)?;
                return Ok(Opened { dp, dispatch: Dispatch::PerVport, strict: false });
            }
            Err(e) if is_refused_feature(&e) => (),
            Err(e) => return Err(e),
        }
        let per_cpu = match self.options.dispatch {
            Some(Dispatch::PerVport) => None,
            _ => {
                let features = base | UserFeatures::DISPATCH_UPCALL_PER_CPU;
                match self.apply(socket, exists, features) {
                    Ok(dp) if dp.user_features.contains(features) => Some(dp),
                    Ok(_) => None,
                    Err(e) if is_refused_feature(&e) => None,
                    Err(e) => return Err(e),
                }
            }
        };
        let (dp, dispatch) = match per_cpu {
            Some(dp) => (dp, Dispatch::PerCpu),
            None => (self.apply(socket, exists, per_vport)?, Dispatch::PerVport),
        };
        // Shares recirculation ids with tc; not every kernel is configured for it.
        let shared = dp.user_features | UserFeatures::TC_RECIRC_SHARING;
        let dp = self.apply(socket, true, shared).unwrap_or(dp);
        Ok(Opened { dp, dispatch, strict: true })
    }

    fn apply(
        &self,
        socket: &mut Socket,
        exists: bool,
        features: UserFeatures,
    ) -> Result<datapath::Datapath, Error> {
        if !exists {
            let request =
                DatapathNew { name: self.name, user_features: features, ..DatapathNew::default() };
            match datapath::create(socket, self.families, &request) {
                // Somebody was faster, or created it in an attempt before this one.
                Err(e) if e.errno() == Some(libc::EEXIST) => {
                    let id = DatapathId::Name(self.name);
                    if datapath::get(socket, self.families, id).is_err() {
                        return Err(e);
                    }
                }
                result => return result,
            }
        }
        let request = DatapathSet {
            id: DatapathId::Name(self.name),
            user_features: features,
            per_cpu_pids: None,
            masks_cache_size: None,
        };
        datapath::set(socket, self.families, &request)
    }
}

fn is_refused_feature(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EOPNOTSUPP | libc::EINVAL))
}

fn family_ids(families: &Families) -> FamilyIds {
    FamilyIds {
        datapath: families.datapath.id,
        vport: families.vport.id,
        flow: families.flow.id,
        packet: families.packet.id,
        meter: families.meter.as_ref().map(|f| f.id),
        ct_limit: families.ct_limit.as_ref().map(|f| f.id),
    }
}

/// Why the module's families could not be had.
fn family_error(doing: Cow<'static, str>, error: FamilyError) -> DpError {
    match error {
        FamilyError::Exchange { source, .. } => translate(Op::Open, doing, source),
        other => DpError::new(DpErrorKind::FamiliesGone, doing, libc::ENOENT)
            .with_message(Some(other.to_string())),
    }
}

/// Finds out which of two things `ENODEV` and `ENOENT` meant, by asking for the datapath.
fn explain(
    socket: &mut Socket,
    families: &Families,
    dp_ifindex: u32,
    name: &str,
    mut error: DpError,
) -> DpError {
    if matches!(error.errno, libc::ENODEV | libc::ENOENT) {
        let there = datapath::get(socket, families, DatapathId::Ifindex(dp_ifindex));
        match there.as_ref().map_err(Error::errno) {
            Ok(dp) if dp.name == name => (),
            Err(Some(libc::ENOENT)) => error.kind = DpErrorKind::FamiliesGone,
            Ok(_) | Err(Some(libc::ENODEV)) => error.kind = DpErrorKind::DatapathGone,
            Err(_) => (),
        }
    }
    error
}

/// An error of the socket in this program's words.
fn translate(op: Op, doing: Cow<'static, str>, error: Error) -> DpError {
    let errno = error.errno().unwrap_or(0);
    let kind = match &error {
        Error::Overrun => DpErrorKind::Overrun,
        Error::Interrupted { .. } => DpErrorKind::Interrupted,
        Error::Encode(_) => DpErrorKind::TooBig,
        Error::Kernel { .. } | Error::Io(_) => DpErrorKind::from_errno(op, errno),
        _ => DpErrorKind::Malformed,
    };
    let message = match error {
        Error::Kernel { message, .. } => message,
        Error::Io(_) | Error::Overrun => None,
        other => Some(other.to_string()),
    };
    DpError::new(kind, doing, errno).with_message(message)
}

fn socket_error(doing: &'static str, error: &io::Error) -> DpError {
    let errno = error.raw_os_error().unwrap_or(0);
    DpError::new(DpErrorKind::from_errno(Op::Datapath, errno), doing, errno)
}
