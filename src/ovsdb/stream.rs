//! Byte streams to a server, of all kinds that a remote may name.
//!
//! Runs on the connection's thread; connecting waits, also for the name service.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::remote::Target;
use super::tls::{self, TlsFiles};
use crate::unixctl::short_name;

/// Unix, TCP or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Connects.
///
/// # Errors
/// The system's; for TLS see [`tls::connect`].
pub async fn connect(target: Target, tls: Option<TlsFiles>) -> io::Result<Box<dyn Stream>> {
    match target {
        Target::Unix(path) => {
            let short = short_name(&path)?;
            Ok(Box::new(UnixStream::connect(&short.name).await?))
        }
        Target::Tcp(host, port) => Ok(Box::new(connect_tcp(&host, port).await?)),
        Target::Ssl(host, port) => {
            let stream = connect_tcp(&host, port).await?;
            Ok(Box::new(tls::connect(tls.as_ref(), &host, stream).await?))
        }
    }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
