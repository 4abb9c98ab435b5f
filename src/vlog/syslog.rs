//! Sending lines to the system logger: `/dev/log`, another Unix socket, UDP, or nowhere.
//!
//! What always holds: nothing here blocks or fails upward. A logger that is away costs lines,
//! never time; it is looked for again with the next line. Sources: RFC 3164 section 4.1,
//! syslog(3), ovs-vswitchd(8) `--syslog-method`.

use super::clock::{WallTime, strftime};
use std::io;
use std::net::{ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use thiserror::Error;

/// How to reach the system logger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// As the C library does: datagrams to `/dev/log`, with time and program name.
    Libc,
    /// Datagrams to a Unix socket: priority and text only.
    Unix(String),
    /// Datagrams to `HOST:PORT`; the port may be left out (514).
    Udp(String),
    /// Nowhere.
    Null,
}

/// A method nobody knows; the text is the peer's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unsupported syslog method '{0}'")]
pub struct UnknownMethod(String);

impl Method {
    /// Reads the argument of `--syslog-method`.
    pub fn parse(text: &str) -> Result<Method, UnknownMethod> {
        match text {
            "null" => Ok(Method::Null),
            "libc" => Ok(Method::Libc),
            _ => match text.split_once(':') {
                Some(("unix", path)) => Ok(Method::Unix(path.to_owned())),
                Some(("udp", target)) => Ok(Method::Udp(target.to_owned())),
                _ => Err(UnknownMethod(text.to_owned())),
            },
        }
    }

    /// What goes before a line, in the notation of patterns, as `vlog/list-pattern` shows it.
    pub fn prefix(&self) -> &'static str {
        match self {
            Method::Libc => "<%B> %D{%h %e %T} %E %A:",
            Method::Unix(_) | Method::Udp(_) => "<%B>",
            Method::Null => "",
        }
    }
}

/// An open way to the system logger.
#[derive(Debug)]
pub(super) struct Syslog {
    method: Method,
    program: String,
    socket: Option<Socket>,
    /// The longest message that the way has been found to take.
    longest: usize,
}

#[derive(Debug)]
enum Socket {
    /// Not connected: each line finds the logger of the moment, and costs one system call also when
    /// there is none.
    Unix(UnixDatagram, PathBuf),
    Udp(UdpSocket),
}

impl Socket {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(socket, path) => socket.send_to(bytes, path),
            Socket::Udp(socket) => socket.send(bytes),
        }
    }
}

impl Syslog {
    pub(super) fn new(method: Method, program: &str) -> Syslog {
        Syslog { method, program: program.to_owned(), socket: None, longest: usize::MAX }
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// Sends one line of the given priority (facility times eight plus severity).
    pub(super) fn send(&mut self, priority: u8, time: WallTime, line: &str) {
        let mut message = format!("<{priority}>");
        if self.method == Method::Libc {
            strftime("%h %e %T ", time.local(), &mut message);
            message.push_str(&self.program);
            message.push_str(": ");
        }
        message.push_str(line);
        self.send_message(&message);
    }

    /// Sends a message that is complete, its length cut to what the way takes.
    pub(super) fn send_message(&mut self, message: &str) {
        // What a host said that refuses comes with the next line: that one is sent again, once.
        for _ in 0..2 {
            if self.socket.is_none() {
                self.socket = open(&self.method).ok();
            }
            let Some(socket) = &self.socket else { return };
            let mut length = message.len().min(self.longest);
            loop {
                let Some(bytes) = message.as_bytes().get(..length) else { return };
                match socket.send(bytes) {
                    Ok(_) => return,
                    Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) && length > 20 => {
                        length -= length / 20;
                        self.longest = length;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    Err(_) if matches!(socket, Socket::Unix(..)) => return,
                    Err(_) => break,
                }
            }
            self.socket = None;
        }
    }
}

fn open(method: &Method) -> io::Result<Socket> {
    let unix = |path: &str| -> io::Result<Socket> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Socket::Unix(socket, path.into()))
    };
    match method {
        Method::Libc => unix("/dev/log"),
        Method::Unix(path) => unix(path),
        Method::Udp(target) => {
            let target = if target.contains(':') && !target.ends_with(']') {
                target.clone()
            } else {
                format!("{target}:514")
            };
            let address = target
                .to_socket_addrs()?
                .next()
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            socket.set_nonblocking(true)?;
            Ok(Socket::Udp(socket))
        }
        Method::Null => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods() {
        assert_eq!(Method::parse("libc"), Ok(Method::Libc));
        assert_eq!(Method::parse("unix:/x"), Ok(Method::Unix("/x".to_owned())));
        assert_eq!(Method::parse("udp:1.2.3.4:5"), Ok(Method::Udp("1.2.3.4:5".to_owned())));
        // As ovs-vswitchd 3.1.0 puts it.
        assert_eq!(
            Method::parse("tcp").map_err(|error| error.to_string()),
            Err("unsupported syslog method 'tcp'".to_owned())
        );
    }

    #[test]
    fn a_line_arrives_and_a_restarted_logger_is_found_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log").to_str().expect("a name").to_owned();
        let mut buffer = [0; 256];
        let mut syslog = Syslog::new(Method::Unix(path.clone()), "ovs-vswitchd");
        syslog.send(28, WallTime::from_ms(0), "lost: nobody listens yet");
        for _ in 0..2 {
            let listener = UnixDatagram::bind(&path).expect("bind");
            syslog.send(28, WallTime::from_ms(0), "ovs|00001|dpif|WARN|x");
            let length = listener.recv(&mut buffer).expect("a line");
            assert_eq!(&buffer[..length], b"<28>ovs|00001|dpif|WARN|x");
            std::fs::remove_file(&path).expect("remove");
        }
    }

    #[test]
    fn udp_takes_a_long_line_cut() {
        let listener = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let target = listener.local_addr().expect("address").to_string();
        let mut syslog = Syslog::new(Method::Udp(target), "x");
        syslog.send(28, WallTime::from_ms(0), &"y".repeat(100_000));
        let mut buffer = vec![0; 100_000];
        let length = listener.recv(&mut buffer).expect("a line");
        assert!(length > 60_000 && length < 65_536, "{length}");
    }
}
