//! Why an exchange with the kernel failed.
//!
//! What always holds: an error number from the kernel comes with the kernel's own words and the
//! place in the request where it had them to say. Nothing else is turned into an error number.
//!
//! Plain values, any thread.

use std::io;

use thiserror::Error;

use crate::ack::Ack;
use crate::attr::AttrError;
use crate::msg::MsgError;

/// Why a request, a batch or a dump failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused the request.
    #[error("{}", refusal(*errno, message.as_deref(), *offset, *missing))]
    Kernel {
        /// Error number, positive.
        errno: i32,
        /// The extended ACK's text.
        message: Option<String>,
        /// Offset of the offending attribute in the request.
        offset: Option<u32>,
        /// Type of a mandatory attribute that is missing.
        missing: Option<u32>,
    },
    /// The receive buffer overflowed (`ENOBUFS`): the answer may be among what was lost.
    #[error("the socket's receive buffer overflowed and messages were lost")]
    Overrun,
    /// A datagram was longer than the buffer for it.
    #[error("a message of {len} bytes did not fit into the receive buffer")]
    Truncated {
        /// Its length.
        len: usize,
    },
    /// The kernel neither answered nor reported a loss.
    #[error("no answer from the kernel")]
    NoReply,
    /// The request was acknowledged where an object was asked for.
    #[error("the kernel acknowledged the request but sent no object")]
    NoObject,
    /// Whatever was dumped kept changing.
    #[error("the dump was interrupted by changes {attempts} times")]
    Interrupted {
        /// How often it was tried.
        attempts: u32,
    },
    /// What was received does not hold together.
    #[error("malformed message from the kernel: {0}")]
    Malformed(#[from] MsgError),
    /// The request cannot be expressed.
    #[error("request cannot be encoded: {0}")]
    Encode(AttrError),
    /// A system call failed.
    #[error("netlink socket: {0}")]
    Io(#[from] io::Error),
}

impl Error {
    /// The kernel's verdict as an error; its `errno` is not 0.
    pub fn from_ack(ack: &Ack<'_>) -> Self {
        Self::Kernel {
            errno: ack.errno,
            message: ack.message.map(str::to_owned),
            offset: ack.offset,
            missing: ack.missing,
        }
    }

    /// The error number: the kernel's, `ENOBUFS` for an overrun, or that of the system call.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            Self::Overrun => Some(libc::ENOBUFS),
            Self::Io(e) => e.raw_os_error(),
            _ => None,
        }
    }
}

impl From<RecvError> for Error {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Overrun => Self::Overrun,
            RecvError::Truncated { len } => Self::Truncated { len },
            RecvError::Io(e) => Self::Io(e),
        }
    }
}

/// Why nothing could be received.
#[derive(Debug, Error)]
pub enum RecvError {
    /// The receive buffer overflowed (`ENOBUFS`). What is still in it can be read; the kernel drops
    /// further messages until it is empty.
    #[error("the socket's receive buffer overflowed and messages were lost")]
    Overrun,
    /// A datagram was longer than the buffer for it, and is gone.
    #[error("a message of {len} bytes did not fit into the receive buffer")]
    Truncated {
        /// Its length.
        len: usize,
    },
    /// The system call failed.
    #[error("netlink socket: {0}")]
    Io(#[from] io::Error),
}

impl RecvError {
    /// Tells `ENOBUFS` from other failures.
    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOBUFS) => Self::Overrun,
            _ => Self::Io(error),
        }
    }
}

/// The text of a refusal: what the error number means, then the kernel's words and the place.
fn refusal(errno: i32, message: Option<&str>, offset: Option<u32>, missing: Option<u32>) -> String {
    let mut text = io::Error::from_raw_os_error(errno).to_string();
    if let Some(message) = message {
        text = format!("{text}: {message}");
    }
    if let Some(kind) = missing {
        text = format!("{text} (attribute {kind} is missing)");
    }
    if let Some(offset) = offset {
        text = format!("{text} (at byte {offset} of the request)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_shown() {
        let ack = Ack {
            errno: libc::EINVAL,
            message: Some("Unknown key attributes"),
            offset: Some(48),
            ..Ack::default()
        };
        let error = Error::from_ack(&ack);
        assert_eq!(
            error.to_string(),
            "Invalid argument (os error 22): Unknown key attributes (at byte 48 of the request)"
        );
        assert_eq!(error.errno(), Some(libc::EINVAL));
        let bare = Error::from_ack(&Ack { errno: libc::EEXIST, ..Ack::default() });
        assert_eq!(bare.to_string(), "File exists (os error 17)");
    }

    #[test]
    fn an_overrun_has_its_number() {
        assert_eq!(Error::from(RecvError::Overrun).errno(), Some(libc::ENOBUFS));
        let error = RecvError::from_io(io::Error::from_raw_os_error(libc::ENOBUFS));
        assert!(matches!(error, RecvError::Overrun));
    }
}
