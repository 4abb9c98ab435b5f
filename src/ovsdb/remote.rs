//! Where the database server is: `unix:FILE`, `tcp:HOST[:PORT]`, `ssl:HOST[:PORT]`.
//!
//! Pure values, any thread. Source: ovsdb(7), "Connection Methods".

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// The port of OVSDB that IANA registered.
const PORT: u16 = 6640;

/// One place where the server listens. Shown as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    name: String,
    target: Target,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP to a name or address.
    Tcp(String, u16),
    /// TLS over TCP to a name or address.
    Ssl(String, u16),
}

/// Why a text names no server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{remote}: {reason}")]
pub struct RemoteError {
    /// The text.
    pub remote: String,
    reason: &'static str,
}

impl Remote {
    /// Reads a comma-separated list of remotes, as one `DATABASE` argument has it.
    ///
    /// # Errors
    /// [`RemoteError`] for the first that makes no sense.
    pub fn parse_list(text: &str) -> Result<Vec<Remote>, RemoteError> {
        let each = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let remotes = each.map(Remote::parse).collect::<Result<Vec<_>, _>>()?;
        if remotes.is_empty() {
            return Err(RemoteError { remote: text.to_owned(), reason: "names no server" });
        }
        Ok(remotes)
    }

    /// Reads one remote.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn parse(text: &str) -> Result<Remote, RemoteError> {
        let error = |reason| RemoteError { remote: text.to_owned(), reason };
        let (method, rest) = text.split_once(':').ok_or(error("bad database connection method"))?;
        let target = match method {
            "unix" if rest.is_empty() => return Err(error("socket name missing")),
            "unix" => Target::Unix(rest.into()),
            "tcp" | "ssl" => {
                let (host, port) = host_and_port(rest).map_err(error)?;
                if method == "tcp" { Target::Tcp(host, port) } else { Target::Ssl(host, port) }
            }
            _ => return Err(error("bad database connection method")),
        };
        Ok(Remote { name: text.to_owned(), target })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Can the other end vanish without our socket noticing?
    pub(super) fn needs_probes(&self) -> bool {
        !matches!(self.target, Target::Unix(_))
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT`, `V6`.
fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    let (host, rest) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("unterminated [")?;
        let port = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':').ok_or("bad port number")?),
        };
        (host, port)
    } else if text.matches(':').count() > 1 {
        (text, None)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err("host missing");
    }
    let port = match rest {
        None | Some("") => PORT,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or("bad port number")?,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods() {
        let target = |text| Remote::parse(text).map(|remote| remote.target);
        assert_eq!(target("unix:/run/db.sock"), Ok(Target::Unix("/run/db.sock".into())));
        assert_eq!(target("tcp:10.0.0.1"), Ok(Target::Tcp("10.0.0.1".into(), 6640)));
        assert_eq!(target("tcp:10.0.0.1:99"), Ok(Target::Tcp("10.0.0.1".into(), 99)));
        assert_eq!(target("tcp:::1"), Ok(Target::Tcp("::1".into(), 6640)));
        assert_eq!(target("ssl:[fe80::1%eth0]:6641"), Ok(Target::Ssl("fe80::1%eth0".into(), 6641)));
        assert_eq!(target("ssl:db.example.org"), Ok(Target::Ssl("db.example.org".into(), 6640)));
        for bad in [
            "",
            "unix",
            "unix:",
            "ptcp:6640",
            "tcp:",
            "tcp:h:0",
            "tcp:h:x",
            "tcp:[::1",
            "tcp:[::1]x",
        ] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list() {
        let list = Remote::parse_list("tcp:10.0.0.1:6641, tcp:10.0.0.2:6641").expect("two");
        assert_eq!(
            list.iter().map(Remote::to_string).collect::<Vec<_>>(),
            ["tcp:10.0.0.1:6641", "tcp:10.0.0.2:6641"]
        );
        assert!(Remote::parse_list(" ,").is_err());
    }
}
