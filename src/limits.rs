//! Every bound of the daemon in one place, each with its reason.
//!
//! A queue, a batch, a table or a loop that is not bounded here is a defect: what comes from
//! the kernel, a socket or a file may be as large as its sender likes.

/// Upcalls read by one `recvmmsg`. The peer's figure; beyond it the gain per message is lost in
/// the latency of the first.
pub const UPCALL_BATCH: usize = 64;

/// Changed dependencies remembered one by one; past that the revalidator looks at every flow. A
/// tag costs some 16 bytes, and a round with so many is hardly cheaper than a full one.
pub const CHANGES_MAX: usize = 65_536;

/// Shards of the table of installed flows: enough that handlers on many CPUs seldom meet.
pub const UKEY_SHARDS: usize = 64;

/// Deleted flows remembered with their reasons.
pub const HISTORY_MAX: usize = 1_024;

/// Changes of which the tags are remembered in order, for handlers that install a flow just when
/// what it rests on changes. More than a batch of upcalls can cause by learning.
pub const CHANGES_LOG: usize = 4_096;

/// Upcalls that a handler keeps waiting in its own memory when they come faster than it can serve
/// them; beyond that the port with the longest queue loses its youngest.
pub const FAIR_QUEUE_MAX: usize = 4_096;

/// Unknown flows looked at in one round of the revalidator; the rest waits for the next.
pub const UNKNOWN_FLOWS_MAX: usize = 10_000;

/// Largest configuration file read: thousands of ports take some hundred kilobytes.
pub const CONFIG_FILE_MAX: u64 = 16 << 20;
