//! Faults on purpose: a datapath and handler ports that fail as the kernel may.
//!
//! What always holds: with the same seed and the same calls the same faults happen, each port having
//! a sequence of its own; nothing depends on a clock; a fault looks exactly as the kernel's own.
//!
//! [`Chaos`] is shared; each wrapped port belongs to its thread.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ovs_netlink::{
    flow::FlowMsg,
    msg::{Messages, NLMSG_HDRLEN},
    ring::RecvRing,
};

use super::{
    CtPolicyId, CtTimeouts, Datapath, DpError, DpErrorKind, DpStats, DumpDetail, DumpPiece,
    FamilyIds, FlowDump, FlowOp, FlowResult, OdpPort, PortEvents, PortInfo, PortKind, RecvError,
    SendError, Support, UpcallPort, error::Op,
};

/// How often each fault happens, in a thousand calls (or messages, or operations).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Seed of all chance.
    pub seed: u64,
    /// A read loses what it would have brought (`ENOBUFS`).
    pub overrun: u16,
    /// A read is interrupted (`EINTR`) and brings nothing.
    pub interrupted: u16,
    /// A read brings only part of what is there, the rest comes with the next.
    pub short: u16,
    /// What a read would have brought comes only after this many further reads.
    pub late: u16,
    /// For how many reads.
    pub late_reads: u32,
    /// A send finds no room (`ENOBUFS`).
    pub no_buffers: u16,
    /// A flow operation finds the flow there already (`EEXIST`).
    pub exists: u16,
    /// A flow operation finds the table full (`ENOSPC`).
    pub no_space: u16,
    /// An operation or message finds device or datapath missing (`ENODEV`), this once.
    pub no_device: u16,
    /// Adding a port finds the device taken, removing a timeout policy finds it in use (`EBUSY`).
    pub busy: u16,
    /// A dump is broken off.
    pub dump_broken: u16,
    /// After so many calls of all kinds the datapath is gone for good.
    pub gone_after: Option<u64>,
}

/// Chance, and how much of it has happened. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Chaos {
    plan: Plan,
    calls: Arc<AtomicU64>,
    faults: Arc<AtomicU64>,
    calm: Arc<AtomicBool>,
    control: Arc<AtomicU64>,
}

impl Chaos {
    /// By this plan.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            calls: Arc::default(),
            faults: Arc::default(),
            calm: Arc::default(),
            control: Arc::new(AtomicU64::new(plan.seed)),
        }
    }

    /// Faults so far.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Lets nothing fail by chance from now on. A datapath that is gone stays so.
    pub fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Puts faults between handlers and their ports.
    pub fn wrap(
        &self,
        families: FamilyIds,
        handlers: Vec<Box<dyn UpcallPort>>,
    ) -> Vec<Box<dyn UpcallPort>> {
        let one = |(n, inner): (usize, Box<dyn UpcallPort>)| {
            Box::new(ChaosPort {
                chaos: self.clone(),
                families,
                inner,
                dice: Dice(mix(self.plan.seed ^ (n as u64 + 1))),
                held: VecDeque::new(),
                late: 0,
                refused: Vec::new(),
                passed: Vec::new(),
            }) as Box<dyn UpcallPort>
        };
        handlers.into_iter().enumerate().map(one).collect()
    }

    /// Counts a call; true when the datapath is gone.
    fn called(&self) -> bool {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        self.plan.gone_after.is_some_and(|limit| calls >= limit)
    }

    fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// Rolls for a control call.
    fn rolls(&self, odds: u16) -> bool {
        // Every call moves the shared sequence on by one.
        let state = self.control.fetch_add(GOLDEN, Ordering::Relaxed);
        let hit = odds > 0 && !self.is_calm() && mix(state) % 1000 < u64::from(odds);
        if hit {
            self.fault();
        }
        hit
    }
}

/// Step of the SplitMix64 generator (Steele, Lea, Flood 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Output function of SplitMix64.
const fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }
}

struct ChaosPort {
    chaos: Chaos,
    families: FamilyIds,
    inner: Box<dyn UpcallPort>,
    dice: Dice,
    /// Datagrams read and not handed out yet.
    held: VecDeque<Vec<u8>>,
    /// Reads until they are.
    late: u32,
    refused: Vec<(u32, i32)>,
    passed: Vec<u8>,
}

impl ChaosPort {
    fn rolls(&mut self, odds: u16) -> bool {
        // The dice are thrown whatever the odds, so that one fault's odds do not move another.
        let hit = self.dice.next() % 1000 < u64::from(odds) && !self.chaos.is_calm();
        if hit {
            self.chaos.fault();
        }
        hit
    }

    fn hand_out(&mut self, ring: &mut RecvRing) -> usize {
        ring.clear();
        while let Some(datagram) = self.held.front() {
            if !ring.push(datagram) {
                break;
            }
            self.held.pop_front();
        }
        ring.len()
    }

    /// Keeps what is in the ring from `from` on for later.
    fn hold(&mut self, ring: &mut RecvRing, from: usize) {
        let all: Vec<Vec<u8>> = ring.iter().filter_map(Result::ok).map(<[u8]>::to_vec).collect();
        let (now, later) = all.split_at(from.min(all.len()));
        self.held.extend(later.iter().cloned());
        ring.clear();
        for datagram in now {
            ring.push(datagram);
        }
    }

    /// What becomes of a message: its error number, if it is refused.
    fn refusal(&mut self, kind: u16, gone: bool) -> Option<i32> {
        let plan = self.chaos.plan;
        let is_flow = kind == self.families.flow;
        let (exists, no_space) = if is_flow { (plan.exists, plan.no_space) } else { (0, 0) };
        let rolled = [
            (self.rolls(exists), libc::EEXIST),
            (self.rolls(no_space), libc::ENOSPC),
            (self.rolls(plan.no_device), libc::ENODEV),
        ];
        if gone {
            return Some(libc::ENODEV);
        }
        rolled.into_iter().find_map(|(hit, errno)| hit.then_some(errno))
    }
}

impl UpcallPort for ChaosPort {
    fn recv(&mut self, ring: &mut RecvRing, timeout: Duration) -> Result<usize, RecvError> {
        let plan = self.chaos.plan;
        if self.chaos.called() {
            // A socket whose datapath is gone is silent.
            ring.clear();
            std::thread::sleep(timeout.min(Duration::from_millis(1)));
            return Ok(0);
        }
        if self.rolls(plan.interrupted) {
            ring.clear();
            return Ok(0);
        }
        if self.late > 0 {
            self.late -= 1;
            ring.clear();
            return Ok(0);
        }
        if !self.held.is_empty() {
            return Ok(self.hand_out(ring));
        }
        let n = self.inner.recv(ring, timeout)?;
        if n == 0 {
            return Ok(0);
        }
        if self.rolls(plan.overrun) {
            ring.clear();
            return Err(RecvError::Overrun);
        }
        if self.rolls(plan.late) {
            self.hold(ring, 0);
            self.late = plan.late_reads;
            return Ok(0);
        }
        if self.rolls(plan.short) && n > 1 {
            self.hold(ring, n.div_ceil(2));
        }
        Ok(ring.len())
    }

    fn send(&mut self, messages: &[u8]) -> Result<(), SendError> {
        let gone = self.chaos.called();
        if self.rolls(self.chaos.plan.no_buffers) {
            return Err(SendError::NoBuffers);
        }
        self.passed.clear();
        let mut rest = messages;
        for message in Messages::new(messages).map_while(Result::ok) {
            let len = (NLMSG_HDRLEN + message.payload.len()).next_multiple_of(4).min(rest.len());
            let (this, tail) = rest.split_at(len);
            match self.refusal(message.kind, gone) {
                Some(errno) => self.refused.push((message.seq, errno)),
                None => self.passed.extend_from_slice(this),
            }
            rest = tail;
        }
        if self.passed.is_empty() { Ok(()) } else { self.inner.send(&self.passed) }
    }

    fn errors(&mut self, each: &mut dyn FnMut(u32, i32)) {
        for (seq, errno) in self.refused.drain(..) {
            each(seq, errno);
        }
        self.inner.errors(each);
    }
}

/// A datapath with faults; its handlers' ports have them too.
pub struct ChaosDatapath {
    inner: Arc<dyn Datapath>,
    chaos: Chaos,
}

impl ChaosDatapath {
    /// Puts faults in front of `inner`.
    pub fn new(inner: Arc<dyn Datapath>, chaos: Chaos) -> Self {
        Self { inner, chaos }
    }

    fn check(&self, doing: &'static str) -> Result<(), DpError> {
        if self.chaos.called() {
            return Err(DpError::new(DpErrorKind::DatapathGone, doing, libc::ENODEV));
        }
        Ok(())
    }

    fn roll(&self, odds: u16, op: Op, doing: &'static str, errno: i32) -> Result<(), DpError> {
        if self.chaos.rolls(odds) {
            return Err(DpError::new(DpErrorKind::from_errno(op, errno), doing, errno));
        }
        Ok(())
    }

    /// What keeps a flow operation from being tried.
    fn flow_fault(&self, op: &FlowOp<'_>) -> Result<(), DpError> {
        let plan = self.chaos.plan;
        self.check("change flows")?;
        if matches!(op, FlowOp::Put { .. }) {
            self.roll(plan.exists, Op::Flow, "put flow", libc::EEXIST)?;
            self.roll(plan.no_space, Op::Flow, "put flow", libc::ENOSPC)?;
        }
        self.roll(plan.no_device, Op::Flow, "change flow", libc::ENODEV)
    }
}

/// Broken off half-way: every other flow is shown, and then comes the error.
struct BrokenDump {
    inner: Box<dyn FlowDump>,
    piece: DumpPiece,
}

impl FlowDump for BrokenDump {
    fn next(&mut self, piece: &mut DumpPiece) -> Result<bool, DpError> {
        if !self.inner.next(&mut self.piece)? {
            return Err(DpError::new(DpErrorKind::Overrun, "dump flows", libc::ENOBUFS));
        }
        let flows: Vec<FlowMsg<'_>> = self.piece.flows().collect::<Result<_, _>>()?;
        piece.fill(|each| flows.iter().skip(1).step_by(2).for_each(each));
        Ok(true)
    }
}

impl Datapath for ChaosDatapath {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn dp_ifindex(&self) -> u32 {
        self.inner.dp_ifindex()
    }

    fn families(&self) -> FamilyIds {
        self.inner.families()
    }

    fn support(&self) -> &Support {
        self.inner.support()
    }

    fn handlers_wanted(&self, configured: Option<usize>) -> usize {
        self.inner.handlers_wanted(configured)
    }

    fn open_handlers(&self, n: usize) -> Result<Vec<Box<dyn UpcallPort>>, DpError> {
        self.check("open handlers")?;
        Ok(self.chaos.wrap(self.families(), self.inner.open_handlers(n)?))
    }

    fn refresh_cpus(&self) -> Result<bool, DpError> {
        self.check("refresh CPUs")?;
        self.inner.refresh_cpus()
    }

    fn upcall_pid(&self, port: OdpPort) -> u32 {
        self.inner.upcall_pid(port)
    }

    fn port_add(
        &self,
        name: &str,
        kind: PortKind,
        want: Option<OdpPort>,
    ) -> Result<OdpPort, DpError> {
        self.check("add port")?;
        self.roll(self.chaos.plan.busy, Op::PortAdd, "add port", libc::EBUSY)?;
        self.roll(self.chaos.plan.no_device, Op::PortAdd, "add port", libc::ENODEV)?;
        self.inner.port_add(name, kind, want)
    }

    fn port_del(&self, port: OdpPort) -> Result<(), DpError> {
        self.check("delete port")?;
        self.roll(self.chaos.plan.no_device, Op::Port, "delete port", libc::ENODEV)?;
        self.inner.port_del(port)
    }

    fn ports(&self) -> Result<Vec<PortInfo>, DpError> {
        self.check("list ports")?;
        self.inner.ports()
    }

    fn port(&self, name: &str) -> Result<Option<PortInfo>, DpError> {
        self.check("find port")?;
        self.inner.port(name)
    }

    fn watch_ports(&self) -> Result<Box<dyn PortEvents>, DpError> {
        self.check("watch ports")?;
        self.inner.watch_ports()
    }

    fn stats(&self) -> Result<DpStats, DpError> {
        self.check("read statistics")?;
        self.inner.stats()
    }

    fn flow_dump_start(&self, detail: DumpDetail) -> Result<Box<dyn FlowDump>, DpError> {
        self.check("dump flows")?;
        let is_broken = self.chaos.rolls(self.chaos.plan.dump_broken);
        let inner = self.inner.flow_dump_start(detail)?;
        if !is_broken {
            return Ok(inner);
        }
        Ok(Box::new(BrokenDump { inner, piece: DumpPiece::new() }))
    }

    fn flow_get(
        &self,
        ufid: &[u8; 16],
        each: &mut dyn FnMut(&FlowMsg<'_>),
    ) -> Result<bool, DpError> {
        self.check("get flow")?;
        self.inner.flow_get(ufid, each)
    }

    fn flow_ops(&self, ops: &[FlowOp<'_>], done: &mut dyn FnMut(usize, FlowResult)) {
        for (index, op) in ops.iter().enumerate() {
            match self.flow_fault(op) {
                Ok(()) => self.inner.flow_ops(&[*op], &mut |_, result| done(index, result)),
                Err(e) => done(index, Err(e)),
            }
        }
    }

    fn flow_flush(&self) -> Result<(), DpError> {
        self.check("flush flows")?;
        self.inner.flow_flush()
    }

    fn execute(&self, packet: &[u8], key: &[u8], actions: &[u8]) -> Result<(), DpError> {
        self.check("execute actions")?;
        self.inner.execute(packet, key, actions)
    }

    fn ct_policies(&self) -> Result<BTreeSet<CtPolicyId>, DpError> {
        self.check("list conntrack timeout policies")?;
        self.inner.ct_policies()
    }

    fn set_ct_policy(&self, id: CtPolicyId, timeouts: &CtTimeouts) -> Result<(), DpError> {
        self.check("set conntrack timeout policy")?;
        self.inner.set_ct_policy(id, timeouts)
    }

    fn delete_ct_policy(&self, id: CtPolicyId) -> Result<(), DpError> {
        const DOING: &str = "delete conntrack timeout policy";
        self.check(DOING)?;
        self.roll(self.chaos.plan.busy, Op::Datapath, DOING, libc::EBUSY)?;
        self.inner.delete_ct_policy(id)
    }

    fn destroy(&self) -> Result<(), DpError> {
        self.check("delete datapath")?;
        self.inner.destroy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::fake::FakeKernel;

    /// Injects 200 packets, reads all there is, and tells each outcome in a word.
    fn run(plan: Plan) -> (Vec<String>, u64) {
        let kernel = FakeKernel::new();
        let dp = kernel.open("ovs-system", true).unwrap();
        kernel.add_device("v1").unwrap();
        dp.port_add("v1", PortKind::Netdev, None).unwrap();
        let chaos = Chaos::new(plan);
        let dp = ChaosDatapath::new(Arc::new(dp), chaos.clone());
        let mut port = dp.open_handlers(1).unwrap().remove(0);
        let mut ring = RecvRing::with_slot(8, 2048);
        let mut log = Vec::new();
        for n in 0..200u8 {
            for _ in 0..4 {
                kernel.inject("v1", &[n; 60]);
            }
            log.push(match port.recv(&mut ring, Duration::ZERO) {
                Ok(n) => n.to_string(),
                Err(e) => e.to_string(),
            });
        }
        (log, chaos.faults())
    }

    #[test]
    fn the_same_seed_fails_in_the_same_way() {
        let plan = Plan {
            seed: 7,
            overrun: 50,
            interrupted: 50,
            short: 100,
            late: 50,
            late_reads: 2,
            ..Plan::default()
        };
        let (first, faults) = run(plan);
        assert_eq!(run(plan).0, first);
        assert_ne!(run(Plan { seed: 8, ..plan }).0, first);
        assert!(faults > 10 && faults < 120, "{faults}");
        assert!(first.iter().any(|w| w.contains("lost")) && first.iter().any(|w| w == "0"));
    }

    #[test]
    fn without_a_plan_nothing_fails() {
        let (log, faults) = run(Plan::default());
        assert_eq!(faults, 0);
        assert!(log.iter().all(|n| n == "4"));
    }

    #[test]
    fn gone_is_gone() {
        let kernel = FakeKernel::new();
        let dp = kernel.open("ovs-system", true).unwrap();
        let chaos = Chaos::new(Plan { gone_after: Some(2), ..Plan::default() });
        let dp = ChaosDatapath::new(Arc::new(dp), chaos);
        assert!(dp.stats().is_ok() && dp.ports().is_ok());
        assert_eq!(dp.stats().map_err(|e| e.kind), Err(DpErrorKind::DatapathGone));
        dp.flow_ops(&[FlowOp::Del { ufid: None, key: &[] }], &mut |_, r| {
            assert_eq!(r.map_err(|e| e.kind), Err(DpErrorKind::DatapathGone));
        });
    }
}
