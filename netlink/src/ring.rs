//! Memory for many datagrams received by one system call: what upcalls are borrowed from.
//!
//! What always holds: nothing is allocated after [`RecvRing::new`]; a datagram is either whole or
//! reported as truncated, never a silent part.
//!
//! One thread at a time, normally the one that reads a socket.

use std::io;
use std::os::fd::BorrowedFd;

use crate::error::RecvError;
use crate::sys::{self, RecvHeaders};

/// Room for a packet attribute of the greatest length and a few KiB of key, user data and headers;
/// the odd cache lines keep the beginnings of the slots out of each other's cache sets.
const DEFAULT_SLOT: usize = (68 << 10) + 7 * 64;

/// Slots for datagrams, filled by [`Socket::recv_batch`](crate::socket::Socket::recv_batch).
///
/// Memory that no datagram ever reached is not backed by pages, so the default of 64 slots costs a
/// few hundred KiB rather than 4.4 MiB.
pub struct RecvRing {
    headers: RecvHeaders,
    memory: Vec<u8>,
    slot: usize,
    filled: usize,
}

impl RecvRing {
    /// For up to `slots` datagrams a call, each up to 68 KiB.
    pub fn new(slots: usize) -> Self {
        Self::with_slot(slots, DEFAULT_SLOT)
    }

    /// For up to `slots` datagrams a call, each up to `slot` bytes.
    pub fn with_slot(slots: usize, slot: usize) -> Self {
        let slot = slot.max(1);
        let memory = vec![0; slots.saturating_mul(slot)];
        Self { headers: RecvHeaders::new(slots), memory, slot, filled: 0 }
    }

    /// How many datagrams the last call brought.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether the last call brought none.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Datagram `index` of the last call.
    ///
    /// # Errors
    /// [`RecvError::Truncated`] when it did not fit into its slot.
    pub fn get(&self, index: usize) -> Option<Result<&[u8], RecvError>> {
        if index >= self.filled {
            return None;
        }
        let (len, truncated) = self.headers.outcome(index)?;
        let start = index * self.slot;
        match self.memory.get(start..start + len.min(self.slot)) {
            Some(datagram) if !truncated && len <= self.slot => Some(Ok(datagram)),
            _ => Some(Err(RecvError::Truncated { len })),
        }
    }

    /// The datagrams of the last call.
    pub fn iter(&self) -> impl Iterator<Item = Result<&[u8], RecvError>> {
        (0..self.filled).filter_map(|i| self.get(i))
    }

    /// Forgets the datagrams.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Adds a datagram that came another way than over a socket: from a recording, or from a made-up
    /// kernel. One longer than a slot is kept as truncated. False, and nothing done, when all slots
    /// are taken.
    pub fn push(&mut self, datagram: &[u8]) -> bool {
        let start = self.filled * self.slot;
        let kept = datagram.len().min(self.slot);
        let (Some(slot), Some(source)) =
            (self.memory.get_mut(start..start + kept), datagram.get(..kept))
        else {
            return false;
        };
        slot.copy_from_slice(source);
        let taken = self.headers.set_outcome(self.filled, datagram.len(), kept < datagram.len());
        self.filled += usize::from(taken);
        taken
    }

    /// Receives what is there, with `wait` waiting for the first as long as the socket is set to.
    pub(crate) fn fill(&mut self, fd: BorrowedFd<'_>, wait: bool) -> io::Result<usize> {
        self.filled = 0;
        self.filled = sys::recvmmsg(fd, &mut self.headers, &mut self.memory, self.slot, wait)?;
        Ok(self.filled)
    }
}

impl std::fmt::Debug for RecvRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slots = self.memory.len() / self.slot;
        write!(f, "RecvRing {{ filled: {} of {slots} slots of {} bytes }}", self.filled, self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_read_as_if_received() {
        let mut ring = RecvRing::with_slot(2, 4);
        assert!(ring.push(b"abc") && ring.push(b"abcde") && !ring.push(b"x"));
        assert_eq!(ring.get(0).unwrap().unwrap(), b"abc");
        assert!(matches!(ring.get(1), Some(Err(RecvError::Truncated { len: 5 }))));
        assert!(ring.get(2).is_none());
        ring.clear();
        assert!(ring.is_empty() && ring.push(b""));
    }
}
