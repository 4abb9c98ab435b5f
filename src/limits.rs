//! Every bound of the daemon in one place, each with its reason.
//!
//! A queue, a batch, a table or a loop that is not bounded here is a defect: what comes from
//! the kernel, a socket or a file may be as large as its sender likes.

/// Upcalls read by one `recvmmsg`. The peer's figure; beyond it the gain per message is lost in
/// the latency of the first.
pub const UPCALL_BATCH: usize = 64;

/// Longest field of a log pattern (`%-9999m`). Longer than any sensible column; a typing mistake
/// must not fill the disk.
pub const VLOG_FIELD_WIDTH_MAX: usize = 512;

/// Bytes read of a time zone file. The largest of tzdata has under 4 KiB.
pub const ZONE_FILE_MAX: u64 = 256 * 1024;

/// Bytes of one request on the control socket. The longest honest one carries a 64 KiB packet in
/// hexadecimal digits beside a flow.
pub const UNIXCTL_REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one answer that our own client takes: a dump of some hundred thousand flows.
pub const UNIXCTL_ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Clients on the control socket at once. Beyond it the one idle for longest is closed, so that
/// forgotten connections never lock an operator out.
pub const UNIXCTL_CONNECTIONS_MAX: usize = 64;

/// Clients that may wait to be accepted: the peer's figure.
pub const UNIXCTL_BACKLOG: i32 = 64;

/// Signals that may wait for the control thread; more of them ask for nothing new.
pub const SIGNALS_PENDING_MAX: usize = 8;
