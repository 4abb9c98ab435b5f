//! Every bound of the daemon in one place, each with its reason.
//!
//! A queue, a batch, a table or a loop that is not bounded here is a defect: what comes from
//! the kernel, a socket or a file may be as large as its sender likes.

/// Upcalls read by one `recvmmsg`. The peer's figure; beyond it the gain per message is lost in
/// the latency of the first.
pub const UPCALL_BATCH: usize = 64;
