//! The practical limit: answers each upcall with a canned flow and an execute, in the cheapest way
//! there is, and decides nothing.
//!
//! One thread and socket a CPU; up to 64 upcalls a receive; all answers of a batch in one send; no
//! acknowledgements; a UFID that is a counter. The flow has the key as it came, under the mask that
//! the bridge's NORMAL would give it, and its one action is the other port. Where flows match
//! exactly it has the mask that the kernel would make for a put without one, which costs less than to
//! have it made.

use std::time::Duration;

use ovs_netlink::action::Action;
use ovs_netlink::attr::AttrWriter;
use ovs_netlink::datapath::{self, DatapathId, DatapathNew, DatapathSet, UserFeatures};
use ovs_netlink::flow::{FlowPut, IfExists};
use ovs_netlink::key::{KeyAttr, KeyAttrs};
use ovs_netlink::msg::{Messages, MsgBuf, MsgFlags};
use ovs_netlink::packet::{Execute, Upcall};
use ovs_netlink::vport::{self, VportNew, VportType};
use ovs_netlink::{Families, RecvError, RecvRing, Socket};
use rovs::odp::Support;
use rovs::odp::key::OdpKey;
use rovs::odp::mask::exact_mask;

/// Upcalls read, and answered, by one system call.
const BATCH: usize = 64;

/// Serves a datapath with these ports until it is killed. Packets of the first port go to the
/// second, all others to the first.
pub fn run(ports: &[&str]) {
    let mut control = Socket::open().expect("netlink");
    let families = Families::resolve_on(&mut control).expect("the module is there");
    let _ = datapath::delete(&mut control, &families, DatapathId::Name("ovs-system"));
    let features = UserFeatures::UNALIGNED | UserFeatures::DISPATCH_UPCALL_PER_CPU;
    let request =
        DatapathNew { name: "ovs-system", user_features: features, ..DatapathNew::default() };
    let dp = datapath::create(&mut control, &families, &request).expect("a datapath");
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let sockets: Vec<Socket> = (0..cpus)
        .map(|_| {
            let mut socket = Socket::open().expect("netlink");
            socket.set_rcvbuf_force(4 << 20).expect("as root");
            socket
        })
        .collect();
    let pids: Vec<u32> = sockets.iter().map(Socket::port_id).collect();
    let request = DatapathSet {
        id: DatapathId::Ifindex(dp.ifindex),
        user_features: features,
        per_cpu_pids: Some(&pids),
        masks_cache_size: None,
    };
    datapath::set(&mut control, &families, &request).expect("per-CPU dispatch");
    let mut numbers = Vec::new();
    for name in ports {
        let request = VportNew {
            dp_ifindex: dp.ifindex,
            port_no: None,
            ty: VportType::Netdev,
            name,
            options: None,
            upcall_pids: &[],
            ifindex: None,
        };
        let port = vport::create(&mut control, &families, &request).expect("a port");
        numbers.push(port.port_no);
    }
    let [first, second] = numbers[..] else { panic!("two ports are wanted") };
    let threads: Vec<_> = sockets
        .into_iter()
        .enumerate()
        .map(|(i, upcalls)| {
            let mut responder = Responder {
                flow: families.flow.id,
                packet: families.packet.id,
                dp_ifindex: dp.ifindex,
                first,
                second,
                next: (i as u128) << 64,
                upcalls,
                answers: Socket::open().expect("netlink"),
                buf: MsgBuf::new(),
                key: Vec::new(),
                mask: Vec::new(),
                meta: Vec::new(),
                actions: Vec::new(),
                exact: std::env::var_os("ROVS_BENCH_EXACT").is_some(),
                exact_mask: Vec::new(),
            };
            let thread = std::thread::Builder::new().name(format!("handler{i}"));
            thread.spawn(move || responder.serve()).expect("a thread")
        })
        .collect();
    println!("ready");
    for thread in threads {
        let _ = thread.join();
    }
}

struct Responder {
    flow: u16,
    packet: u16,
    dp_ifindex: u32,
    first: u32,
    second: u32,
    next: u128,
    upcalls: Socket,
    answers: Socket,
    buf: MsgBuf,
    key: Vec<u8>,
    mask: Vec<u8>,
    meta: Vec<u8>,
    actions: Vec<u8>,
    /// Flows match all that a key says.
    exact: bool,
    /// The mask for that: all packets that get a flow have keys of one kind.
    exact_mask: Vec<u8>,
}

impl Responder {
    fn serve(&mut self) {
        let mut ring = RecvRing::new(BATCH);
        loop {
            match self.upcalls.recv_batch(&mut ring, Duration::from_secs(1)) {
                Ok(_) | Err(RecvError::Overrun) => {}
                Err(e) => panic!("upcalls: {e}"),
            }
            self.buf.clear();
            for message in ring.iter().flatten().flat_map(Messages::new).flatten() {
                if let Ok(Ok(upcall)) = message.genl().map(Upcall::parse) {
                    self.answer(&upcall);
                }
            }
            if !self.buf.is_empty() {
                let _ = self.answers.send(self.buf.as_bytes());
                let _ = self.answers.drain_errors(|_, ack| {
                    if ack.errno != 0 && ack.errno != libc::EEXIST {
                        eprintln!("null: {ack:?}");
                    }
                });
            }
        }
    }

    fn answer(&mut self, upcall: &Upcall<'_>) {
        self.key.clear();
        self.mask.clear();
        self.meta.clear();
        let (mut key, mut mask) = (AttrWriter::new(&mut self.key), AttrWriter::new(&mut self.mask));
        let (mut out, mut is_ip) = (self.first, false);
        for attr in KeyAttrs::new(upcall.key).flatten() {
            // What the mask leaves open is 0 in the key: a UDP packet's protocol would ask for ports.
            let (attr, ones) = match attr {
                KeyAttr::InPort(port) => {
                    out = if port == self.first { self.second } else { self.first };
                    attr.write(&mut AttrWriter::new(&mut self.meta));
                    (attr, KeyAttr::InPort(u32::MAX))
                }
                KeyAttr::Ethernet { .. } => {
                    (attr, KeyAttr::Ethernet { src: [255; 6], dst: [255; 6] })
                }
                KeyAttr::EtherType(ty) => {
                    is_ip = ty == 0x0800;
                    (attr, KeyAttr::EtherType(0xffff))
                }
                KeyAttr::Ipv4 { frag, .. } => (ipv4(0, frag), ipv4(0, 255)),
                KeyAttr::RecircId(_) => (attr, KeyAttr::RecircId(u32::MAX)),
                _ => continue,
            };
            attr.write(&mut key);
            ones.write(&mut mask);
        }
        self.actions.clear();
        Action::Output(out).write(&mut AttrWriter::new(&mut self.actions));
        self.next += 1;
        if self.exact && is_ip && self.exact_mask.len() != upcall.key.len() {
            self.exact_mask.clear();
            exact_mask(OdpKey(upcall.key), &Support::default(), &mut self.exact_mask)
                .expect("a key");
        }
        let put = FlowPut {
            dp_ifindex: self.dp_ifindex,
            key: if self.exact { upcall.key } else { &self.key },
            mask: Some(if self.exact { &self.exact_mask } else { &self.mask }),
            actions: &self.actions,
            ufid: Some(self.next.to_be_bytes()),
            if_exists: IfExists::Fail,
            probe: false,
            clear: false,
        };
        // What else comes, to make addresses known, would need more of its key.
        if is_ip {
            put.append(&mut self.buf, self.flow, MsgFlags::empty(), 0).expect("it fits");
        }
        let execute = Execute {
            dp_ifindex: self.dp_ifindex,
            packet: upcall.packet,
            key: &self.meta,
            actions: &self.actions,
            probe: false,
            mru: upcall.mru,
            hash: upcall.hash,
        };
        execute.append(&mut self.buf, self.packet, MsgFlags::empty(), 0).expect("it fits");
    }
}

/// An IPv4 attribute of one byte, but for the fragment's kind.
fn ipv4(byte: u8, frag: u8) -> KeyAttr<'static> {
    KeyAttr::Ipv4 { src: [byte; 4], dst: [byte; 4], proto: byte, tos: byte, ttl: byte, frag }
}
