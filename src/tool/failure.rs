//! Why the tool could not do it, and what to do about it.

use std::io;

use thiserror::Error;

use crate::datapath::recording::RecordingError;
use crate::standalone::ConfigError;
use crate::unixctl::client::ClientError;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// There is no control socket to be found.
    #[error("no daemon {target} is running ({})", crate::strerror::strerror(source))]
    NoDaemon {
        /// What was looked for.
        target: String,
        /// What the pidfile said.
        source: io::Error,
    },
    /// The control socket does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The daemon answered with an error.
    #[error("the daemon said: {}", text.trim_end())]
    Refused {
        /// The command of the control socket.
        command: String,
        /// Its error.
        text: String,
    },
    /// The daemon answered something of another shape.
    #[error("the daemon's answer to {command} makes no sense: {source}")]
    Answer {
        /// The command of the control socket.
        command: String,
        /// What is wrong with the answer.
        source: serde_json::Error,
    },
    /// Standard output or the terminal is gone.
    #[error("cannot write the answer ({})", crate::strerror::strerror(.0))]
    Output(io::Error),
    /// A file cannot be read.
    #[error("{path}: {}", crate::strerror::strerror(source))]
    File {
        /// Its name.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A file is no recording.
    #[error("{path}: {source}")]
    Recording {
        /// Its name.
        path: String,
        /// Why not.
        source: RecordingError,
    },
    /// A configuration makes no sense.
    #[error("{path}: {source}")]
    Config {
        /// Where it is from.
        path: String,
        /// Why not.
        source: ConfigError,
    },
    /// Something named on the command line does not exist.
    #[error("{what}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What would be right.
        remedy: String,
    },
}

impl Failure {
    /// What to do about it.
    pub fn remedy(&self) -> Option<String> {
        let text = match self {
            Self::NoDaemon { .. } => {
                "start it, or name it by --target PROGRAM or --target SOCKET (its run directory by \
                 OVS_RUNDIR); `rovs doctor` tells what is missing"
            }
            Self::Client(ClientError::Connect { source, .. }) => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "become root, or a member of the group that the socket belongs to"
                }
                _ => "is the daemon running? `rovs doctor` tells what is missing",
            },
            Self::Client(_) => "the daemon ended, or is stuck: look at its log",
            Self::Refused { text, .. } if text.contains("is not a valid command") => {
                "this is another daemon, or an older rovs: the tool needs the one it came with"
            }
            Self::Refused { command, .. } if command == "flow/why" => {
                "`rovs flows` lists what is installed, `rovs history` what went and why"
            }
            Self::Answer { .. } => "tool and daemon are of different versions: restart the daemon",
            Self::Usage { remedy, .. } => remedy,
            Self::Recording { .. } => {
                "recordings are made by `rovs record FILE` or `ovs-vswitchd --record FILE`"
            }
            Self::Config { .. } => "correct the file; it is one for `ovs-vswitchd --standalone`",
            Self::File { .. } => return None,
            Self::Refused { .. } | Self::Output(_) => return None,
        };
        Some(text.to_owned())
    }
}
