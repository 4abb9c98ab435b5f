//! The server: one listening socket, a task per connection.
//!
//! What always holds: a new client is let in even when idle ones hold every place (the one that
//! has been quiet longest loses its own); a connection that breaks the protocol is closed and
//! logged; the socket's file is removed when the server is dropped.
//!
//! Threads: the control thread only; run it inside a `LocalSet`.

use super::builtin::{SET_OPTIONS, set_options};
use super::framing::{FrameError, Framer};
use super::message::{Request, RequestError, encode_answer};
use super::registry::{Format, Output, Registry, Reply, encode};
use crate::coverage::counter;
use crate::limits::{UNIXCTL_BACKLOG, UNIXCTL_CONNECTIONS_MAX, UNIXCTL_REQUEST_BYTES_MAX};
use crate::strerror::strerror;
use crate::vlog::{self, RateLimit};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::AbortHandle;

static RL: RateLimit = RateLimit::new(5, 5);

counter!(static UNIXCTL_RECEIVED = "unixctl_received");
counter!(static UNIXCTL_REPLIED = "unixctl_replied");

/// Length of an answer that the control thread encodes itself.
const ANSWER_BYTES_AT_ONCE: usize = 64 * 1024;

/// Longest path that a `sockaddr_un` takes, with its NUL.
const UNIX_PATH_MAX: usize = 108;

/// A bound control socket.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    listener: Option<std::os::unix::net::UnixListener>,
    registry: Registry,
    busy: Rc<Cell<usize>>,
}

/// The control socket could not be made. The text is the peer's, which scripts look for.
#[derive(Debug, Error)]
#[error("{}: could not initialize control socket ({})", path.display(), strerror(source))]
pub struct ServerError {
    path: PathBuf,
    source: io::Error,
}

impl Server {
    /// Binds `path`, in place of whatever has that name, for the user and the group.
    ///
    /// # Errors
    /// [`ServerError`], also logged.
    pub fn bind(path: &Path, registry: Registry) -> Result<Server, ServerError> {
        match listen_on(path) {
            Ok(listener) => {
                let busy = Rc::default();
                Ok(Server { path: path.to_owned(), listener: Some(listener), registry, busy })
            }
            Err(source) => {
                let text = strerror(&source);
                tracing::error!(target: "stream_unix", "{}: binding failed: {text}", path.display());
                Err(ServerError { path: path.to_owned(), source })
            }
        }
    }

    /// The socket's name in the file system.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Requests that were read and whose answers are not yet sent; changes while the server runs.
    pub fn busy(&self) -> Rc<Cell<usize>> {
        self.busy.clone()
    }

    /// Serves clients until dropped. Must run inside a `LocalSet` of a current-thread runtime.
    pub async fn run(mut self) -> io::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let listener = UnixListener::from_std(listener)?;
        let mut connections = Connections::default();
        let mut number = 0u64;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    number += 1;
                    connections.make_room();
                    let activity = Rc::new(Activity::default());
                    let connection = Connection {
                        name: format!("unix#{number}"),
                        stream,
                        framer: Framer::new(UNIXCTL_REQUEST_BYTES_MAX),
                        registry: self.registry.clone(),
                        format: Format::Text,
                        activity: activity.clone(),
                        busy: self.busy.clone(),
                    };
                    let task = tokio::task::spawn_local(connection.run());
                    connections.add(Place { task: task.abort_handle(), activity });
                }
                Err(error) => {
                    let (path, text) = (self.path.display(), strerror(&error));
                    vlog::limited!(WARN, target: "unixctl", &RL, "punix:{path}: accept failed: {text}");
                    // Out of descriptors: the client stays in the queue; do not spin on it.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn listen_on(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let _ = std::fs::remove_file(path);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // The mode of an unbound socket, less the umask, becomes that of its name.
    nix::sys::stat::fchmod(&fd, nix::sys::stat::Mode::from_bits_truncate(0o770))?;
    let directory = short_name(path)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(directory.name.as_path())?)?;
    listen(&fd, Backlog::new(UNIXCTL_BACKLOG)?)?;
    Ok(fd.into())
}

/// A name of a socket that fits into an address, by way of its directory's descriptor if need be.
pub(crate) struct ShortName {
    pub(crate) name: PathBuf,
    /// Must stay open while the name is used.
    _directory: Option<std::fs::File>,
}

pub(crate) fn short_name(path: &Path) -> io::Result<ShortName> {
    if path.as_os_str().len() < UNIX_PATH_MAX {
        return Ok(ShortName { name: path.to_owned(), _directory: None });
    }
    let too_long = || io::Error::from_raw_os_error(libc::ENAMETOOLONG);
    let parent = path.parent().ok_or_else(too_long)?;
    let base = path.file_name().ok_or_else(too_long)?;
    let mut options = std::fs::OpenOptions::new();
    let directory =
        options.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(parent)?;
    let name = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(base);
    if name.as_os_str().len() >= UNIX_PATH_MAX {
        return Err(too_long());
    }
    Ok(ShortName { name, _directory: Some(directory) })
}

/// When a connection was last used, in ticks of its server's requests.
#[derive(Debug, Default)]
struct Activity {
    used: Cell<u64>,
    is_busy: Cell<bool>,
}

#[derive(Debug)]
struct Place {
    task: AbortHandle,
    activity: Rc<Activity>,
}

/// The places for connections.
#[derive(Debug, Default)]
struct Connections {
    places: Vec<Place>,
}

thread_local! {
    static TICK: Cell<u64> = const { Cell::new(0) };
}

impl Activity {
    fn touch(&self) {
        TICK.set(TICK.get() + 1);
        self.used.set(TICK.get());
    }
}

impl Connections {
    fn make_room(&mut self) {
        self.places.retain(|place| !place.task.is_finished());
        if self.places.len() < UNIXCTL_CONNECTIONS_MAX {
            return;
        }
        // Idle ones go first, and of those the one quiet for longest.
        let key = |place: &Place| (place.activity.is_busy.get(), place.activity.used.get());
        let victim = (0..self.places.len()).min_by_key(|at| self.places.get(*at).map(key));
        if let Some(at) = victim {
            self.places.swap_remove(at).task.abort();
            vlog::limited!(WARN, target: "unixctl", &RL,
                "{UNIXCTL_CONNECTIONS_MAX} connections; closing the one idle for longest");
        }
    }

    fn add(&mut self, place: Place) {
        place.activity.touch();
        self.places.push(place);
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for place in &self.places {
            place.task.abort();
        }
    }
}

struct Connection {
    name: String,
    stream: UnixStream,
    framer: Framer,
    registry: Registry,
    format: Format,
    activity: Rc<Activity>,
    /// Of the whole server.
    busy: Rc<Cell<usize>>,
}

/// Counts a request as long as it lives, also if its connection is closed meanwhile.
struct InProgress {
    activity: Rc<Activity>,
    busy: Rc<Cell<usize>>,
}

impl InProgress {
    fn begin(connection: &Connection) -> InProgress {
        let (activity, busy) = (connection.activity.clone(), connection.busy.clone());
        activity.touch();
        activity.is_busy.set(true);
        busy.set(busy.get() + 1);
        InProgress { activity, busy }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.activity.is_busy.set(false);
        self.busy.set(self.busy.get().saturating_sub(1));
    }
}

#[derive(Debug, Error)]
enum ConnectionError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("{}", strerror(.0))]
    Io(#[from] io::Error),
}

impl Connection {
    async fn run(mut self) {
        match self.serve().await {
            Ok(()) => {}
            // A client that went away is no news.
            Err(ConnectionError::Io(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                vlog::limited!(WARN, target: "unixctl", &RL, "{}: {error}", self.name);
            }
        }
    }

    async fn serve(&mut self) -> Result<(), ConnectionError> {
        let mut chunk = vec![0; 4096];
        loop {
            while let Some(text) = self.framer.next_text()? {
                let in_progress = InProgress::begin(self);
                let answer = self.answer(Request::parse(&text)?).await;
                self.stream.write_all(&answer).await?;
                drop(in_progress);
                // A client that sends without end must not keep others waiting.
                tokio::task::yield_now().await;
            }
            let length = self.stream.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            self.framer.feed(chunk.get(..length).unwrap_or_default());
        }
    }

    async fn answer(&mut self, request: Request) -> Vec<u8> {
        UNIXCTL_RECEIVED.add(1);
        let Request { method, params, id } = request;
        tracing::debug!(target: "unixctl", "received request {method}{}, id={id}",
            serde_json::Value::Array(params.clone()));
        let answer = if method == SET_OPTIONS {
            let options = self.registry.find(&method, params);
            let format = options.and_then(|(_, args)| set_options(&args).map_err(|error| error.0));
            format.map(|format| {
                self.format = format;
                Output::from(())
            })
        } else {
            let (reply, answer) = Reply::new();
            self.registry.call(&method, params, self.format, reply);
            let abandoned = || Err(format!("\"{method}\" command was abandoned"));
            answer.await.unwrap_or_else(|_| abandoned())
        };
        UNIXCTL_REPLIED.add(1);
        let format = self.format;
        if !is_long(&answer) {
            return finish(answer, format, id);
        }
        // Others do not wait while a dump of hundreds of thousands of flows is written out.
        let work = tokio::task::spawn_blocking(move || finish(answer, format, id));
        work.await.unwrap_or_default()
    }
}

/// Whether it may take long to encode an answer. Of JSON nobody knows without looking at it all.
fn is_long(answer: &Result<Output, String>) -> bool {
    match answer {
        Ok(Output::Text(text)) | Err(text) => text.len() > ANSWER_BYTES_AT_ONCE,
        Ok(Output::Json(serde_json::Value::Object(members))) => {
            members.values().any(|value| value.is_array() || value.is_object())
        }
        Ok(Output::Json(value)) => value.is_array(),
    }
}

/// The bytes of an answer, which is logged on the way.
fn finish(answer: Result<Output, String>, format: Format, id: serde_json::Value) -> Vec<u8> {
    let answer = encode(answer, format);
    if tracing::enabled!(target: "unixctl", tracing::Level::DEBUG) {
        let (outcome, body) = match &answer {
            Ok(value) => {
                ("success", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            }
            Err(text) => ("error", text.clone()),
        };
        tracing::debug!(target: "unixctl", "replying with {outcome}, id={id}: \"{body}\"");
    }
    encode_answer(answer, id)
}
