//! The road of a packet without a kernel: a recording's configuration and ports in, the messages that
//! the daemon would send out.
//!
//! What always holds: nothing is read but the recording (clock, secret and families come from it),
//! so that the same file gives the same messages everywhere. Addresses do not die of age here: in
//! the daemon traffic that needs no upcall keeps them alive; those that died all the same are told
//! by the recording. One thread.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use ovs_netlink::RecvRing;

use super::said::Said;
use crate::bridge::config::Config;
use crate::bridge::reconcile::Reconciler;
use crate::bridge::recorded::State;
use crate::bridge::switch::odp_support;
use crate::datapath::recording::{RecordedPort, Recording};
use crate::datapath::replay::ReplayDatapath;
use crate::datapath::{FamilyIds, Support};
use crate::odp::format::PortNames;
use crate::odp::ufid::{Ufid, UfidHasher};
use crate::standalone::{self, ConfigError};
use crate::upcall::worker::Worker;
use crate::upcall::{Target, Udpif};

/// See the module's page.
pub struct Road {
    recorded: Recorded,
    /// Made when the first configuration is known.
    udpif: Option<Arc<Udpif>>,
    datapath: ReplayDatapath,
    reconciler: Reconciler,
    workers: HashMap<u16, Worker>,
    /// In the place of the recorded configuration.
    other: Option<Config>,
    text: String,
    names: PortNames,
    /// Ports or configuration changed since the last batch.
    is_stale: bool,
    /// The time of the last batch.
    now_ms: u64,
}

/// What the head of the recording says.
struct Recorded {
    families: FamilyIds,
    dp_ifindex: u32,
    support: Support,
    ufids: UfidHasher,
}

/// What a batch of upcalls led to.
#[derive(Debug, Default)]
pub struct Answers {
    bytes: Vec<u8>,
    spans: Vec<Range<usize>>,
}

impl Answers {
    /// All messages.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Messages of each upcall, in order.
    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().map(|span| self.bytes.get(span.clone()).unwrap_or_default())
    }
}

impl Road {
    /// As the daemon that made the recording, or with another configuration.
    pub fn new(recording: &Recording, other: Option<Config>) -> Self {
        let head = &recording.head;
        Self {
            recorded: Recorded {
                families: head.families,
                dp_ifindex: head.dp_ifindex,
                support: head.support.clone(),
                ufids: UfidHasher::new(secret(&head.ufid_secret)),
            },
            udpif: None,
            datapath: ReplayDatapath::new(recording),
            reconciler: Reconciler::default(),
            workers: HashMap::new(),
            other,
            text: String::new(),
            names: PortNames::default(),
            is_stale: true,
            now_ms: 0,
        }
    }

    /// Names of the ports.
    pub fn names(&self) -> &PortNames {
        &self.names
    }

    /// Ids of the families of its messages.
    pub fn families(&self) -> FamilyIds {
        self.recorded.families
    }

    /// The ports from now on.
    pub fn set_ports(&mut self, ports: &[RecordedPort]) {
        self.datapath.set_ports(ports);
        self.names = PortNames::default();
        ports.iter().for_each(|port| self.names.insert(port.odp, &port.name));
        self.is_stale = true;
    }

    /// The recorded configuration from now on.
    pub fn set_config(&mut self, text: String) {
        self.text = text;
        self.is_stale = true;
    }

    /// An address that was learned without an upcall, in the words of the recording:
    /// bridge, port, VLAN, address.
    pub fn learn(&mut self, text: &str) {
        match &self.udpif {
            Some(udpif) if !self.is_stale => {
                let state = State::parse(&format!("#: fdb {text}"));
                state.learn(&udpif.snapshot.load(), false, self.now_ms);
            }
            // It comes with the state that stands there already.
            _ => {
                let line = if self.text.ends_with('\n') { "" } else { "\n" };
                self.text = format!("{}{line}#: fdb {text}\n", self.text);
            }
        }
    }

    fn reconcile(&mut self, now_ms: u64) -> Result<Arc<Udpif>, ConfigError> {
        let state = State::parse(&self.text);
        let mut config = match &self.other {
            Some(other) => other.clone(),
            None => standalone::parse(&self.text)?,
        };
        state.number_ports(&mut config);
        for bridge in config.bridges.values_mut() {
            bridge.fdb.aging_ms = u64::MAX;
        }
        let mut changes = Vec::new();
        // What the recording tells of the ports is how they are from now on.
        self.reconciler.forget_ports();
        let applied =
            self.reconciler.apply(&config, &self.datapath, &state.devices(), &mut changes);
        let (snapshot, _) = applied.map_err(|error| ConfigError::Read(error.to_string()))?;
        let is_other = self.other.is_some();
        let is_first = self.udpif.is_none();
        let udpif = match &self.udpif {
            Some(udpif) => udpif.clone(),
            None => {
                let vlans = state.vlans().filter(|_| !is_other);
                let vlans = vlans.unwrap_or(config.settings.vlan_limit());
                let Recorded { families, dp_ifindex, ref support, ufids } = self.recorded;
                let support = odp_support(support, vlans);
                Udpif::new(Target { families, dp_ifindex, support, ufids })
            }
        };
        udpif.configure(snapshot);
        if is_first {
            state.install(&udpif, now_ms);
        }
        if is_first || !is_other {
            state.learn(&udpif.snapshot.load(), !is_other, now_ms);
        }
        state.set(&udpif);
        self.udpif = Some(udpif.clone());
        self.is_stale = false;
        Ok(udpif)
    }

    /// Decides a batch at `now_ms`. `recorded` is what was answered to it when it was recorded: the
    /// flows that were put then did not exist then, whatever became of them before.
    ///
    /// # Errors
    /// When the recorded configuration makes no sense.
    pub fn decide(
        &mut self,
        handler: u16,
        now_ms: u64,
        upcalls: &RecvRing,
        recorded: &[Vec<u8>],
    ) -> Result<Answers, ConfigError> {
        self.now_ms = now_ms;
        let udpif = match &self.udpif {
            Some(udpif) if !self.is_stale => udpif.clone(),
            _ => self.reconcile(now_ms)?,
        };
        for ufid in recorded.iter().filter_map(|message| self.put_of(message)) {
            udpif.ukeys.shard(&ufid).remove(&ufid);
        }
        let worker = self.workers.entry(handler).or_insert_with(|| Worker::new(udpif));
        worker.begin(now_ms);
        let mut spans = Vec::with_capacity(upcalls.len());
        for upcall in upcalls.iter() {
            let start = worker.finish().len();
            if let Ok(upcall) = upcall {
                worker.decide(upcall);
            }
            spans.push(start..worker.finish().len());
        }
        Ok(Answers { bytes: worker.finish().to_vec(), spans })
    }

    fn put_of(&self, message: &[u8]) -> Option<Ufid> {
        match Said::parse(message, self.families()) {
            Said::Put { ufid, .. } => ufid.map(Ufid),
            _ => None,
        }
    }

    /// Ends the batch: the messages of these indexes were refused.
    pub fn settle(&mut self, handler: u16, answers: &Answers, refused: &[(usize, i32)]) {
        let Some(worker) = self.workers.get_mut(&handler) else { return };
        if answers.bytes.is_empty() {
            return;
        }
        let messages = super::said::split(&answers.bytes);
        let seqs: Vec<u32> = messages.iter().map(|message| super::said::seq(message)).collect();
        let mut told = HashSet::new();
        for (index, errno) in refused {
            if let Some(seq) = seqs.get(*index).filter(|seq| told.insert(**seq)) {
                worker.refused(*seq, *errno);
            }
        }
        worker.settle();
    }
}

/// Sixteen bytes from hexadecimal digits; what is missing is zero.
fn secret(digits: &str) -> [u8; 16] {
    let mut secret = [0; 16];
    for (byte, pair) in secret.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).unwrap_or(0);
    }
    secret
}
