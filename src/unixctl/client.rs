//! A small blocking client: ask a running daemon one thing.

use super::framing::{FrameError, Framer};
use super::message::{Request, parse_answer};
use super::server::short_name;
use crate::limits::UNIXCTL_ANSWER_BYTES_MAX;
use serde_json::Value;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// The daemon could not be asked, or what it said makes no sense.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection to the socket.
    #[error("cannot connect to \"{path}\" ({})", crate::strerror::strerror(source))]
    Connect {
        /// The socket.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke, or timed out.
    #[error("transaction error ({})", crate::strerror::strerror(.0))]
    Io(#[from] io::Error),
    /// The answer is no answer.
    #[error("unexpected answer: {0}")]
    Frame(#[from] FrameError),
    /// The answer is no answer.
    #[error("unexpected answer")]
    Malformed,
}

/// A connection to a daemon's control socket.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    framer: Framer,
    next_id: u64,
}

impl Client {
    /// Connects to the socket `path`.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let connect = || UnixStream::connect(&short_name(path)?.name);
        let stream = connect()
            .map_err(|source| ClientError::Connect { path: path.display().to_string(), source })?;
        Ok(Client { stream, framer: Framer::new(UNIXCTL_ANSWER_BYTES_MAX), next_id: 0 })
    }

    /// Lets a call fail if the daemon says nothing for so long.
    ///
    /// # Errors
    /// [`ClientError::Io`] for a time of zero.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), ClientError> {
        self.stream.set_read_timeout(timeout)?;
        self.stream.set_write_timeout(timeout)?;
        Ok(())
    }

    /// Runs a command; the inner error is the daemon's.
    ///
    /// # Errors
    /// [`ClientError`] when there was no answer.
    pub fn call(
        &mut self,
        command: &str,
        args: &[&str],
    ) -> Result<Result<Value, String>, ClientError> {
        self.stream.write_all(&Request::encode(command, args, self.next_id))?;
        self.next_id += 1;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            if let Some(text) = self.framer.next_text()? {
                return parse_answer(&text).ok_or(ClientError::Malformed);
            }
            let length = self.stream.read(&mut chunk)?;
            if length == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.framer.feed(chunk.get(..length).unwrap_or_default());
        }
    }
}

/// Runs one command of the daemon whose control socket is `path` and gives its text; the inner
/// error is the daemon's.
///
/// # Errors
/// [`ClientError`] when there was no answer, or one that is no text.
pub fn call(
    path: &Path,
    command: &str,
    args: &[&str],
) -> Result<Result<String, String>, ClientError> {
    match Client::connect(path)?.call(command, args)? {
        Ok(Value::String(text)) => Ok(Ok(text)),
        Ok(_) => Err(ClientError::Malformed),
        Err(error) => Ok(Err(error)),
    }
}
