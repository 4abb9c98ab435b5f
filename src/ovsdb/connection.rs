//! The connection's thread: socket, reconnecting, and the session between them.
//!
//! What always holds: nothing read is answered before what came earlier is applied; what cannot
//! be sent yet waits without keeping us from reading. Ends when the client is dropped.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::Event;
use super::outbox::Outbox;
use super::reconnect::{Action, Loss, Reconnect};
use super::remote::Remote;
use super::session::{Session, SessionError, SessionEvent};
use super::stream::{Stream, connect};
use super::tls::TlsFiles;
use super::transaction::{Transaction, TxnId};
use super::updates::UpdateError;
use crate::limits::OVSDB_MESSAGE_BYTES_MAX;
use crate::unixctl::framing::{FrameError, Framer};
use crate::vlog::{self, RateLimit};

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

static RL: RateLimit = RateLimit::new(5, 5);
static SYNTAX_RL: RateLimit = RateLimit::new(1, 5);

/// A transaction to be sent.
pub type Command = (TxnId, Transaction);

type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>>>>;

enum Link {
    Down,
    Connecting(Connecting),
    Up(Box<Up>),
}

struct Up {
    read: ReadHalf<Box<dyn Stream>>,
    write: WriteHalf<Box<dyn Stream>>,
    framer: Framer,
    buffer: Box<[u8]>,
    /// Bytes to be sent, and how many of them were.
    output: Vec<u8>,
    sent: usize,
    /// Written, but perhaps not all on its way.
    is_dirty: bool,
}

/// What the link did.
enum Happened {
    Connected(Box<dyn Stream>),
    /// So many bytes are in the buffer.
    Read(usize),
    /// All that waited is sent.
    Sent,
    Lost(Loss),
}

/// The thread's state.
pub struct Connection {
    remotes: Vec<Remote>,
    next_remote: usize,
    tls: Option<TlsFiles>,
    session: Session,
    reconnect: Reconnect,
    name: String,
    link: Link,
    commands: mpsc::Receiver<Command>,
    outbox: Arc<Outbox>,
    begin: Instant,
    has_lock: bool,
    is_connected: bool,
}

impl Connection {
    /// To be called inside a runtime. `remotes` must not be empty.
    pub fn new(
        remotes: Vec<Remote>,
        lock: Option<String>,
        tls: Option<TlsFiles>,
        commands: mpsc::Receiver<Command>,
        outbox: Arc<Outbox>,
    ) -> Connection {
        Connection {
            reconnect: Reconnect::new(0, remotes.len()),
            remotes,
            next_remote: 0,
            tls,
            has_lock: lock.is_none(),
            session: Session::new(lock),
            name: String::new(),
            link: Link::Down,
            commands,
            outbox,
            begin: Instant::now(),
            is_connected: false,
        }
    }

    /// Serves the client until it is dropped.
    pub async fn run(mut self) {
        loop {
            match self.reconnect.run(self.now_ms()) {
                Action::Nothing => {}
                Action::Connect => self.connect(),
                Action::Disconnect => self.lose(Loss::Ours),
                Action::Probe => self.session.probe(),
            }
            self.publish().await;
            if let Link::Up(up) = &mut self.link {
                up.queue(self.session.take_output());
            }
            let deadline = self.reconnect.deadline_ms();
            let deadline = deadline.map(|ms| self.begin + Duration::from_millis(ms));
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some((id, transaction)) => self.session.commit(id, &transaction),
                    None => return,
                },
                happened = self.link.happens() => self.handle(happened),
                () = sleep_until(deadline) => {}
                () = self.outbox.drained() => {}
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn connect(&mut self) {
        let Some(remote) = self.remotes.get(self.next_remote) else { return };
        self.next_remote = (self.next_remote + 1) % self.remotes.len();
        self.name = remote.to_string();
        self.reconnect.set_remote(self.name.clone(), remote.needs_probes());
        self.reconnect.connecting(self.now_ms());
        let target = remote.target().clone();
        self.link = Link::Connecting(Box::pin(connect(target, self.tls.clone())));
    }

    fn lose(&mut self, loss: Loss) {
        self.link = Link::Down;
        self.session.disconnected();
        self.reconnect.disconnected(self.now_ms(), &loss);
    }

    fn handle(&mut self, happened: Happened) {
        let now_ms = self.now_ms();
        match happened {
            Happened::Connected(stream) => {
                self.reconnect.connected(now_ms);
                self.link = Link::Up(Box::new(Up::new(stream)));
                self.session.connected();
            }
            Happened::Read(bytes) => {
                self.reconnect.activity(now_ms);
                if let Err(loss) = self.receive(bytes) {
                    self.lose(loss);
                }
            }
            Happened::Sent => self.reconnect.activity(now_ms),
            Happened::Lost(loss) => self.lose(loss),
        }
    }

    /// Takes `bytes` bytes from the link's buffer.
    fn receive(&mut self, bytes: usize) -> Result<(), Loss> {
        let Link::Up(up) = &mut self.link else { return Ok(()) };
        up.framer.feed(up.buffer.get(..bytes).unwrap_or_default());
        loop {
            let text = match up.framer.next_text() {
                Ok(Some(text)) => text,
                Ok(None) => return Ok(()),
                Err(error) => return Err(garbage(&self.name, &error)),
            };
            if let Err(error) = self.session.receive(&text) {
                return Err(nonsense(&self.name, &error));
            }
        }
    }

    /// Hands over what happened.
    async fn publish(&mut self) {
        self.outbox.has_room().await;
        while let Some(event) = self.session.next_event() {
            let event = match event {
                SessionEvent::Updated { changes, all } => {
                    let is_writable = self.is_connected && self.has_lock;
                    let replica = self.session.replica();
                    self.outbox.push_changes(changes, all, replica, is_writable);
                    continue;
                }
                SessionEvent::Connected => {
                    self.is_connected = true;
                    Event::Connected
                }
                SessionEvent::Disconnected => {
                    self.is_connected = false;
                    Event::Disconnected
                }
                SessionEvent::Lock(has_lock) => {
                    self.has_lock = has_lock;
                    Event::Lock(has_lock)
                }
                SessionEvent::Committed(id, outcome) => Event::Committed(id, outcome),
            };
            self.outbox.push(event, self.is_connected && self.has_lock);
        }
    }
}

fn garbage(name: &str, error: &FrameError) -> Loss {
    vlog::limited!(WARN, target: "jsonrpc", &RL, "{name}: error parsing stream: {error}");
    Loss::Error(io::Error::from_raw_os_error(libc::EPROTO))
}

fn nonsense(name: &str, error: &SessionError) -> Loss {
    match error {
        SessionError::Unfit(_) => {
            vlog::limited!(INFO, target: "ovsdb_cs", &RL, "{name}: {error}");
            return Loss::Ours;
        }
        SessionError::Update(UpdateError::Missing { .. }) => {
            vlog::limited!(WARN, target: "ovsdb_idl", &RL, "{name}: {error}");
            return Loss::Ours;
        }
        SessionError::Update(_) | SessionError::Schema(_) => {
            vlog::limited!(WARN, target: "ovsdb_cs", &SYNTAX_RL, "{name}: {error}");
        }
        SessionError::Refused { .. } => {
            vlog::limited!(INFO, target: "ovsdb_cs", &RL, "{name}: {error}");
        }
        SessionError::Message(_) | SessionError::Malformed(_) | SessionError::Backlog => {
            vlog::limited!(WARN, target: "jsonrpc", &RL, "{name}: {error}");
        }
    }
    Loss::Error(io::Error::from_raw_os_error(libc::EPROTO))
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Link {
    /// Waits for something to happen. Loses nothing when dropped.
    async fn happens(&mut self) -> Happened {
        match self {
            Link::Down => std::future::pending().await,
            Link::Connecting(connecting) => match connecting.await {
                Ok(stream) => Happened::Connected(stream),
                Err(error) => Happened::Lost(Loss::Error(error)),
            },
            Link::Up(up) => up.happens().await,
        }
    }
}

impl Up {
    fn new(stream: Box<dyn Stream>) -> Up {
        let (read, write) = tokio::io::split(stream);
        Up {
            read,
            write,
            framer: Framer::new(OVSDB_MESSAGE_BYTES_MAX),
            buffer: vec![0; READ_BYTES].into(),
            output: Vec::new(),
            sent: 0,
            is_dirty: false,
        }
    }

    fn queue(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        if self.output.is_empty() {
            self.output = bytes;
        } else {
            self.output.drain(..std::mem::take(&mut self.sent));
            self.output.extend(bytes);
        }
    }

    async fn happens(&mut self) -> Happened {
        let Up { read, write, buffer, output, sent, is_dirty, .. } = self;
        tokio::select! {
            biased;
            read = read.read(buffer) => match read {
                Ok(0) => Happened::Lost(Loss::Closed),
                Ok(bytes) => Happened::Read(bytes),
                Err(error) => Happened::Lost(Loss::Error(error)),
            },
            result = send(write, output, sent, is_dirty), if !output.is_empty() || *is_dirty => {
                match result {
                    Ok(()) => Happened::Sent,
                    Err(error) => Happened::Lost(Loss::Error(error)),
                }
            }
        }
    }
}

/// Sends all of `output`; may be dropped and begun again.
async fn send(
    write: &mut WriteHalf<Box<dyn Stream>>,
    output: &mut Vec<u8>,
    sent: &mut usize,
    is_dirty: &mut bool,
) -> io::Result<()> {
    while let Some(rest) = output.get(*sent..).filter(|rest| !rest.is_empty()) {
        match write.write(rest).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            bytes => *sent += bytes,
        }
        *is_dirty = true;
    }
    output.clear();
    *sent = 0;
    write.flush().await?;
    *is_dirty = false;
    Ok(())
}
