//! `rovs replay`: the whole road from a recording, compared with what was sent when it was made; or,
//! with another configuration, what that would have decided.
//!
//! What always holds: it needs neither root nor kernel, and the same file gives the same answer. A
//! file that is cut or damaged is replayed up to there, and that is told. One thread.

pub mod compare;
pub mod road;
pub mod said;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ovs_netlink::RecvRing;
use serde_json::{Value, json};

use self::compare::{Comparison, Difference};
use self::road::{Answers, Road};
use self::said::{Said, seq, split, upcall_key};
use super::{Failure, Format, print};
use crate::bridge::config::Config;
use crate::datapath::FamilyIds;
use crate::datapath::recording::{Recording, RecordingError};
use crate::datapath::replay::{self, Step};
use crate::limits::{RECORDING_READ_BYTES_MAX, UPCALL_BATCH};
use crate::odp::format::{PortNames, Style, format_actions, format_key};
use crate::standalone::{self, ConfigError};

/// Files from this size on are worth a bar.
const PROGRESS_BYTES_MIN: u64 = 4 << 20;

/// `rovs replay`.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The recording.
    file: PathBuf,
    /// Show what this configuration would have decided, flow by flow.
    #[arg(long, value_name = "OTHER.toml")]
    config: Option<PathBuf>,
    /// Differences to show in full.
    #[arg(long, default_value_t = 1, value_name = "N")]
    show: usize,
    #[command(flatten)]
    format: Format,
}

/// What a replay found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The sums.
    pub comparison: Comparison,
    /// What was answered otherwise than then.
    pub differences: Vec<Difference>,
    /// What another configuration decides otherwise; empty without one.
    pub changes: Vec<Change>,
    /// Upcalls that another configuration decides otherwise.
    pub upcalls_changed: u64,
    /// Batches that the recording lacks.
    pub gaps: u64,
    /// Why the recording ended, if in good order.
    pub ended: Option<String>,
    /// What is wrong with the file.
    pub damage: Option<RecordingError>,
}

/// A decision that another configuration makes otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The first packet's flow.
    pub flow: String,
    /// What the recorded configuration does.
    pub recorded: String,
    /// What the other one does.
    pub other: String,
    /// Upcalls of it.
    pub upcalls: u64,
}

impl Outcome {
    /// Whether all was answered as it was then, and the file is whole.
    pub fn is_well(&self) -> bool {
        self.differences.is_empty() && self.damage.is_none()
    }
}

/// Walks the road of `recording`; `other` is a configuration to be set beside the recorded one.
/// `progress` is told how many bytes of the file are behind.
///
/// # Errors
/// When the recorded configuration makes no sense.
pub fn replay(
    recording: Recording,
    other: Option<Config>,
    mut progress: impl FnMut(usize),
) -> Result<Outcome, ConfigError> {
    let mut road = Road::new(&recording, None);
    let mut detour = other.map(|other| Road::new(&recording, Some(other)));
    let families = road.families();
    let mut replay = replay::Replay::new(recording);
    let mut ring = RecvRing::new(UPCALL_BATCH);
    let mut outcome = Outcome::default();
    let mut changes = Changes::default();
    loop {
        match replay.step(&mut ring) {
            Step::Config(text) => {
                if let Some(detour) = &mut detour {
                    detour.set_config(text.clone());
                }
                road.set_config(text);
            }
            Step::Ports(ports) => {
                road.set_ports(&ports);
                detour.iter_mut().for_each(|detour| detour.set_ports(&ports));
            }
            Step::Batch { handler, batch, now_ms } => {
                let recorded = replay.recorded().to_vec();
                let answers = road.decide(handler, now_ms, &ring, &recorded)?;
                outcome.comparison.upcalls += ring.len() as u64;
                outcome.comparison.batch((handler, batch), &recorded, answers.bytes(), families);
                if let Some(detour) = &mut detour {
                    let others = detour.decide(handler, now_ms, &ring, &[])?;
                    changes.batch(&ring, &answers, &others, road.names(), families);
                    detour.settle(handler, &others, &[]);
                }
                // Refusals name messages of then; those of now stand in the same places.
                let index = |wanted| recorded.iter().position(|message| seq(message) == wanted);
                let refused = replay.take_refused();
                let refused: Vec<(usize, i32)> = refused
                    .into_iter()
                    .filter_map(|(seq, errno)| Some((index(seq)?, errno)))
                    .collect();
                road.settle(handler, &answers, &refused);
                progress(replay.position());
            }
            Step::Learned(text) => {
                detour.iter_mut().for_each(|detour| detour.learn(&text));
                road.learn(&text);
            }
            Step::Overrun => {}
            Step::Gap(batches) => outcome.gaps += batches,
            Step::End(reason) => {
                outcome.ended = reason;
                break;
            }
        }
    }
    outcome.differences = outcome.comparison.finish(road.names(), families);
    outcome.damage = replay.damage().cloned();
    (outcome.changes, outcome.upcalls_changed) = changes.finish();
    Ok(outcome)
}

/// Collects what another configuration decides otherwise.
#[derive(Default)]
struct Changes {
    by_decision: BTreeMap<(String, String, String), usize>,
    list: Vec<Change>,
    upcalls: u64,
}

impl Changes {
    fn batch(
        &mut self,
        upcalls: &RecvRing,
        recorded: &Answers,
        other: &Answers,
        names: &PortNames,
        families: FamilyIds,
    ) {
        for ((upcall, recorded), other) in upcalls.iter().zip(recorded.each()).zip(other.each()) {
            let (then, now) = (Decision::of(recorded, families), Decision::of(other, families));
            if then.agrees(&now) {
                continue;
            }
            self.upcalls += 1;
            let key = upcall.ok().and_then(upcall_key).unwrap_or_default();
            let mut flow = String::new();
            format_key(key, None, Style { names: Some(names), verbose: false }, &mut flow);
            let (recorded, other) = (then.text(names), now.text(names));
            let place = then.megaflow(names).unwrap_or_else(|| flow.clone());
            let next = self.list.len();
            let at =
                *self.by_decision.entry((place, recorded.clone(), other.clone())).or_insert(next);
            if at == next {
                self.list.push(Change { flow, recorded, other, upcalls: 0 });
            }
            if let Some(change) = self.list.get_mut(at) {
                change.upcalls += 1;
            }
        }
    }

    fn finish(self) -> (Vec<Change>, u64) {
        (self.list, self.upcalls)
    }
}

/// What was decided for one upcall.
struct Decision<'a> {
    put: Option<Said<'a>>,
    /// What is done with the packet; nothing when it is dropped.
    actions: &'a [u8],
}

impl<'a> Decision<'a> {
    fn of(messages: &'a [u8], families: FamilyIds) -> Self {
        let mut decision = Self { put: None, actions: &[] };
        for message in split(messages) {
            match Said::parse(message, families) {
                put @ Said::Put { .. } => decision.put = Some(put),
                Said::Execute { actions, .. } => decision.actions = actions,
                Said::Other(_) => {}
            }
        }
        decision
    }

    /// Whether packet and flow go the same way. Where only one of them put a flow, the other had it
    /// already.
    fn agrees(&self, other: &Self) -> bool {
        let same_flow = match (&self.put, &other.put) {
            (
                Some(Said::Put { mask, actions, .. }),
                Some(Said::Put { mask: other_mask, actions: other_actions, .. }),
            ) => mask == other_mask && actions == other_actions,
            _ => true,
        };
        self.actions == other.actions && same_flow
    }

    fn megaflow(&self, names: &PortNames) -> Option<String> {
        let Some(Said::Put { key, mask, .. }) = &self.put else {
            return None;
        };
        let mut text = String::new();
        format_key(key, *mask, Style { names: Some(names), verbose: false }, &mut text);
        Some(text)
    }

    fn text(&self, names: &PortNames) -> String {
        let mut text = String::from("actions:");
        format_actions(self.actions, Some(names), &mut text);
        if let Some(megaflow) = self.megaflow(names) {
            let _ = write!(text, " for {megaflow}");
        }
        text
    }
}

impl Replay {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let recording = open(&self.file)?;
        let other =
            match &self.config {
                None => None,
                Some(path) => Some(standalone::load(path).map_err(|source| Failure::Config {
                    path: path.display().to_string(),
                    source,
                })?),
            };
        let bar = progress_bar(&self.file);
        let outcome = replay(recording, other, |bytes| bar.set_position(bytes as u64));
        bar.finish_and_clear();
        let outcome = outcome.map_err(|source| Failure::Config {
            path: format!("the configuration in {}", self.file.display()),
            source,
        })?;
        let compared = self.config.is_none();
        if self.format.json {
            print(&format!("{:#}\n", to_json(&outcome)))?;
        } else if compared {
            print(&self.text(&outcome))?;
        } else {
            print(&changes_text(&outcome))?;
        }
        // With another configuration differences are what was asked for.
        let is_well = if compared { outcome.is_well() } else { outcome.damage.is_none() };
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn text(&self, outcome: &Outcome) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for difference in outcome.differences.iter().take(self.show) {
            let nothing = || "nothing".to_owned();
            let _ = writeln!(
                text,
                "handler {}, batch {}:\n  then  {}\n  now   {}",
                difference.handler,
                difference.batch,
                difference.recorded.clone().unwrap_or_else(nothing),
                difference.replayed.clone().unwrap_or_else(nothing),
            );
        }
        let Comparison { upcalls, puts, executes, equal, elsewhere, .. } = &outcome.comparison;
        let _ = write!(
            text,
            "{upcalls} upcalls, {puts} flows put, {executes} packets sent: {equal} messages equal"
        );
        if *elsewhere > 0 {
            let _ = write!(text, " ({elsewhere} of them in another batch)");
        }
        let _ = writeln!(text, ", {} different", outcome.differences.len());
        text + &condition(outcome)
    }
}

/// What is to be said of the file itself.
fn condition(outcome: &Outcome) -> String {
    let mut text = String::new();
    if outcome.gaps > 0 {
        let _ = writeln!(
            text,
            "{} batches or answers are missing: the disk was too slow; differences may stem from that",
            outcome.gaps
        );
    }
    match (&outcome.damage, &outcome.ended) {
        (Some(damage), _) => {
            let _ = writeln!(text, "the file is damaged: {damage}");
        }
        (None, Some(reason)) if reason != "asked to" => {
            let _ = writeln!(text, "the recording ended: {reason}");
        }
        (None, Some(_)) => {}
        (None, None) => {
            text.push_str("the recording ends without its end: the daemon was killed\n")
        }
    }
    text
}

fn changes_text(outcome: &Outcome) -> String {
    let mut text = String::new();
    for change in &outcome.changes {
        let _ = writeln!(
            text,
            "{}{}\n  recorded  {}\n  other     {}",
            change.flow,
            if change.upcalls > 1 {
                format!(" (and {} upcalls more)", change.upcalls - 1)
            } else {
                String::new()
            },
            change.recorded,
            change.other
        );
    }
    let _ = writeln!(
        text,
        "{} of {} upcalls would have been decided otherwise",
        outcome.upcalls_changed, outcome.comparison.upcalls
    );
    text + &condition(outcome)
}

/// Differences in a JSON answer.
const JSON_DIFFERENCES_MAX: usize = 1000;

fn to_json(outcome: &Outcome) -> Value {
    let Comparison { upcalls, puts, executes, equal, elsewhere, .. } = &outcome.comparison;
    let differences = outcome.differences.iter().take(JSON_DIFFERENCES_MAX).map(|d| {
        json!({"handler": d.handler, "batch": d.batch, "recorded": d.recorded,
               "replayed": d.replayed})
    });
    let changes = outcome.changes.iter().take(JSON_DIFFERENCES_MAX).map(|change| {
        json!({"flow": change.flow, "recorded": change.recorded, "other": change.other,
               "upcalls": change.upcalls})
    });
    json!({
        "upcalls": upcalls, "puts": puts, "executes": executes, "equal": equal,
        "elsewhere": elsewhere, "different": outcome.differences.len(),
        "differences": Value::from_iter(differences),
        "upcalls_changed": outcome.upcalls_changed, "changes": Value::from_iter(changes),
        "gaps": outcome.gaps, "ended": outcome.ended,
        "damage": outcome.damage.as_ref().map(ToString::to_string),
    })
}

/// Reads a recording.
///
/// # Errors
/// When the file cannot be read, or is none.
pub fn open(path: &Path) -> Result<Recording, Failure> {
    let shown = path.display().to_string();
    let failed = |source| Failure::File { path: shown.clone(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > RECORDING_READ_BYTES_MAX {
        return Err(failed(std::io::Error::from_raw_os_error(libc::EFBIG)));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    Recording::parse(bytes).map_err(|source| Failure::Recording { path: shown, source })
}

fn progress_bar(path: &Path) -> ProgressBar {
    let length = std::fs::metadata(path).map_or(0, |meta| meta.len());
    if length < PROGRESS_BYTES_MIN || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("replay {wide_bar} {bytes}/{total_bytes} {eta}");
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
