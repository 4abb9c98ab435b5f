//! A hub: every packet goes out of every other port. The whole forwarding decision is made here, the
//! kernel's openvswitch module does the forwarding; no other part of Open vSwitch takes part.
//!
//! Needs the openvswitch module and CAP_NET_ADMIN:
//! `cargo run -p ovs-netlink --example hub -- NAME DEVICE…`
//! makes a datapath NAME (and removes one that has the name already) with the given devices as
//! ports, and runs until it is killed. Its local port, a network device NAME, is on the hub as well.
//! `ovs-dpctl show` and `ovs-dpctl dump-flows` show what it did: for each port on which something
//! came in, one flow that matches on the port alone and outputs to all others.

use std::time::Duration;

use ovs_netlink::action::Action;
use ovs_netlink::attr::AttrWriter;
use ovs_netlink::datapath::{self, DatapathId, DatapathNew, UserFeatures};
use ovs_netlink::flow::{FlowPut, IfExists};
use ovs_netlink::key::{KeyAttr, KeyAttrs};
use ovs_netlink::msg::{Messages, MsgBuf, MsgFlags};
use ovs_netlink::packet::{Execute, Upcall};
use ovs_netlink::vport::{self, VportNew, VportType};
use ovs_netlink::{Families, RecvError, RecvRing, Socket};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Upcalls that are read, and whose answers are sent, by one system call.
const BATCH: usize = 64;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, devices)) = args.split_first() else {
        return Err("usage: hub NAME DEVICE...".into());
    };
    let mut hub = Hub::build(name, devices)?;
    println!("hub {name}: ports {:?}", hub.ports);
    hub.run()
}

struct Hub {
    families: Families,
    dp_ifindex: u32,
    ports: Vec<u32>,
    /// Where the kernel sends packets that match no flow.
    upcalls: Socket,
    /// Where flows and packets go to the kernel, and its errors come back.
    answers: Socket,
    buf: MsgBuf,
    mask: Vec<u8>,
    actions: Vec<u8>,
}

impl Hub {
    fn build(name: &str, devices: &[String]) -> Result<Self> {
        let mut control = Socket::open()?;
        let families = Families::resolve_on(&mut control)?;
        let mut upcalls = Socket::open()?;
        upcalls.set_rcvbuf_force(4 << 20)?;

        match datapath::delete(&mut control, &families, DatapathId::Name(name)) {
            Err(e) if e.errno() != Some(libc::ENODEV) => return Err(e.into()),
            _ => {}
        }
        let request = DatapathNew {
            name,
            upcall_pid: upcalls.port_id(),
            user_features: UserFeatures::UNALIGNED,
            ..DatapathNew::default()
        };
        let dp = datapath::create(&mut control, &families, &request)?;
        let mut ports = vec![0];
        for device in devices {
            let request = VportNew {
                dp_ifindex: dp.ifindex,
                port_no: None,
                ty: VportType::Netdev,
                name: device,
                options: None,
                upcall_pids: &[upcalls.port_id()],
                ifindex: None,
            };
            ports.push(vport::create(&mut control, &families, &request)?.port_no);
        }

        // Of a packet only the port that it came in on matters.
        let mut mask = Vec::new();
        KeyAttr::InPort(u32::MAX).write(&mut AttrWriter::new(&mut mask));
        let (answers, buf, actions) = (Socket::open()?, MsgBuf::new(), Vec::new());
        Ok(Self { families, dp_ifindex: dp.ifindex, ports, upcalls, answers, buf, mask, actions })
    }

    fn run(&mut self) -> Result<()> {
        let mut ring = RecvRing::new(BATCH);
        loop {
            match self.upcalls.recv_batch(&mut ring, Duration::from_secs(1)) {
                Ok(_) => {}
                Err(RecvError::Overrun) => eprintln!("upcalls were lost"),
                Err(e) => return Err(e.into()),
            }
            self.buf.clear();
            for message in ring.iter().flatten().flat_map(Messages::new).flatten() {
                match message.genl().map(Upcall::parse) {
                    Ok(Ok(upcall)) => self.answer(&upcall)?,
                    other => eprintln!("not an upcall: {other:?}"),
                }
            }
            self.answers.send(self.buf.as_bytes())?;
            self.answers.drain_errors(|_, refusal| {
                // Packets that came up before their flow was there bring it again.
                if refusal.errno != libc::EEXIST {
                    eprintln!("the kernel refused: {refusal:?}");
                }
            })?;
        }
    }

    /// Appends a flow for the packets to come and an execute for this one.
    fn answer(&mut self, upcall: &Upcall<'_>) -> Result<()> {
        let in_port = KeyAttrs::new(upcall.key).find_map(|attr| match attr {
            Ok(KeyAttr::InPort(port)) => Some(port),
            _ => None,
        });
        let Some(in_port) = in_port else { return Ok(()) };
        println!("packet of {} bytes from port {in_port}", upcall.packet.len());
        self.actions.clear();
        let mut w = AttrWriter::new(&mut self.actions);
        for &port in self.ports.iter().filter(|&&port| port != in_port) {
            Action::Output(port).write(&mut w);
        }
        let put = FlowPut {
            dp_ifindex: self.dp_ifindex,
            key: upcall.key,
            mask: Some(&self.mask),
            actions: &self.actions,
            ufid: None,
            if_exists: IfExists::Fail,
            probe: false,
            clear: false,
        };
        put.append(&mut self.buf, self.families.flow.id, MsgFlags::empty(), 0)?;
        let execute = Execute {
            dp_ifindex: self.dp_ifindex,
            packet: upcall.packet,
            key: upcall.key,
            actions: &self.actions,
            probe: false,
            mru: upcall.mru,
            hash: upcall.hash,
        };
        execute.append(&mut self.buf, self.families.packet.id, MsgFlags::empty(), 0)?;
        Ok(())
    }
}
