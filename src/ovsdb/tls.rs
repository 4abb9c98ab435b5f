//! TLS to the server, both sides with certificates, as `ovs-pki` makes them.
//!
//! What always holds: the server's certificate must be signed by the authority in `ca_cert`; its
//! name is not looked at, since these certificates carry identifiers and not host names. The files
//! are read at each connection, so new ones serve from the next on. Runs on the connection's
//! thread; reads are of small files.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::tls_policy::TlsPolicy;
use crate::limits::PEM_FILE_MAX;
use crate::strerror::strerror;
use crate::vlog::{self, RateLimit};

static RL: RateLimit = RateLimit::new(10, 25);

/// Files for `ssl:` remotes, which are read anew at each connection, and what may be spoken with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: our private key.
    pub private_key: PathBuf,
    /// PEM: our certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// PEM: the authority that must have signed the server's certificate.
    pub ca_cert: PathBuf,
    /// If `ca_cert` does not exist, trust whom we meet first and write it there.
    pub bootstrap_ca_cert: bool,
    /// What may be spoken.
    pub policy: TlsPolicy,
}

/// Makes a TLS connection of a TCP connection to `host`. What is wrong is logged; the error says
/// which kind of trouble it is, as for the peer.
///
/// # Errors
/// `ENOPROTOOPT` if files are missing or wrong, `EPROTO` if the other side is not to be
/// trusted or does not trust us; those of the connection.
pub async fn connect(
    files: Option<&TlsFiles>,
    host: &str,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let unusable = |text: String| {
        vlog::limited!(ERROR, target: "stream_ssl", &RL, "{text}");
        io::Error::from_raw_os_error(libc::ENOPROTOOPT)
    };
    let Some(files) = files else {
        return Err(unusable("Private key must be configured to use SSL".to_owned()));
    };
    let bootstrap = files.bootstrap_ca_cert && !files.ca_cert.exists();
    let provider = Arc::new(files.policy.provider());
    let verifier = Arc::new(ChainOnly {
        trust: if bootstrap {
            Trust::Anybody
        } else {
            Trust::Authority(roots(&files.ca_cert).map_err(unusable)?)
        },
        provider: provider.clone(),
        presented: Mutex::default(),
    });
    let config = config(files, provider, verifier.clone()).map_err(unusable)?;
    // Said in the greeting only; the certificate's name is not compared.
    let name = ServerName::try_from(host.to_owned())
        .unwrap_or_else(|_| ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()));
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = stream.map_err(|error| match error.raw_os_error() {
        Some(_) => error,
        None => {
            vlog::limited!(WARN, target: "stream_ssl", &RL, "SSL_connect: {error}");
            io::Error::from_raw_os_error(libc::EPROTO)
        }
    })?;
    if bootstrap {
        let presented =
            std::mem::take(&mut *verifier.presented.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(text) = store_authority(&presented, &files.ca_cert) {
            vlog::limited!(ERROR, target: "stream_ssl", &RL, "could not bootstrap CA cert: {text}");
        } else {
            tracing::info!(
                target: "stream_ssl",
                "successfully bootstrapped CA cert to {}", files.ca_cert.display()
            );
            tracing::info!(
                target: "stream_ssl", "killing successful connection to retry using CA cert");
        }
        return Err(io::Error::from_raw_os_error(libc::EPROTO));
    }
    Ok(stream)
}

fn config(
    files: &TlsFiles,
    provider: Arc<CryptoProvider>,
    verifier: Arc<ChainOnly>,
) -> Result<ClientConfig, String> {
    let key = read(&files.private_key)?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| format!("{}: {}", files.private_key.display(), pem_words(&error)))?;
    let chain = certificates(&files.certificate)?;
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&files.policy.versions())
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(|error| format!("{}: {error}", files.certificate.display()))
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let found = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{}: {}", path.display(), pem_words(&error)))?;
    if found.is_empty() {
        return Err(format!("{}: no certificate", path.display()));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path)
        .map_err(|error| format!("failed to open {} ({})", path.display(), strerror(&error)))?;
    file.take(PEM_FILE_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("failed to read {} ({})", path.display(), strerror(&error)))?;
    Ok(bytes)
}

fn pem_words(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "no private key or certificate".to_owned(),
        other => other.to_string(),
    }
}

/// Writes the authority that a server presented, the last of its certificates, to `path`.
fn store_authority(presented: &[CertificateDer<'_>], path: &Path) -> Result<(), String> {
    let (Some(server), Some(authority)) = (presented.first(), presented.last()) else {
        return Err("no certificate presented by peer".to_owned());
    };
    let mut roots = RootCertStore::empty();
    let is_authority = roots.add(authority.clone()).and_then(|()| {
        signed_by(&roots, server, presented.get(1..).unwrap_or_default(), UnixTime::now())
    });
    if presented.len() < 2 || is_authority.is_err() {
        return Err("the server does not present its authority's certificate".to_owned());
    }
    // Never over a file that another process made meanwhile.
    let mut options = File::options();
    let write = |text: &str| {
        options.write(true).create_new(true).mode(0o444).open(path)?.write_all(text.as_bytes())
    };
    let mut write = write;
    write(&pem_text(authority))
        .map_err(|error| format!("creating {} failed: {}", path.display(), strerror(&error)))
}

/// A certificate in PEM (RFC 7468).
fn pem_text(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| char::from(DIGITS[(bits & 63) as usize]);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
            let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
            text.push(digit(bits >> 18));
            text.push(digit(bits >> 12));
            text.push(if group.len() > 1 { digit(bits >> 6) } else { '=' });
            text.push(if group.len() > 2 { digit(bits) } else { '=' });
        }
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

fn signed_by(
    roots: &RootCertStore,
    server: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let server = ParsedCertificate::try_from(server)?;
    let algorithms = ring::default_provider().signature_verification_algorithms;
    verify_server_cert_signed_by_trust_anchor(&server, roots, between, now, algorithms.all)
}

#[derive(Debug)]
enum Trust {
    /// Whom this authority has signed.
    Authority(RootCertStore),
    /// The first one met, to learn its authority; the connection is closed then.
    Anybody,
}

/// Verifies the chain of a server's certificate, but no name.
#[derive(Debug)]
struct ChainOnly {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    /// What the server presented, its own first.
    presented: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trust {
            Trust::Authority(roots) => signed_by(roots, end_entity, intermediates, now)?,
            Trust::Anybody => {
                let all = std::iter::once(end_entity).chain(intermediates);
                let all = all.map(|certificate| certificate.clone().into_owned()).collect();
                *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = all;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_as_pem_is_read_again(der in proptest::collection::vec(any::<u8>(), 1..200)) {
            let text = pem_text(&der);
            let read = CertificateDer::from_pem_slice(text.as_bytes()).expect("PEM");
            prop_assert_eq!(&read[..], &der[..]);
        }
    }
}
