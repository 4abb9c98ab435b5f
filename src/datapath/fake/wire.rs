//! What a dummy device is connected to: files that its packets are written to, and another dummy
//! at the other end of a stream.
//!
//! What always holds: a stream carries frames, each behind its length in two bytes, big endian, as the
//! peer's dummies do; whoever does not read loses frames; a connection that was lost is made again.
//!
//! Files are written under the fake kernel's lock; each stream has threads of its own, which end
//! when the wire is dropped.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{WeakKernel, device::Device};
use crate::packet::ether_type;

/// Options of a dummy, by the names of table Interface: `tx_pcap`, `rxq_pcap`, `pcap`, `stream`,
/// `pstream`.
pub type DeviceOptions = BTreeMap<String, String>;

/// Frames that wait for a reader at the other end.
const QUEUE_MAX: usize = 100;
/// How long a thread waits before it looks whether it shall end.
const LOOK: Duration = Duration::from_millis(100);
const ETHERNET_LEN: usize = 14;

/// How a dummy's connection does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// It is there.
    Connected,
    /// It is wanted and not there.
    Disconnected,
    /// It waits for others to connect, or there is none.
    Unknown,
}

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// What the peer's tools show for the device.
    pub type_name: Option<String>,
    pub ipv4: Option<Ipv4Addr>,
    options: DeviceOptions,
    received: Option<Pcap>,
    sent: Option<Pcap>,
    link: Option<Link>,
}

impl Wire {
    /// Connects what `options` say; what was said before and is the same goes on.
    pub fn connect(&mut self, device: &str, options: &DeviceOptions, kernel: &WeakKernel) {
        if self.options == *options {
            return;
        }
        let file = |name: &str| {
            let path = options.get("pcap").or_else(|| options.get(name))?;
            Pcap::open(path)
                .inspect_err(|error| {
                    tracing::warn!(target: "netdev_dummy", "{path}: cannot write packets: {error}");
                })
                .ok()
        };
        (self.received, self.sent) = (file("rxq_pcap"), file("tx_pcap"));
        let is_same = |name| self.options.get(name) == options.get(name);
        if !(is_same("stream") && is_same("pstream")) {
            // The old one gives up its address first.
            self.link = None;
            self.link = Link::open(device, options, kernel);
        }
        self.options.clone_from(options);
    }

    /// The device's type, and of its options those that the peer's tools show.
    pub fn text(&self) -> Option<String> {
        let type_name = self.type_name.as_ref()?;
        let mut shown: Vec<String> = Vec::new();
        if type_name == "dummy-pmd" {
            let queues = |name| self.options.get(name).map_or("1", String::as_str);
            for what in ["configured", "requested"] {
                shown.push(format!("{what}_rx_queues={}", queues("n_rxq")));
                shown.push(format!("{what}_tx_queues={}", queues("n_txq")));
            }
        }
        for name in ["ifindex", "pstream", "stream"] {
            shown.extend(self.options.get(name).map(|value| format!("{name}={value}")));
        }
        shown.sort_unstable();
        Some(match shown.as_slice() {
            [] => type_name.clone(),
            shown => format!("{type_name}: {}", shown.join(", ")),
        })
    }

    pub fn state(&self) -> LinkState {
        match &self.link {
            Some(link) if link.is_passive => LinkState::Unknown,
            Some(link) if link.shared.is_connected() => LinkState::Connected,
            Some(_) => LinkState::Disconnected,
            None => LinkState::Unknown,
        }
    }
}

impl Device {
    /// Whether a dummy sends this packet at all.
    pub fn takes(&self, packet: &[u8]) -> bool {
        let is_tagged = packet.get(12..14) == Some(&ether_type::VLAN_8021Q.to_be_bytes());
        let most = self.shown.mtu as usize + ETHERNET_LEN + if is_tagged { 4 } else { 0 };
        (ETHERNET_LEN..=most).contains(&packet.len())
    }

    /// A packet comes in.
    pub fn heard(&mut self, packet: &[u8]) {
        if let Some(pcap) = &mut self.wire.received {
            pcap.write(packet);
        }
    }

    /// A packet leaves a dummy; returns the answer to an ARP request for its address.
    pub fn send(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        if let Some(pcap) = &mut self.wire.sent {
            pcap.write(packet);
        }
        if let Some(link) = &self.wire.link {
            link.shared.send(packet);
        }
        let reply = arp_reply(packet, self.wire.ipv4?, self.shown.mac)?;
        self.heard(&reply);
        Some(reply)
    }
}

/// The answer to an ARP request (RFC 826) for `address`, if `packet` is one.
fn arp_reply(packet: &[u8], address: Ipv4Addr, mac: [u8; 6]) -> Option<Vec<u8>> {
    let (ethernet, arp) = packet.split_at_checked(ETHERNET_LEN)?;
    let arp: &[u8; 28] = arp.first_chunk()?;
    let is_request = ethernet.get(12..)? == ether_type::ARP.to_be_bytes()
        && arp[..8] == [0, 1, 8, 0, 6, 4, 0, 1]
        && arp[24..] == address.octets();
    if !is_request {
        return None;
    }
    let (asker_mac, asker_ip) = (&arp[8..14], &arp[14..18]);
    let mut reply = Vec::with_capacity(ETHERNET_LEN + arp.len());
    reply.extend_from_slice(ethernet.get(6..12)?);
    reply.extend_from_slice(&mac);
    reply.extend_from_slice(&ether_type::ARP.to_be_bytes());
    reply.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
    reply.extend_from_slice(&mac);
    reply.extend_from_slice(&address.octets());
    reply.extend_from_slice(asker_mac);
    reply.extend_from_slice(asker_ip);
    Some(reply)
}

/// A file of packets, of which each is there as soon as it was written.
#[derive(Debug)]
struct Pcap(File);

impl Pcap {
    fn open(path: &str) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        if file.metadata()?.len() == 0 {
            // Magic, version 2.4, zone, accuracy, longest packet, Ethernet.
            let mut head = Vec::with_capacity(24);
            head.extend_from_slice(&0xa1b2_c3d4u32.to_ne_bytes());
            head.extend_from_slice(&2u16.to_ne_bytes());
            head.extend_from_slice(&4u16.to_ne_bytes());
            for word in [0u32, 0, 65_535, 1] {
                head.extend_from_slice(&word.to_ne_bytes());
            }
            file.write_all(&head)?;
        }
        Ok(Self(file))
    }

    fn write(&mut self, packet: &[u8]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let mut record = Vec::with_capacity(16 + packet.len());
        for word in [now.as_secs() as u32, now.subsec_micros(), len, len] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        record.extend_from_slice(packet);
        // A full disk loses packets of a test's record, nothing else.
        let _ = self.0.write_all(&record);
    }
}

/// A stream to another dummy, or to several that connected to this one.
#[derive(Debug)]
struct Link {
    is_passive: bool,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    device: String,
    kernel: WeakKernel,
    /// Those at the other end, each with a number of its own.
    others: Mutex<Vec<Other>>,
    next: AtomicU64,
    stop: AtomicBool,
}

type Other = (u64, SyncSender<Vec<u8>>);

impl Link {
    fn open(device: &str, options: &DeviceOptions, kernel: &WeakKernel) -> Option<Self> {
        let (is_passive, name) = match (options.get("stream"), options.get("pstream")) {
            (Some(active), Some(passive)) => {
                tracing::warn!(
                    target: "netdev_dummy",
                    "Open failed: both {passive} and {active} are configured"
                );
                return None;
            }
            (Some(name), None) => (false, name.clone()),
            (None, Some(name)) => (true, name.clone()),
            (None, None) => return None,
        };
        let shared = Arc::new(Shared {
            device: device.to_owned(),
            kernel: kernel.clone(),
            others: Mutex::default(),
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let own = shared.clone();
        let work: Box<dyn FnOnce() + Send> = if is_passive {
            match Listener::bind(&name) {
                Ok(listener) => Box::new(move || own.accept(&listener)),
                Err(error) => {
                    tracing::warn!(target: "netdev_dummy", "{name}: open failed ({error})");
                    return None;
                }
            }
        } else {
            Box::new(move || own.keep_connected(&name))
        };
        spawn(work);
        Some(Self { is_passive, shared })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.others().clear();
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name("dummy_wire".to_owned()).spawn(work) {
        tracing::warn!(target: "netdev_dummy", "cannot start a thread for a dummy's stream: {error}");
    }
}

impl Shared {
    fn others(&self) -> std::sync::MutexGuard<'_, Vec<Other>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_connected(&self) -> bool {
        !self.others().is_empty()
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn send(&self, packet: &[u8]) {
        let Ok(len) = u16::try_from(packet.len()) else { return };
        let mut frame = Vec::with_capacity(2 + packet.len());
        frame.extend_from_slice(&len.to_be_bytes());
        frame.extend_from_slice(packet);
        for (_, other) in self.others().iter() {
            // A reader that is too slow loses frames.
            let _ = other.try_send(frame.clone());
        }
    }

    fn accept(self: &Arc<Self>, listener: &Listener) {
        while !self.is_over() {
            match listener.accept() {
                Ok(stream) => {
                    let shared = self.clone();
                    spawn(move || shared.serve(stream));
                }
                Err(_) => std::thread::sleep(LOOK / 10),
            }
        }
    }

    fn keep_connected(self: &Arc<Self>, name: &str) {
        while !self.is_over() {
            if let Ok(stream) = Stream::connect(name) {
                self.serve(stream);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Moves frames both ways until the connection or the wire ends.
    fn serve(self: &Arc<Self>, mut stream: Stream) {
        let Ok(writer) = stream.try_clone() else { return };
        if stream.set_read_timeout(LOOK).is_err() {
            return;
        }
        let (sender, frames) = sync_channel(QUEUE_MAX);
        let is_open = Arc::new(AtomicBool::new(true));
        let (shared, open) = (self.clone(), is_open.clone());
        spawn(move || write_frames(writer, &frames, &shared, &open));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.others().push((number, sender));
        let mut buffer = Vec::new();
        while !self.is_over() && is_open.load(Ordering::Relaxed) {
            match self.read(&mut stream, &mut buffer) {
                Ok(()) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) => {}
                Err(_) => break,
            }
        }
        is_open.store(false, Ordering::Relaxed);
        self.others().retain(|(other, _)| *other != number);
    }

    /// Reads what is there and takes the whole frames out of it.
    fn read(&self, stream: &mut Stream, buffer: &mut Vec<u8>) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
        while let Some((head, rest)) = buffer.split_first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*head));
            if len < ETHERNET_LEN {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let Some(frame) = rest.get(..len) else { break };
            if let Some(kernel) = self.kernel.upgrade() {
                kernel.inject(&self.device, frame);
            }
            buffer.drain(..2 + len);
        }
        Ok(())
    }
}

fn write_frames(
    mut stream: Stream,
    frames: &Receiver<Vec<u8>>,
    shared: &Shared,
    is_open: &AtomicBool,
) {
    while !shared.is_over() && is_open.load(Ordering::Relaxed) {
        let frame = match frames.recv_timeout(LOOK) {
            Ok(frame) => frame,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if stream.write_all(&frame).is_err() {
            break;
        }
    }
    is_open.store(false, Ordering::Relaxed);
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// Connects to `unix:PATH` or `tcp:HOST:PORT`.
    fn connect(name: &str) -> io::Result<Self> {
        match name.split_once(':') {
            Some(("unix", path)) => UnixStream::connect(path).map(Self::Unix),
            Some(("tcp", address)) => TcpStream::connect(address).map(Self::Tcp),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
        }
    }

    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(timeout))
            }
            Self::Tcp(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(timeout))
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(buffer),
            Self::Tcp(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Listener {
    Unix(UnixListener, String),
    Tcp(TcpListener),
}

impl Listener {
    /// Listens at `punix:PATH` or `ptcp:PORT[:HOST]`.
    fn bind(name: &str) -> io::Result<Self> {
        let listener = match name.split_once(':') {
            Some(("punix", path)) => {
                let _ = std::fs::remove_file(path);
                Self::Unix(UnixListener::bind(path)?, path.to_owned())
            }
            Some(("ptcp", address)) => {
                let (port, host) = address.split_once(':').unwrap_or((address, "0.0.0.0"));
                Self::Tcp(TcpListener::bind(format!("{host}:{port}"))?)
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        match &listener {
            Self::Unix(listener, _) => listener.set_nonblocking(true)?,
            Self::Tcp(listener) => listener.set_nonblocking(true)?,
        }
        Ok(listener)
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept()?.0)),
            Self::Tcp(listener) => Ok(Stream::Tcp(listener.accept()?.0)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::fake::FakeKernel;

    fn options(pairs: &[(&str, &std::path::Path)]) -> DeviceOptions {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), v.display().to_string())).collect()
    }

    #[test]
    fn an_arp_request_for_its_address_is_answered() {
        let mac = [0xaa, 0x55, 0xaa, 0x55, 0, 1];
        let mut request = vec![0xff; 6];
        request.extend_from_slice(&[2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        request.extend_from_slice(&[2, 0, 0, 0, 0, 9, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
        let reply = arp_reply(&request, Ipv4Addr::new(10, 0, 0, 1), mac).unwrap();
        let mut expected = vec![2, 0, 0, 0, 0, 9];
        expected.extend_from_slice(&mac);
        expected.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        expected.extend_from_slice(&mac);
        expected.extend_from_slice(&[10, 0, 0, 1, 2, 0, 0, 0, 0, 9, 10, 0, 0, 9]);
        assert_eq!(reply, expected);
        assert_eq!(arp_reply(&request, Ipv4Addr::new(10, 0, 0, 2), mac), None);
        for len in 0..request.len() {
            assert_eq!(arp_reply(&request[..len], Ipv4Addr::new(10, 0, 0, 1), mac), None);
        }
    }

    #[test]
    fn packets_are_written_as_tcpdump_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tx.pcap");
        let mut pcap = Pcap::open(&path.display().to_string()).unwrap();
        pcap.write(&[7; 20]);
        drop(pcap);
        Pcap::open(&path.display().to_string()).unwrap().write(&[8; 14]);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[..4], 0xa1b2_c3d4u32.to_ne_bytes());
        assert_eq!(bytes.len(), 24 + 16 + 20 + 16 + 14);
        assert_eq!(bytes[32..36], 20u32.to_ne_bytes());
        assert_eq!(bytes[bytes.len() - 14..], [8; 14]);
    }

    #[test]
    fn two_dummies_at_the_ends_of_a_stream_hear_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let (passive, active) = (FakeKernel::of_dummies(), FakeKernel::of_dummies());
        let datapaths: Vec<_> = [&passive, &active]
            .map(|kernel| kernel.open("ovs-dummy", true).unwrap())
            .into_iter()
            .collect();
        let at = |scheme: &str| format!("{scheme}:{}", socket.display());
        let pcap = dir.path().join("rx.pcap");
        let mut heard = options(&[("rxq_pcap", &pcap)]);
        heard.insert("pstream".to_owned(), at("punix"));
        passive.configure_device("p1", "dummy", &heard).unwrap();
        let stream = DeviceOptions::from([("stream".to_owned(), at("unix"))]);
        active.configure_device("p2", "dummy", &stream).unwrap();
        for (datapath, name) in datapaths.iter().zip(["p1", "p2"]) {
            use crate::datapath::Datapath as _;
            datapath.port_add(name, crate::datapath::PortKind::Netdev, None).unwrap();
        }
        assert_eq!(passive.link_state("p1"), Some(LinkState::Unknown));
        while active.link_state("p2") != Some(LinkState::Connected) {
            std::thread::yield_now();
        }
        let frame = [5; 60];
        active.lock().devices.get_mut("p2").unwrap().send(&frame);
        while passive.device_stats("p1").unwrap().rx_packets == 0 {
            std::thread::yield_now();
        }
        let bytes = std::fs::read(&pcap).unwrap();
        assert_eq!(bytes[bytes.len() - 60..], frame);
        // Without the other end the state says so, and the file of the socket is gone.
        passive.configure_device("p1", "dummy", &DeviceOptions::new()).unwrap();
        while active.link_state("p2") != Some(LinkState::Disconnected) || socket.exists() {
            std::thread::yield_now();
        }
    }
}
