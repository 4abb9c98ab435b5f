//! Replaying a recording: the handlers get what the kernel said then, and what they answer is set
//! beside what they answered then.
//!
//! What always holds: batches come as they were, in the order of the file, whichever handler had
//! them; nothing waits for a clock. Equal daemons with equal configurations answer with equal bytes
//! but for sequence numbers.
//!
//! [`ReplayPort`] belongs to one thread; the [`Replay`] behind it is shared with who looks at the
//! outcome.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ovs_netlink::{
    flow::FlowMsg,
    msg::{Messages, NLMSG_HDRLEN},
    ring::RecvRing,
};

use super::{
    Datapath, DpError, DpErrorKind, DpStats, DumpDetail, DumpPiece, FamilyIds, FlowDump, FlowOp,
    FlowResult, FlowTotals, OdpPort, PortEvents, PortInfo, PortKind, RecvError, SendError, Support,
    UpcallPort,
    recording::{Event, RecordedPort, Recording, RecordingError},
};

/// Handler and number of a batch.
type BatchId = (u16, u32);

/// What a step of a replay brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Upcalls are in the ring.
    Batch {
        /// Handler that had them.
        handler: u16,
        /// Number of the batch.
        batch: u32,
        /// The recording daemon's `CLOCK_MONOTONIC` milliseconds.
        now_ms: u64,
    },
    /// The configuration is this from here on.
    Config(String),
    /// The ports are these from here on.
    Ports(Vec<RecordedPort>),
    /// An address was learned without an upcall.
    Learned(String),
    /// A handler was told that upcalls were lost.
    Overrun,
    /// Batches are missing from here on; the daemon's state may differ from then.
    Gap(u64),
    /// The end, with the reason, if it ended in good order.
    End(Option<String>),
}

/// A batch, with the answers of then and now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Exchange {
    /// Handler that had the batch.
    pub handler: u16,
    /// Number of the batch.
    pub batch: u32,
    /// Messages sent when it was recorded.
    pub recorded: Vec<Vec<u8>>,
    /// Messages sent now.
    pub replayed: Vec<Vec<u8>>,
}

impl Exchange {
    /// Whether both answered with the same bytes; sequence numbers and port ids aside, which count
    /// from the start of the daemon.
    pub fn same(&self) -> bool {
        let plain = |m: &[u8]| {
            let mut m = m.to_vec();
            m.get_mut(8..NLMSG_HDRLEN).unwrap_or_default().fill(0);
            m
        };
        let (then, now) = (self.recorded.iter(), self.replayed.iter());
        then.map(|m| plain(m)).eq(now.map(|m| plain(m)))
    }
}

/// A recording on its way.
#[derive(Debug)]
pub struct Replay {
    recording: Recording,
    position: usize,
    config: String,
    current: BatchId,
    now_ms: u64,
    recorded: BTreeMap<BatchId, Vec<Vec<u8>>>,
    refused: BTreeMap<BatchId, Vec<(u32, i32)>>,
    order: Vec<BatchId>,
    replayed: BTreeMap<BatchId, Vec<Vec<u8>>>,
    damage: Option<RecordingError>,
}

impl Replay {
    /// Prepares a replay. A file that is damaged is replayed up to there, see [`Self::damage`].
    pub fn new(recording: Recording) -> Self {
        let mut recorded: BTreeMap<BatchId, Vec<Vec<u8>>> = BTreeMap::new();
        let mut refused: BTreeMap<BatchId, Vec<(u32, i32)>> = BTreeMap::new();
        let mut damage = None;
        for frame in recording.frames() {
            match frame.map(|f| f.event) {
                Ok(Event::Sent { handler, batch, message }) => {
                    recorded.entry((handler, batch)).or_default().push(message.to_vec());
                }
                Ok(Event::Refused { handler, batch, seq, errno }) => {
                    refused.entry((handler, batch)).or_default().push((seq, errno));
                }
                Ok(_) => (),
                Err(e) => damage = Some(e),
            }
        }
        Self {
            position: recording.frames().position(),
            now_ms: recording.head.monotonic_ms,
            recording,
            config: String::new(),
            current: (0, 0),
            recorded,
            refused,
            order: Vec::new(),
            replayed: BTreeMap::new(),
            damage,
        }
    }

    /// The recording.
    pub const fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What is wrong with the file, if anything.
    pub const fn damage(&self) -> Option<&RecordingError> {
        self.damage.as_ref()
    }

    /// The recording daemon's `CLOCK_MONOTONIC` milliseconds at this point.
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Bytes of the file that are behind it.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Goes on to the next thing that the recording tells; upcalls are put into `ring`. A batch that
    /// is larger than the ring comes in parts.
    pub fn step(&mut self, ring: &mut RecvRing) -> Step {
        ring.clear();
        let mut frames = self.recording.frames_from(self.position);
        let mut batch_id = None;
        loop {
            let before = frames.position();
            let Some(Ok(frame)) = frames.next() else {
                self.position = before;
                match batch_id {
                    Some(id) => break self.arrived(id),
                    None => break Step::End(None),
                }
            };
            if let Event::Upcall { handler, batch, datagram } = frame.event {
                let id = (handler, batch);
                if batch_id.is_some_and(|other| other != id) || !ring.push(datagram) {
                    self.position = before;
                    break self.arrived(batch_id.unwrap_or(id));
                }
                batch_id = Some(id);
                self.now_ms = frame.monotonic_ms;
                continue;
            }
            if let Some(id) = batch_id {
                self.position = before;
                break self.arrived(id);
            }
            self.now_ms = frame.monotonic_ms;
            self.position = frames.position();
            match frame.event {
                Event::ConfigPart(part) => self.config.push_str(part),
                Event::Config(part) => {
                    let text = std::mem::take(&mut self.config) + part;
                    break Step::Config(text);
                }
                Event::Ports(text) => match Recording::parse_ports(text) {
                    Ok(ports) => break Step::Ports(ports),
                    Err(e) => self.damage = Some(e),
                },
                Event::Learned(text) => break Step::Learned(text.to_owned()),
                Event::Overrun { .. } => break Step::Overrun,
                Event::Gap { batches } => break Step::Gap(batches),
                Event::End { reason } => {
                    let reason = reason.to_owned();
                    break Step::End(Some(reason));
                }
                Event::Upcall { .. } | Event::Sent { .. } | Event::Refused { .. } => (),
            }
        }
    }

    /// Notes messages as the answer to the last batch.
    pub fn answer(&mut self, messages: &[u8]) {
        let mut rest = messages;
        for message in Messages::new(messages).map_while(Result::ok) {
            let len = (NLMSG_HDRLEN + message.payload.len()).next_multiple_of(4).min(rest.len());
            let (this, tail) = rest.split_at(len);
            self.replayed.entry(self.current).or_default().push(this.to_vec());
            rest = tail;
        }
    }

    /// What was answered to the last batch when it was recorded.
    pub fn recorded(&self) -> &[Vec<u8>] {
        self.recorded.get(&self.current).map_or(&[], Vec::as_slice)
    }

    /// Takes the refusals that the recorded answers to the last batch met.
    pub fn take_refused(&mut self) -> Vec<(u32, i32)> {
        self.refused.remove(&self.current).unwrap_or_default()
    }

    /// All batches so far, in order, with the answers of then and now.
    pub fn outcome(&self) -> Vec<Exchange> {
        fn answers(all: &BTreeMap<BatchId, Vec<Vec<u8>>>, id: &BatchId) -> Vec<Vec<u8>> {
            all.get(id).cloned().unwrap_or_default()
        }
        let exchange = |id: &BatchId| Exchange {
            handler: id.0,
            batch: id.1,
            recorded: answers(&self.recorded, id),
            replayed: answers(&self.replayed, id),
        };
        self.order.iter().map(exchange).collect()
    }

    fn arrived(&mut self, id: BatchId) -> Step {
        self.current = id;
        if self.order.last() != Some(&id) {
            self.order.push(id);
        }
        Step::Batch { handler: id.0, batch: id.1, now_ms: self.now_ms }
    }
}

/// The port of a handler that has all recorded handlers' batches.
pub struct ReplayPort {
    replay: Arc<Mutex<Replay>>,
    changes: Box<dyn FnMut(Step) + Send>,
}

impl ReplayPort {
    /// `changes` is told what stands between the batches: configuration, ports, gaps, the end.
    pub fn new(replay: Arc<Mutex<Replay>>, changes: Box<dyn FnMut(Step) + Send>) -> Self {
        Self { replay, changes }
    }

    fn replay(&self) -> MutexGuard<'_, Replay> {
        self.replay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UpcallPort for ReplayPort {
    fn recv(&mut self, ring: &mut RecvRing, _timeout: Duration) -> Result<usize, RecvError> {
        loop {
            let step = self.replay().step(ring);
            match step {
                Step::Batch { .. } => return Ok(ring.len()),
                Step::Overrun => return Err(RecvError::Overrun),
                Step::End(_) => {
                    (self.changes)(step);
                    return Err(RecvError::Gone);
                }
                Step::Config(_) | Step::Ports(_) | Step::Learned(_) | Step::Gap(_) => {
                    (self.changes)(step);
                }
            }
        }
    }

    fn send(&mut self, messages: &[u8]) -> Result<(), SendError> {
        self.replay().answer(messages);
        Ok(())
    }

    fn errors(&mut self, each: &mut dyn FnMut(u32, i32)) {
        let refused = self.replay().take_refused();
        refused.into_iter().for_each(|(seq, errno)| each(seq, errno));
    }
}

/// The control side during a replay: the ports of the recording, and a flow table that takes
/// everything and shows nothing.
#[derive(Debug)]
pub struct ReplayDatapath {
    name: String,
    dp_ifindex: u32,
    families: FamilyIds,
    support: Support,
    ports: Mutex<Vec<PortInfo>>,
}

impl ReplayDatapath {
    /// As the recording's head has it, still without ports.
    pub fn new(recording: &Recording) -> Self {
        let head = &recording.head;
        Self {
            name: head.datapath.clone(),
            dp_ifindex: head.dp_ifindex,
            families: head.families,
            support: head.support.clone(),
            ports: Mutex::default(),
        }
    }

    /// The ports from now on.
    pub fn set_ports(&self, ports: &[RecordedPort]) {
        *self.lock() = ports.iter().map(RecordedPort::info).collect();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PortInfo>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_in_a_replay(doing: &'static str) -> DpError {
    DpError::new(DpErrorKind::Unsupported, doing, libc::EOPNOTSUPP)
        .with_message(Some("there is no kernel in a replay".to_owned()))
}

impl Datapath for ReplayDatapath {
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
        1
    }

    fn open_handlers(&self, _n: usize) -> Result<Vec<Box<dyn UpcallPort>>, DpError> {
        Err(not_in_a_replay("open handlers"))
    }

    fn refresh_cpus(&self) -> Result<bool, DpError> {
        Ok(false)
    }

    fn upcall_pid(&self, _port: OdpPort) -> u32 {
        u32::MAX
    }

    /// Finds the port that was there when it was recorded.
    fn port_add(
        &self,
        name: &str,
        _kind: PortKind,
        _want: Option<OdpPort>,
    ) -> Result<OdpPort, DpError> {
        match self.lock().iter().find(|p| p.name == name) {
            Some(port) => Ok(port.odp),
            None => Err(DpError::new(
                DpErrorKind::NoSuchDevice,
                format!("add port {name}"),
                libc::ENODEV,
            )),
        }
    }

    fn port_del(&self, _port: OdpPort) -> Result<(), DpError> {
        Ok(())
    }

    fn ports(&self) -> Result<Vec<PortInfo>, DpError> {
        Ok(self.lock().clone())
    }

    fn port(&self, name: &str) -> Result<Option<PortInfo>, DpError> {
        Ok(self.lock().iter().find(|p| p.name == name).cloned())
    }

    fn watch_ports(&self) -> Result<Box<dyn PortEvents>, DpError> {
        Err(not_in_a_replay("watch ports"))
    }

    fn stats(&self) -> Result<DpStats, DpError> {
        Ok(DpStats::default())
    }

    fn flow_dump_start(&self, _detail: DumpDetail) -> Result<Box<dyn FlowDump>, DpError> {
        Ok(Box::new(NoFlows))
    }

    fn flow_get(
        &self,
        _ufid: &[u8; 16],
        _each: &mut dyn FnMut(&FlowMsg<'_>),
    ) -> Result<bool, DpError> {
        Ok(false)
    }

    fn flow_ops(&self, ops: &[FlowOp<'_>], done: &mut dyn FnMut(usize, FlowResult)) {
        for (index, op) in ops.iter().enumerate() {
            let totals = matches!(op, FlowOp::Del { .. }).then(FlowTotals::default);
            done(index, Ok(totals));
        }
    }

    fn flow_flush(&self) -> Result<(), DpError> {
        Ok(())
    }

    fn execute(&self, _packet: &[u8], _key: &[u8], _actions: &[u8]) -> Result<(), DpError> {
        Ok(())
    }

    fn destroy(&self) -> Result<(), DpError> {
        Ok(())
    }
}

/// Nobody forwards by flows here.
struct NoFlows;

impl FlowDump for NoFlows {
    fn next(&mut self, _piece: &mut DumpPiece) -> Result<bool, DpError> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::{
        fake::FakeKernel,
        recording::{Head, Writer},
    };

    fn message(kind: u16, seq: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(16 + payload.len()).unwrap();
        let mut m = len.to_ne_bytes().to_vec();
        m.extend_from_slice(&kind.to_ne_bytes());
        m.extend_from_slice(&[0, 0, seq, 0, 0, 0, 0, 0, 0, 0]);
        m.extend_from_slice(payload);
        m
    }

    #[test]
    fn batches_come_as_they_were_and_answers_are_compared() {
        let dp = FakeKernel::new().open("ovs-system", true).unwrap();
        let head = Head::now(&dp, "rovs", &[]);
        let (t0, packet) = (head.monotonic_ms, head.families.packet);
        let up = |n: u8| message(packet, 0, &[n; 4]);
        let mut w = Writer::new(&head);
        w.config(t0, "one");
        w.ports(t0, &[RecordedPort { odp: 4, name: "v1".to_owned(), kind: 1, ifindex: None }]);
        w.upcall(t0 + 1, 0, 1, &up(1));
        w.upcall(t0 + 1, 0, 1, &up(2));
        w.upcall(t0 + 2, 1, 1, &up(3));
        w.sent(t0 + 2, 0, 1, &[message(30, 5, b"aaaa"), message(30, 6, b"bbbb")].concat());
        w.sent(t0 + 2, 1, 1, &message(30, 7, b"cccc"));
        w.refused(t0 + 2, 0, 1, 6, libc::EEXIST);
        w.overrun(t0 + 3, 0);
        w.upcall(t0 + 4, 0, 2, &up(4));
        w.end(t0 + 5, "asked to");

        let recording = Recording::parse(w.bytes).unwrap();
        let control = ReplayDatapath::new(&recording);
        let replay = Arc::new(Mutex::new(Replay::new(recording)));
        let changes = Arc::new(Mutex::new(Vec::new()));
        let log = changes.clone();
        let mut port =
            ReplayPort::new(replay.clone(), Box::new(move |step| log.lock().unwrap().push(step)));
        let mut ring = RecvRing::new(2);
        let mut recv = |port: &mut ReplayPort| {
            port.recv(&mut ring, Duration::MAX)?;
            Ok(ring.iter().map(|d| d.unwrap().to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(recv(&mut port), Ok(vec![up(1), up(2)]));
        assert_eq!(replay.lock().unwrap().now_ms(), t0 + 1);
        port.send(&[message(30, 1, b"aaaa"), message(30, 2, b"bbbb")].concat()).unwrap();
        let mut refused = Vec::new();
        port.errors(&mut |seq, errno| refused.push((seq, errno)));
        assert_eq!(refused, [(6, libc::EEXIST)]);
        assert_eq!(recv(&mut port), Ok(vec![up(3)]));
        port.send(&message(30, 3, b"CCCC")).unwrap();
        assert_eq!(recv(&mut port), Err(RecvError::Overrun));
        assert_eq!(recv(&mut port), Ok(vec![up(4)]));
        assert_eq!(recv(&mut port), Err(RecvError::Gone));
        let changes = changes.lock().unwrap();
        assert_eq!(changes[0], Step::Config("one".to_owned()));
        let Step::Ports(ports) = &changes[1] else { panic!("{changes:?}") };
        control.set_ports(ports);
        assert_eq!(control.port_add("v1", PortKind::Netdev, None), Ok(OdpPort(4)));
        assert_eq!(changes[2], Step::End(Some("asked to".to_owned())));
        let same: Vec<_> = replay.lock().unwrap().outcome().iter().map(Exchange::same).collect();
        assert_eq!(same, [true, false, true]);
        assert_eq!(replay.lock().unwrap().damage(), None);
    }
}
