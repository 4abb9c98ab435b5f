//! Recording what passes between the kernel and the handlers.
//!
//! What always holds: a handler never waits for the disk (what the queue does not take is left out
//! and counted in the file); a recording ends by itself at its size limit; while none is made, a
//! handler pays one atomic read a call.
//!
//! A [`Tap`] is shared by all handlers and the control side; a thread of its own writes the file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::time::{ClockId, clock_gettime};
use ovs_netlink::ring::RecvRing;
use thiserror::Error;

use super::{
    Datapath, RecvError, SendError, UpcallPort,
    recording::{Head, RecordedPort, VERSION, Writer},
};
use crate::limits;

/// Bytes encoded before they are written to the file.
const WRITE_BYTES: usize = 256 << 10;

/// Where a recording can be switched on and off. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    on: AtomicBool,
    /// Items that the queue did not take since the last that it took.
    left_out: AtomicU64,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    queue: SyncSender<Item>,
    thread: JoinHandle<io::Result<Summary>>,
}

/// What became of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Bytes in the file.
    pub bytes: u64,
    /// Batches and answers recorded.
    pub items: u64,
    /// Batches and answers left out because the disk was too slow.
    pub left_out: u64,
    /// The size limit ended it.
    pub full: bool,
}

/// Why a recording could not be started or ended.
#[derive(Debug, Error)]
pub enum RecordError {
    /// One is being made already.
    #[error("a recording is being made already")]
    Running,
    /// None is being made.
    #[error("no recording is being made")]
    NotRunning,
    /// The file.
    #[error("writing the recording: {0}")]
    Io(#[from] io::Error),
}

/// Something to be recorded, with `CLOCK_MONOTONIC` milliseconds.
#[derive(Debug)]
enum Item {
    Batch { now_ms: u64, handler: u16, batch: u32, bytes: Vec<u8>, ends: Vec<usize> },
    Sent { now_ms: u64, handler: u16, batch: u32, messages: Vec<u8> },
    Refused { now_ms: u64, handler: u16, batch: u32, all: Vec<(u32, i32)> },
    Overrun { now_ms: u64, handler: u16 },
    Learned { now_ms: u64, text: String },
    Config { now_ms: u64, text: String },
    Ports { now_ms: u64, ports: Vec<RecordedPort> },
    Gap { now_ms: u64, items: u64 },
    Stop { now_ms: u64 },
}

impl Head {
    /// For a recording of `dp` that begins now; `ufid_secret` is written as hexadecimal digits.
    pub fn now(dp: &dyn Datapath, program: &str, ufid_secret: &[u8]) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            version: VERSION,
            program: program.to_owned(),
            datapath: dp.name().to_owned(),
            dp_ifindex: dp.dp_ifindex(),
            families: dp.families(),
            support: dp.support().clone(),
            ufid_secret: ufid_secret.iter().map(|b| format!("{b:02x}")).collect(),
            wall_ns: u64::try_from(wall.as_nanos()).unwrap_or(0),
            monotonic_ms: monotonic_ms(),
        }
    }
}

impl Tap {
    /// Starts a recording into a file that only its owner can read (it will hold packets).
    /// It ends at `bytes_max` or with [`Self::stop`].
    ///
    /// # Errors
    /// [`RecordError::Running`], or when the file cannot be written.
    pub fn start(
        &self,
        path: &Path,
        head: &Head,
        config: &str,
        ports: &[RecordedPort],
        bytes_max: u64,
    ) -> Result<(), RecordError> {
        let mut running = self.running();
        match running.take() {
            // One that ended at its limit may be followed by another.
            Some(old) if old.thread.is_finished() => (),
            Some(old) => {
                *running = Some(old);
                return Err(RecordError::Running);
            }
            None => (),
        }
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut writer = Writer::new(head);
        writer.config(head.monotonic_ms, config);
        writer.ports(head.monotonic_ms, ports);
        file.write_all(&writer.bytes)?;
        let summary = Summary { bytes: writer.bytes.len() as u64, ..Summary::default() };
        writer.bytes.clear();
        let (queue, items) = sync_channel(limits::RECORD_QUEUE);
        let disk = Disk { file, writer, summary, bytes_max, shared: self.shared.clone() };
        let thread = std::thread::Builder::new().name("record".to_owned());
        let thread = thread.spawn(move || disk.run(&items))?;
        *running = Some(Running { queue, thread });
        self.shared.left_out.store(0, Ordering::Relaxed);
        self.shared.on.store(true, Ordering::Release);
        Ok(())
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// [`RecordError::NotRunning`], or what went wrong with the file.
    pub fn stop(&self) -> Result<Summary, RecordError> {
        let Running { queue, thread } = self.running().take().ok_or(RecordError::NotRunning)?;
        self.shared.on.store(false, Ordering::Release);
        // It fails when the thread has ended already.
        let _ = queue.send(Item::Stop { now_ms: monotonic_ms() });
        drop(queue);
        let result = thread.join().unwrap_or_else(|_| Err(io::Error::other("writer panicked")));
        Ok(result?)
    }

    /// Whether a recording is being made.
    pub fn is_on(&self) -> bool {
        self.shared.on.load(Ordering::Acquire)
    }

    /// Notes that the configuration is another one from now on.
    pub fn config(&self, text: &str) {
        if self.is_on() {
            self.put(Item::Config { now_ms: monotonic_ms(), text: text.to_owned() });
        }
    }

    /// Notes an address that was learned from counters, in the words of `text`.
    pub fn learned(&self, text: impl FnOnce() -> String) {
        if self.is_on() {
            self.put(Item::Learned { now_ms: monotonic_ms(), text: text() });
        }
    }

    /// Notes that the ports are others from now on.
    pub fn ports(&self, ports: Vec<RecordedPort>) {
        if self.is_on() {
            self.put(Item::Ports { now_ms: monotonic_ms(), ports });
        }
    }

    /// Puts the tap on handlers' ports.
    pub fn wrap(&self, handlers: Vec<Box<dyn UpcallPort>>) -> Vec<Box<dyn UpcallPort>> {
        let one = |(n, inner)| {
            let handler = u16::try_from(n).unwrap_or(u16::MAX - 1);
            let tap = self.clone();
            Box::new(TappedPort { tap, inner, handler, batch: 0 }) as Box<dyn UpcallPort>
        };
        handlers.into_iter().enumerate().map(one).collect()
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, item: Item) {
        let running = self.running();
        let Some(Running { queue, .. }) = running.as_ref() else { return };
        let left_out = self.shared.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            let gap = Item::Gap { now_ms: monotonic_ms(), items: left_out };
            if queue.try_send(gap).is_err() {
                self.shared.left_out.fetch_add(left_out, Ordering::Relaxed);
            }
        }
        if let Err(TrySendError::Full(_)) = queue.try_send(item) {
            self.shared.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The thread that writes the file.
struct Disk {
    file: File,
    writer: Writer,
    summary: Summary,
    bytes_max: u64,
    shared: Arc<Shared>,
}

impl Disk {
    fn run(mut self, items: &Receiver<Item>) -> io::Result<Summary> {
        let result = self.write_all(items);
        self.shared.on.store(false, Ordering::Release);
        result.map(|()| self.summary)
    }

    fn write_all(&mut self, items: &Receiver<Item>) -> io::Result<()> {
        let mut last_ms = 0;
        loop {
            // Nothing is held back for long.
            let item = match items.recv_timeout(Duration::from_secs(1)) {
                Ok(item) => item,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    self.flush()?;
                    continue;
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    Item::Stop { now_ms: last_ms }
                }
            };
            let Some(now_ms) = self.encode(item) else {
                self.summary.left_out += self.shared.left_out.swap(0, Ordering::Relaxed);
                return self.flush();
            };
            last_ms = now_ms;
            if self.summary.bytes + self.writer.bytes.len() as u64 >= self.bytes_max {
                self.summary.full = true;
                self.writer.end(now_ms, "size limit");
                return self.flush();
            }
            if self.writer.bytes.len() >= WRITE_BYTES {
                self.flush()?;
            }
        }
    }

    /// Encodes an item and returns its time; nothing when it was the last.
    fn encode(&mut self, item: Item) -> Option<u64> {
        let w = &mut self.writer;
        self.summary.items += 1;
        Some(match item {
            Item::Batch { now_ms, handler, batch, bytes, ends } => {
                let mut start = 0;
                for end in ends {
                    w.upcall(now_ms, handler, batch, bytes.get(start..end).unwrap_or_default());
                    start = end;
                }
                now_ms
            }
            Item::Sent { now_ms, handler, batch, messages } => {
                w.sent(now_ms, handler, batch, &messages);
                now_ms
            }
            Item::Refused { now_ms, handler, batch, all } => {
                for (seq, errno) in all {
                    w.refused(now_ms, handler, batch, seq, errno);
                }
                now_ms
            }
            Item::Overrun { now_ms, handler } => {
                w.overrun(now_ms, handler);
                now_ms
            }
            Item::Learned { now_ms, text } => {
                w.learned(now_ms, &text);
                now_ms
            }
            Item::Config { now_ms, text } => {
                w.config(now_ms, &text);
                now_ms
            }
            Item::Ports { now_ms, ports } => {
                w.ports(now_ms, &ports);
                now_ms
            }
            Item::Gap { now_ms, items } => {
                self.summary.left_out += items;
                w.gap(now_ms, items);
                now_ms
            }
            Item::Stop { now_ms } => {
                self.summary.items -= 1;
                w.end(now_ms, "asked to");
                return None;
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.writer.bytes)?;
        self.summary.bytes += self.writer.bytes.len() as u64;
        self.writer.bytes.clear();
        Ok(())
    }
}

/// A handler's port with a tap on it.
struct TappedPort {
    tap: Tap,
    inner: Box<dyn UpcallPort>,
    handler: u16,
    batch: u32,
}

impl UpcallPort for TappedPort {
    fn recv(&mut self, ring: &mut RecvRing, timeout: Duration) -> Result<usize, RecvError> {
        let result = self.inner.recv(ring, timeout);
        if !self.tap.is_on() {
            return result;
        }
        let (now_ms, handler) = (monotonic_ms(), self.handler);
        match result {
            Ok(n) if n > 0 => {
                self.batch = self.batch.wrapping_add(1);
                let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(n));
                for datagram in ring.iter().filter_map(Result::ok) {
                    bytes.extend_from_slice(datagram);
                    ends.push(bytes.len());
                }
                self.tap.put(Item::Batch { now_ms, handler, batch: self.batch, bytes, ends });
            }
            Err(RecvError::Overrun) => self.tap.put(Item::Overrun { now_ms, handler }),
            _ => (),
        }
        result
    }

    fn send(&mut self, messages: &[u8]) -> Result<(), SendError> {
        if self.tap.is_on() {
            let (now_ms, handler, batch) = (monotonic_ms(), self.handler, self.batch);
            self.tap.put(Item::Sent { now_ms, handler, batch, messages: messages.to_vec() });
        }
        self.inner.send(messages)
    }

    fn errors(&mut self, each: &mut dyn FnMut(u32, i32)) {
        if !self.tap.is_on() {
            return self.inner.errors(each);
        }
        let mut all = Vec::new();
        self.inner.errors(&mut |seq, errno| {
            all.push((seq, errno));
            each(seq, errno);
        });
        if !all.is_empty() {
            let (now_ms, handler, batch) = (monotonic_ms(), self.handler, self.batch);
            self.tap.put(Item::Refused { now_ms, handler, batch, all });
        }
    }
}

fn monotonic_ms() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |t| Duration::from(t).as_millis())
        .try_into()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::{
        PortKind,
        fake::FakeKernel,
        recording::{Event, Recording},
    };

    fn fixture() -> (FakeKernel, Box<dyn UpcallPort>, Tap, tempfile::TempDir, Head) {
        let kernel = FakeKernel::new();
        let dp = kernel.open("ovs-system", true).unwrap();
        kernel.add_device("v1").unwrap();
        dp.port_add("v1", PortKind::Netdev, None).unwrap();
        let tap = Tap::default();
        let port = tap.wrap(dp.open_handlers(1).unwrap()).remove(0);
        (kernel, port, tap, tempfile::tempdir().unwrap(), Head::now(&dp, "rovs", &[0xab]))
    }

    #[test]
    fn upcalls_and_answers_are_in_the_file() {
        let (kernel, mut port, tap, dir, head) = fixture();
        let path = dir.path().join("r.pcap");
        let mut ring = RecvRing::new(4);
        // Nothing before the start.
        kernel.inject("v1", &[1; 60]);
        assert_eq!(port.recv(&mut ring, Duration::ZERO), Ok(1));
        tap.start(&path, &head, "[bridge]", &[], 1 << 20).unwrap();
        assert!(matches!(tap.start(&path, &head, "", &[], 1), Err(RecordError::Running)));
        kernel.inject("v1", &[2; 60]);
        kernel.inject("v1", &[3; 61]);
        assert_eq!(port.recv(&mut ring, Duration::ZERO), Ok(2));
        let received: Vec<Vec<u8>> = ring.iter().map(|d| d.unwrap().to_vec()).collect();
        // A message of a family that is not there is refused.
        let message = [&[20, 0, 0, 0, 99, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0][..], &[0; 4]].concat();
        port.send(&message).unwrap();
        let mut refused = Vec::new();
        port.errors(&mut |seq, errno| refused.push((seq, errno)));
        tap.config("[other]");
        let summary = tap.stop().unwrap();
        assert!(matches!(tap.stop(), Err(RecordError::NotRunning)));
        let file = std::fs::read(&path).unwrap();
        assert_eq!((summary.bytes, summary.items), (file.len() as u64, 4));
        assert!(!summary.full && summary.left_out == 0);

        let recording = Recording::parse(file).unwrap();
        assert_eq!((&recording.head, &recording.head.ufid_secret[..]), (&head, "ab"));
        let events: Vec<_> = recording.frames().map(|f| f.unwrap().event).collect();
        let (handler, batch) = (0, 1);
        assert_eq!(
            events,
            [
                Event::Config("[bridge]"),
                Event::Ports("[]"),
                Event::Upcall { handler, batch, datagram: &received[0] },
                Event::Upcall { handler, batch, datagram: &received[1] },
                Event::Sent { handler, batch, message: &message },
                Event::Refused { handler, batch, seq: refused[0].0, errno: refused[0].1 },
                Event::Config("[other]"),
                Event::End { reason: "asked to" },
            ]
        );
    }

    #[test]
    fn it_ends_at_its_limit() {
        let (kernel, mut port, tap, dir, head) = fixture();
        let path = dir.path().join("r.pcap");
        tap.start(&path, &head, "", &[], 20_000).unwrap();
        let mut ring = RecvRing::new(4);
        for _ in 0..100 {
            kernel.inject("v1", &[1; 1000]);
            assert_eq!(port.recv(&mut ring, Duration::ZERO), Ok(1));
        }
        let summary = tap.stop().unwrap();
        assert!(summary.full && summary.bytes >= 20_000 && summary.bytes < 23_000, "{summary:?}");
        let recording = Recording::parse(std::fs::read(&path).unwrap()).unwrap();
        let last = recording.frames().last().unwrap().unwrap();
        assert_eq!(last.event, Event::End { reason: "size limit" });
    }
}
