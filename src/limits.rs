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

/// Handlers, and revalidators, that can be asked for: more than there are CPUs anywhere.
pub const THREADS_MAX: usize = 1_024;

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

/// Receive buffer of an upcall socket, in bytes. A burst of first packets waits here while its
/// handler is busy. The kernel doubles the figure and counts one to two KiB for a small packet, so
/// this is several thousand of them, some tens of milliseconds of work. The peer takes 1 MiB.
pub const UPCALL_RCVBUF_BYTES: usize = 4 << 20;

/// Port or device events that a reader may fall behind before it has to ask for everything anew.
pub const PORT_EVENTS_MAX: usize = 4096;

/// Receive buffer of a socket for requests to the datapath, in bytes: answers to a whole batch of
/// flow operations (doubled by the kernel, some 4 KiB each) fit.
pub const REQUEST_RCVBUF_BYTES: usize = 1 << 20;

/// Flow operations sent by one system call. The gain per operation is gone beyond some tens; the
/// kernel holds its lock for each operation singly.
pub const FLOW_OPS_BATCH: usize = 64;

/// Batches on their way from the handlers to the file of a recording. Beyond it they are left out
/// and counted, rather than that a slow disk holds packets up.
pub const RECORD_QUEUE: usize = 1024;

/// Default size at which a recording ends, in bytes.
pub const RECORDING_BYTES: u64 = 256 << 20;

/// Largest recording that is read, in bytes; it is held in memory whole.
pub const RECORDING_READ_BYTES_MAX: u64 = 2 << 30;

/// Times that a dump which changes interrupt is started anew.
pub const DUMP_ATTEMPTS: u32 = 8;

/// Longest datagram of a terse dump, of some hundred bytes a flow: where the kernel is not preemptible no
/// handler has the CPU while it fills one, and a tenth of a millisecond is enough.
pub const TERSE_DUMP_DATAGRAM_BYTES: usize = 7 << 10;

/// Sockets for requests kept open while nobody needs them: one a thread that dumps or changes flows.
pub const IDLE_SOCKETS_MAX: usize = 16;

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

/// Subtables of one classifier for which a prefix trie tells one by one whether they are worth
/// probing; for those beyond it knows only the prefix length. Bits on the stack of a lookup, a set
/// for each trie: 1 KiB in all. Tables with more masks than this are rare and already slow.
pub const CLASSIFIER_TRACKED_SUBTABLES: usize = 2048;

/// Bridges that a packet may be passed on to in a row. The peer's figure; no sensible set of bridges
/// is deeper.
pub const XLATE_DEPTH_MAX: usize = 64;

/// Tables that one packet may be looked up in: the peer's figure.
pub const XLATE_RESUBMITS_MAX: usize = 4096;

/// Bytes of one message from the database server. A database of a quarter of a million ports is told
/// in some 100 MiB at the beginning; its rows take some ten times as much memory.
pub const OVSDB_MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Bytes waiting to be sent to the database server; beyond it the server does not read any more and
/// the connection is given up.
pub const OVSDB_BACKLOG_BYTES_MAX: usize = 64 << 20;

/// Transactions whose outcome is awaited at once. The control thread has a few at a time.
pub const OVSDB_TRANSACTIONS_MAX: usize = 1024;

/// Events that may wait for the control thread; then nothing more is read from the server. Changes
/// of rows are merged while they wait.
pub const OVSDB_EVENTS_MAX: usize = 4096;

/// Changed rows that the control thread puts into its replica one by one, some 0.1 ms of work; with
/// more it is handed a whole replica.
pub const OVSDB_DELTA_ROWS_MAX: usize = 64;

/// Bytes of a file with certificates or a key.
pub const PEM_FILE_MAX: u64 = 1 << 20;
