//! Deciding upcalls: the road from received bytes to the messages that answer them.
//!
//! A [`Worker`] takes the datagrams of a batch one by one and appends flow puts and executes to one
//! buffer; whoever owns it sends that buffer and tells it what the kernel refused. It does no
//! input or output itself, so a handler thread and a replay walk the same road.
//!
//! What always holds: nothing is allocated once the buffers have grown; an upcall that cannot be
//! read is counted and dropped; within a batch equal keys are translated once, and what is translated for
//! one packet serves the next ones that it holds for (`Translated`).

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ovs_netlink::attr::align4;
use ovs_netlink::flow::{FlowPut, IfExists};
use ovs_netlink::msg::{Message, Messages, MsgBuf, MsgFlags};
use ovs_netlink::packet::{Execute, Upcall, UpcallCmd};

use crate::datapath::OdpPort;
use crate::odp::cookie::{CookieReason, UserCookie};
use crate::odp::key::{Fitness, OdpKey};
use crate::odp::reader::KeyReader;
use crate::odp::ufid::Ufid;
use crate::snapshot::Snapshot;
use crate::xlate::{XlateIn, XlateOut, translate};

use super::Udpif;
use super::name::Namer;
use super::ports::PortCount;
use super::translated::{Basis, Translated};
use super::ukey::{DeleteReason, NewUkey, UkeyState};
use crate::coverage::counter;
use crate::limits::UPCALL_BATCH;
use crate::vlog::{self, RateLimit};

counter!(static FLOW_PUT = "dpif_flow_put");
counter!(static FLOW_PUT_ERROR = "dpif_flow_put_error");
counter!(static EXECUTE = "dpif_execute");
counter!(static EXECUTE_ERROR = "dpif_execute_error");
counter!(static DUPLICATE = "handler_duplicate_upcall");
counter!(static ACTION_UNSERVED = "upcall_action_unserved");
counter!(static LIMIT_HIT = "upcall_flow_limit_hit");

/// What a packet can bring about is logged at the peer's rate.
static RL: RateLimit = RateLimit::new(1, 5);
/// A cookie of somebody else's comes with every packet of its flow.
static ACTION_RL: RateLimit = RateLimit::new(1, 5);
/// That there is no room is told once in ten minutes.
static FULL_RL: RateLimit = RateLimit::new(1, 1);

/// An upcall of this batch that was translated, to be found again by an equal key. Its bytes are in
/// [`Worker::arena`].
#[derive(Clone)]
struct Decided {
    key_hash: u64,
    /// The one before it among those whose hashes end alike, counted from 1; 0 for none.
    before: usize,
    /// Where in the arena the key is; the metadata for an execute and the actions follow.
    key: Range<usize>,
    metadata: usize,
    actions: usize,
    end: usize,
}

/// Puts remembered after they were sent, for their refusals: those of two batches.
const EARLIER_PUTS: usize = 2 * UPCALL_BATCH;

/// Lists that the decisions of a batch are spread over, by the ends of their hashes.
const LISTS: usize = UPCALL_BATCH;

/// A flow put.
struct Put {
    /// Its message's sequence number.
    seq: u32,
    ufid: Ufid,
}

/// See the module's page.
pub struct Worker {
    udpif: Arc<Udpif>,
    snapshot: Arc<Snapshot>,
    now_ms: u64,
    changes_seq: u64,
    out: XlateOut,
    /// What `out` is the translation of.
    translated: Translated,
    reader: KeyReader,
    key: Vec<u8>,
    mask: Vec<u8>,
    namer: Namer,
    /// Keys, metadata and actions of the batch's decisions.
    arena: Vec<u8>,
    decided: Vec<Decided>,
    /// The last of each list of decisions, counted from 1.
    lists: [usize; LISTS],
    messages: MsgBuf,
    /// Puts of this batch.
    puts: Vec<Put>,
    /// The last ones before it, the refusal of which may still come.
    earlier: VecDeque<Put>,
    next_seq: u32,
    ports: HashMap<OdpPort, Arc<PortCount>, foldhash::fast::RandomState>,
    /// The port that was counted for last.
    counted: Option<(OdpPort, Arc<PortCount>)>,
    changed_tags: Vec<u64>,
}

/// Bytes at the end of a key that tell the keys of a batch apart: addresses, ports and flags.
const KEY_TAIL: usize = 64;

/// Which of a batch's keys may be equal. Not a secret hash, and not of the whole key: keys that are made to
/// have the same are compared with each other, which are at most those of one batch.
fn key_hash(key: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, _) = key.last_chunk::<KEY_TAIL>().map_or(key, |tail| tail).as_chunks();
    let add = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let hash = words.iter().fold(0, |hash, word| add(hash, u64::from_ne_bytes(*word)));
    // The ends of a product are the weaker bits.
    hash ^ hash >> 32
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Worker {
    /// A worker with nothing to do.
    pub fn new(udpif: Arc<Udpif>) -> Self {
        let snapshot = udpif.snapshot.load_full();
        Self {
            namer: Namer::new(udpif.target.ufids),
            reader: KeyReader::new(udpif.target.support),
            udpif,
            snapshot,
            now_ms: 0,
            changes_seq: 0,
            out: XlateOut::default(),
            translated: Translated::new(),
            key: Vec::new(),
            mask: Vec::new(),
            arena: Vec::new(),
            decided: Vec::new(),
            lists: [0; LISTS],
            messages: MsgBuf::new(),
            puts: Vec::new(),
            earlier: VecDeque::with_capacity(EARLIER_PUTS),
            next_seq: 1,
            ports: HashMap::default(),
            counted: None,
            changed_tags: Vec::new(),
        }
    }

    /// Begins a batch at `now_ms`.
    pub fn begin(&mut self, now_ms: u64) {
        self.changes_seq = self.udpif.changes.seq();
        self.snapshot = self.udpif.snapshot.load_full();
        self.now_ms = now_ms;
        self.translated.clear();
        self.messages.clear();
        self.puts.clear();
        self.decided.clear();
        self.lists = [0; LISTS];
        self.arena.clear();
    }

    /// When the batch began.
    pub fn begun_ms(&self) -> u64 {
        self.now_ms
    }

    /// The port that an upcall is of, without reading more of it than needed.
    pub fn port_of(&self, datagram: &[u8]) -> Option<OdpPort> {
        let message = Messages::new(datagram).next()?.ok()?;
        let key = Upcall::key_of(message.genl().ok()?)?;
        OdpKey(key).in_port().map(OdpPort)
    }

    /// Decides the upcalls of one datagram.
    pub fn decide(&mut self, datagram: &[u8]) {
        self.decide_of(None, datagram);
    }

    /// Decides the upcalls of one datagram, of which `port` is what [`Worker::port_of`] told, if it was
    /// asked.
    pub fn decide_of(&mut self, port: Option<OdpPort>, datagram: &[u8]) {
        for message in Messages::new(datagram) {
            match message {
                Ok(message) => self.decide_message(port, &message),
                Err(error) => {
                    count(&self.udpif.counters.bad);
                    vlog::limited!(DEBUG, target: "ofproto_dpif_upcall", &RL,
                        "bad netlink message: {error}");
                }
            }
        }
    }

    fn decide_message(&mut self, port: Option<OdpPort>, message: &Message<'_>) {
        count(&self.udpif.counters.upcalls);
        let upcall = (message.kind == self.udpif.target.families.packet)
            .then(|| message.genl().ok())
            .flatten()
            .and_then(|genl| Upcall::parse(genl).ok());
        let Some(upcall) = upcall else {
            count(&self.udpif.counters.bad);
            return;
        };
        let port = port.or_else(|| OdpKey(upcall.key).in_port().map(OdpPort));
        let port = port.unwrap_or(OdpPort::NONE);
        count(&self.port_counts(port).asked);
        let is_answered = match upcall.cmd {
            UpcallCmd::Miss => self.answer(&upcall),
            UpcallCmd::Action => self.answer_action(&upcall),
        };
        if is_answered {
            count(&self.port_counts(port).served);
        } else {
            count(&self.udpif.counters.bad);
        }
    }

    fn port_counts(&mut self, port: OdpPort) -> &PortCount {
        let Self { udpif, ports, counted, .. } = self;
        // Most come in runs of one port.
        let known = counted.take().filter(|(last, _)| *last == port);
        let counts = known.map(|(_, counts)| counts);
        let counts = counts
            .unwrap_or_else(|| ports.entry(port).or_insert_with(|| udpif.ports.port(port)).clone());
        &counted.insert((port, counts)).1
    }

    /// Notes that an upcall of `port` was dropped for fairness.
    pub fn note_dropped(&mut self, port: OdpPort) {
        count(&self.udpif.counters.dropped);
        let counts = self.port_counts(port);
        count(&counts.asked);
        count(&counts.dropped);
    }

    /// Takes a packet that a userspace action sent up; false if its cookie is none that we give out.
    fn answer_action(&mut self, upcall: &Upcall<'_>) -> bool {
        count(&self.udpif.counters.actions);
        let Some(cookie) = upcall.userdata.and_then(UserCookie::parse) else {
            vlog::limited!(WARN, target: "ofproto_dpif_upcall", &ACTION_RL,
                "action upcall cookie has unexpected size {} or type; the packet is dropped",
                upcall.userdata.map_or(0, <[u8]>::len));
            return false;
        };
        self.serve_action(upcall, &cookie);
        true
    }

    /// Where the receivers of action upcalls are, by kind. No translation makes such actions yet: these
    /// packets are from flows of an earlier run that is being replaced, and end here.
    fn serve_action(&mut self, _upcall: &Upcall<'_>, cookie: &UserCookie) {
        match cookie.reason {
            CookieReason::SlowPath(_)
            | CookieReason::Controller { .. }
            | CookieReason::Sflow { .. }
            | CookieReason::FlowSample { .. }
            | CookieReason::Ipfix { .. } => ACTION_UNSERVED.add(1),
        }
    }

    /// Translates an upcall and appends what answers it; false if its key makes no sense.
    fn answer(&mut self, upcall: &Upcall<'_>) -> bool {
        let key_hash = key_hash(upcall.key);
        let list = key_hash as usize % LISTS;
        let mut at = self.lists[list];
        while let Some(decided) = at.checked_sub(1).and_then(|at| self.decided.get(at)) {
            if decided.key_hash == key_hash
                && self.arena.get(decided.key.clone()) == Some(upcall.key)
            {
                let decided = decided.clone();
                count(&self.udpif.counters.duplicates);
                self.execute(upcall, &decided);
                return true;
            }
            at = decided.before;
        }

        match self.reader.read(OdpKey(upcall.key)) {
            Ok(Fitness::Perfect | Fitness::TooMuch) => {}
            Ok(fitness) => {
                vlog::limited!(DEBUG, target: "ofproto_dpif_upcall", &RL,
                    "odd upcall key: {fitness:?}");
                return false;
            }
            Err(error) => {
                vlog::limited!(DEBUG, target: "ofproto_dpif_upcall", &RL,
                    "bad upcall key: {error}");
                return false;
            }
        }
        let snapshot = self.snapshot.clone();
        let bytes = upcall.packet.len() as u64;
        if self.translate(&snapshot) {
            self.udpif.apply(&snapshot, &self.out.effects, 1, bytes, self.now_ms);
        } else {
            self.udpif.credit(&self.out.effects, 1, bytes);
        }

        let start = self.arena.len();
        self.arena.extend_from_slice(upcall.key);
        let key = start..self.arena.len();
        // Attributes are written at multiples of 4, and an unaligned upcall's key may end at none.
        self.arena.resize(align4(self.arena.len()), 0);
        let metadata = self.arena.len();
        if let Err(error) = self.reader.metadata(OdpKey(upcall.key), &mut self.arena) {
            vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                "cannot encode a packet's metadata: {error}");
        }
        let actions = self.arena.len();
        self.arena.extend_from_slice(self.out.actions.as_bytes());
        let (end, before) = (self.arena.len(), self.lists[list]);
        let decided = Decided { key_hash, before, key, metadata, actions, end };
        self.decided.push(decided.clone());
        self.lists[list] = self.decided.len();

        self.install(upcall.key);
        self.execute(upcall, &decided);
        true
    }

    /// Translates the packet that was read last; false if the last translation holds for it as well.
    fn translate(&mut self, snapshot: &Snapshot) -> bool {
        let (flow, kind) = (self.reader.flow(), self.reader.kind());
        // A megaflow that matches it is on its way already.
        let is_exact = !self.udpif.settings.megaflows.load(Ordering::Relaxed);
        let changes_seq = self.udpif.changes.seq();
        let basis = kind.filter(|_| is_exact).map(|kind| Basis { kind, changes_seq });
        if self.translated.holds_for(flow, basis, &self.out.wc) {
            return false;
        }
        translate(XlateIn { snapshot, flow, now_ms: self.now_ms }, &mut self.out);
        self.translated.remember(flow, basis);
        true
    }

    /// Appends a put of the megaflow that was just decided, if it is not installed yet and there is
    /// room.
    fn install(&mut self, key: &[u8]) {
        let udpif = &self.udpif;
        let is_megaflow = udpif.settings.megaflows.load(Ordering::Relaxed);
        let (key, mask, ufid) = if is_megaflow {
            let wc = &self.out.wc;
            let (ufid, id) = self.namer.megaflow(self.reader.flow(), wc);
            self.key.clear();
            self.mask.clear();
            let (out, mask) = (&mut self.key, &mut self.mask);
            if let Err(error) = self.reader.key_and_mask(OdpKey(key), (id, wc), out, mask) {
                vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                    "cannot encode a megaflow: {error}");
                return;
            }
            (&*self.key, Some(&*self.mask), ufid)
        } else {
            (key, None, self.namer.exact(key))
        };
        let new = NewUkey {
            ufid,
            key,
            mask,
            actions: self.out.actions.as_bytes(),
            bridge: self.out.bridge,
            deps: &self.out.deps,
            effects: &self.out.effects,
            drop: self.out.drop,
            adopted: false,
            now_ms: self.now_ms,
        };
        let mut shard = udpif.ukeys.shard(&ufid);
        let has_room = udpif.has_room();
        if !has_room || !shard.insert(&new) {
            if has_room || shard.get(&ufid).is_some() {
                count(&udpif.counters.duplicates);
                DUPLICATE.add(1);
                return;
            }
            count(&udpif.counters.over_limit);
            LIMIT_HIT.add(1);
            drop(shard);
            let limit = udpif.flow_limit();
            if udpif.ukeys.len() >= limit {
                vlog::limited!(WARN, target: "ofproto_dpif_upcall", &FULL_RL,
                    "limit of {limit} flows reached: packets of further flows are forwarded one by \
                     one; raise flow-limit, or find the port that opens so many (upcall/ports)");
            }
            return;
        }
        drop(shard);

        let put = FlowPut {
            dp_ifindex: udpif.target.dp_ifindex,
            key,
            // What the key says is matched without a mask as well; the kernel would make this one.
            mask: mask.or_else(|| self.reader.exact_mask()),
            actions: self.out.actions.as_bytes(),
            ufid: Some(ufid.0),
            if_exists: IfExists::Fail,
            probe: false,
            clear: false,
        };
        let seq = self.next_seq.wrapping_add(self.messages.count() as u32);
        let family = udpif.target.families.flow;
        match put.append(&mut self.messages, family, MsgFlags::empty(), seq) {
            Ok(()) => {
                count(&udpif.counters.installed);
                FLOW_PUT.add(1);
                self.puts.push(Put { seq, ufid });
            }
            Err(error) => {
                vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                    "cannot encode a put: {error}");
                udpif.ukeys.shard(&ufid).remove(&ufid);
            }
        }
    }

    /// Appends an execute of the upcall's packet, unless it is dropped.
    fn execute(&mut self, upcall: &Upcall<'_>, decided: &Decided) {
        let bytes = |range| self.arena.get::<Range<usize>>(range).unwrap_or_default();
        let actions = bytes(decided.actions..decided.end);
        if actions.is_empty() {
            return;
        }
        let execute = Execute {
            dp_ifindex: self.udpif.target.dp_ifindex,
            packet: upcall.packet,
            key: bytes(decided.metadata..decided.actions),
            actions,
            probe: false,
            mru: upcall.mru,
            hash: upcall.hash,
        };
        let family = self.udpif.target.families.packet;
        let seq = self.next_seq.wrapping_add(self.messages.count() as u32);
        EXECUTE.add(1);
        if let Err(error) = execute.append(&mut self.messages, family, MsgFlags::empty(), seq) {
            count(&self.udpif.counters.execute_failed);
            vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                "cannot encode an execute: {error}");
        }
    }

    /// Ends the batch: the bytes to send, empty if there is nothing to send.
    pub fn finish(&self) -> &[u8] {
        self.messages.as_bytes()
    }

    /// Number of messages that [`Worker::finish`] gave out.
    pub fn message_count(&self) -> usize {
        self.messages.count()
    }

    /// Takes a refusal by the kernel of a message that was sent, of this batch or one of the last.
    pub fn refused(&mut self, seq: u32, errno: i32) {
        let is_it = |put: &Put| put.seq == seq;
        let put = match self.puts.iter().position(is_it) {
            Some(at) => Some(self.puts.swap_remove(at)),
            None => {
                let at = self.earlier.iter().position(is_it);
                at.and_then(|at| self.earlier.remove(at))
            }
        };
        let is_later = |other: &Put, put: &Put| other.seq.wrapping_sub(put.seq) as i32 > 0;
        let is_again = |put: &Put| {
            let all = self.puts.iter().chain(&self.earlier);
            all.into_iter().any(|other| other.ufid == put.ufid && is_later(other, put))
        };
        match put {
            // Its flow was forgotten and has been put again since: what is known of it is the later put's.
            Some(put) if is_again(&put) => {
                count(&self.udpif.counters.refused);
                FLOW_PUT_ERROR.add(1);
            }
            Some(put) => self.put_refused(put.ufid, errno),
            None => {
                count(&self.udpif.counters.execute_failed);
                EXECUTE_ERROR.add(1);
                if errno == libc::ENODEV {
                    self.udpif.health.datapath_gone.store(true, Ordering::Relaxed);
                } else {
                    vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                        "the kernel refused to forward a packet: {}; it is dropped",
                        nix::errno::Errno::from_raw(errno).desc());
                }
            }
        }
    }

    fn put_refused(&self, ufid: Ufid, errno: i32) {
        let udpif = &self.udpif;
        count(&udpif.counters.refused);
        FLOW_PUT_ERROR.add(1);
        if let Some(ukey) = udpif.ukeys.shard(&ufid).remove(&ufid) {
            udpif.history.note(&ukey, DeleteReason::Refused(errno), self.now_ms);
        }
        match errno {
            // Another flow matches these packets: one that we do not know yet. The revalidator
            // finds it, and adopts or deletes it.
            libc::EEXIST => udpif.health.overlap.store(true, Ordering::Relaxed),
            libc::ENODEV => udpif.health.datapath_gone.store(true, Ordering::Relaxed),
            libc::ENOSPC => {
                udpif.health.full.store(true, Ordering::Relaxed);
                vlog::limited!(WARN, target: "ofproto_dpif_upcall", &FULL_RL,
                    "the kernel's flow table is full ({}): packets of further flows are forwarded \
                     one by one; lower flow-limit or max-idle", nix::errno::Errno::from_raw(errno).desc());
            }
            // The send failed as a whole, and its sender has said so.
            libc::ENOBUFS => {}
            _ => vlog::limited!(WARN, target: "ofproto_dpif_upcall", &RL,
                "the kernel refused a flow: {}; its packets are forwarded one by one, \
                 ovs-appctl vlog/set ofproto_dpif_upcall:dbg tells more", nix::errno::Errno::from_raw(errno).desc()),
        }
    }

    /// The whole send failed: none of the batch's flows is in the kernel.
    pub fn send_failed(&mut self, errno: i32) {
        for put in std::mem::take(&mut self.puts) {
            self.put_refused(put.ufid, errno);
        }
        self.next_seq = self.next_seq.wrapping_add(self.messages.count() as u32);
    }

    /// The batch was sent: those of its flows that the kernel did not refuse are operational, and the
    /// rest is so until its refusal is told. Those that rest on something that changed meanwhile are
    /// handed to the revalidator.
    pub fn settle(&mut self) {
        self.next_seq = self.next_seq.wrapping_add(self.messages.count() as u32);
        let udpif = &self.udpif;
        for put in &self.puts {
            if let Some(ukey) = udpif.ukeys.shard(&put.ufid).get_mut(&put.ufid) {
                ukey.state = UkeyState::Operational;
            }
        }
        if !self.puts.is_empty() && udpif.changes.seq() != self.changes_seq {
            self.recheck();
        }
        let surplus = (self.earlier.len() + self.puts.len()).saturating_sub(EARLIER_PUTS);
        self.earlier.drain(..surplus.min(self.earlier.len()));
        self.earlier.extend(self.puts.drain(..));
    }

    /// Hands flows of this batch to the revalidator that rest on something that changed since it began.
    fn recheck(&mut self) {
        let udpif = &self.udpif;
        self.changed_tags.clear();
        let told = udpif.changes.since(self.changes_seq, &mut self.changed_tags);
        let tags = &self.changed_tags;
        let doubtful = self.puts.iter().map(|put| put.ufid).filter(|ufid| {
            !told
                || udpif
                    .ukeys
                    .shard(ufid)
                    .get(ufid)
                    .is_some_and(|ukey| ukey.tags().iter().any(|tag| tags.contains(tag)))
        });
        let doubtful: smallvec::SmallVec<[Ufid; 8]> = doubtful.collect();
        if !doubtful.is_empty() {
            udpif.changes.recheck(doubtful);
        }
    }
}

#[cfg(test)]
mod tests {
    use ovs_netlink::attr::AttrWriter;
    use ovs_netlink::uapi;

    use super::*;
    use crate::datapath::FamilyIds;
    use crate::odp;
    use crate::odp::cookie::SlowPathReason;
    use crate::odp::ufid::UfidHasher;
    use crate::upcall::Target;

    #[test]
    fn a_packet_of_a_userspace_action_is_told_by_its_cookie() {
        let families =
            FamilyIds { datapath: 1, vport: 2, flow: 3, packet: 4, meter: None, ct_limit: None };
        let udpif = Udpif::new(Target {
            families,
            dp_ifindex: 1,
            support: odp::Support::default(),
            ufids: UfidHasher::new([0; 16]),
        });
        let mut worker = Worker::new(udpif.clone());
        let mut key = Vec::new();
        AttrWriter::new(&mut key).u32(uapi::OVS_KEY_ATTR_IN_PORT, 5);
        let cookie = UserCookie {
            ofp_in_port: 1,
            ofproto: [7; 16],
            reason: CookieReason::SlowPath(SlowPathReason::CFM),
        };
        let mut sent_up = |userdata: Option<&[u8]>| {
            let upcall = Upcall {
                cmd: UpcallCmd::Action,
                dp_ifindex: 1,
                packet: &[0; 60],
                key: &key,
                userdata,
                egress_tun_key: None,
                actions: None,
                mru: None,
                hash: None,
                len: None,
                attrs: &[],
            };
            let mut message = MsgBuf::new();
            upcall.append(&mut message, families.packet).unwrap();
            worker.begin(0);
            worker.decide(message.as_bytes());
            assert!(worker.finish().is_empty());
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (load(&udpif.counters.actions), load(&udpif.counters.bad))
        };
        assert_eq!(sent_up(Some(&cookie.encode())), (1, 0));
        assert_eq!(sent_up(Some(&[1, 2, 3])), (2, 1));
        assert_eq!(sent_up(None), (3, 2));
        let totals = udpif.ports.totals();
        assert_eq!((totals[0].port, totals[0].asked, totals[0].served), (OdpPort(5), 3, 1));
    }
}
