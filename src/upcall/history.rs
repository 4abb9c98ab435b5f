//! The last deletions of flows, each with its reason, for whoever asks why a flow went.
//!
//! Bounded by [`HISTORY_MAX`]; the oldest is forgotten. The revalidator writes, the control socket
//! reads; a plain lock, held for a copy.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::limits::HISTORY_MAX;
use crate::odp::ufid::Ufid;

use super::ukey::{DeleteReason, Ukey};

/// One deletion.
#[derive(Clone, Debug)]
pub struct Deletion {
    /// Which flow.
    pub ufid: Ufid,
    /// Its key attributes.
    pub key: Box<[u8]>,
    /// Its mask attributes.
    pub mask: Box<[u8]>,
    /// Its action attributes.
    pub actions: Box<[u8]>,
    /// Why.
    pub reason: DeleteReason,
    /// When, monotonic milliseconds.
    pub at_ms: u64,
    /// When it was made, monotonic milliseconds.
    pub created_ms: u64,
    /// Packets it had forwarded.
    pub packets: u64,
}

/// See the module's page.
#[derive(Default)]
pub struct History {
    ring: Mutex<VecDeque<Deletion>>,
}

impl History {
    /// Notes that `ukey` was deleted.
    pub fn note(&self, ukey: &Ukey, reason: DeleteReason, at_ms: u64) {
        let deletion = Deletion {
            ufid: ukey.ufid,
            key: ukey.key().into(),
            mask: ukey.mask().unwrap_or_default().into(),
            actions: ukey.actions().into(),
            reason,
            at_ms,
            created_ms: ukey.created_ms,
            packets: ukey.stats.packets,
        };
        let mut ring = self.ring.lock().unwrap_or_else(|e| e.into_inner());
        if ring.len() == HISTORY_MAX {
            ring.pop_front();
        }
        ring.push_back(deletion);
    }

    /// The last `n`, youngest first.
    pub fn last(&self, n: usize) -> Vec<Deletion> {
        let ring = self.ring.lock().unwrap_or_else(|e| e.into_inner());
        ring.iter().rev().take(n).cloned().collect()
    }
}
