//! Every bound of the daemon in one place, each with its reason.
//!
//! A queue, a batch, a table or a loop that is not bounded here is a defect: what comes from
//! the kernel, a socket or a file may be as large as its sender likes.

/// Upcalls read by one `recvmmsg`. The peer's figure; beyond it the gain per message is lost in
/// the latency of the first.
pub const UPCALL_BATCH: usize = 64;

/// Receive buffer of an upcall socket, in bytes. A burst of first packets waits here while its
/// handler is busy. The kernel doubles the figure and counts one to two KiB for a small packet, so
/// this is several thousand of them, some tens of milliseconds of work. The peer takes 1 MiB.
pub const UPCALL_RCVBUF_BYTES: usize = 4 << 20;

/// Port or device events that a reader may fall behind before it has to ask for everything anew.
pub const PORT_EVENTS_MAX: usize = 4096;
