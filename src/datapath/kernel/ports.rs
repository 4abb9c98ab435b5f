//! Ports of the kernel's datapath.
//!
//! What always holds: under per-vport dispatch a new port has the handlers' sockets from its first
//! packet on.
//!
//! Any thread.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use ovs_netlink::{
    RecvError, Socket,
    msg::Messages,
    ring::RecvRing,
    uapi,
    vport::{self, Vport, VportId, VportNew, VportType},
};

use super::{KernelDatapath, cpus::Cpus, socket_error};
use crate::datapath::{
    Dispatch, DpError, DpErrorKind, OdpPort, PortEvent, PortEvents, PortInfo, PortKind, PortStats,
    UpcallStats, error::Op,
};

/// Datagrams of events read by one call; one event is under a KiB.
const EVENT_SLOTS: usize = 32;
const EVENT_SLOT_BYTES: usize = 8 << 10;

impl KernelDatapath {
    pub(super) fn add_vport(
        &self,
        name: &str,
        kind: PortKind,
        want: Option<OdpPort>,
    ) -> Result<OdpPort, DpError> {
        let pids = match self.support.dispatch {
            // The attribute has to be there all the same.
            Dispatch::PerCpu => vec![0],
            Dispatch::PerVport => match self.upcall_pids() {
                pids if pids.is_empty() => vec![0],
                pids => Cpus::now().handlers_of(want.map_or(0, |odp| odp.0), &pids),
            },
        };
        let port = self.request(Op::PortAdd, format!("add port {name}"), |channel| {
            let request = VportNew {
                dp_ifindex: self.dp_ifindex,
                port_no: want.map(|p| p.0),
                ty: VportType::from_u32(kind.vport_type()),
                name,
                options: None,
                upcall_pids: &pids,
                ifindex: None,
            };
            vport::create(&mut channel.socket, &self.families, &request)
        })?;
        Ok(OdpPort(port.port_no))
    }

    pub(super) fn delete_vport(&self, port: OdpPort) -> Result<(), DpError> {
        self.request(Op::Port, format!("delete port {port}"), |channel| {
            let id = VportId::Number { dp_ifindex: self.dp_ifindex, port_no: port.0 };
            vport::delete(&mut channel.socket, &self.families, id)
        })
    }

    pub(super) fn vports(&self) -> Result<Vec<PortInfo>, DpError> {
        let all = self.request(Op::Port, "list ports", |channel| {
            vport::dump(&mut channel.socket, &self.families, self.dp_ifindex)
        })?;
        Ok(all.into_iter().map(info).collect())
    }

    pub(super) fn vport(&self, name: &str) -> Result<Option<PortInfo>, DpError> {
        let found = self.request(Op::Port, format!("find port {name}"), |channel| {
            vport::get(&mut channel.socket, &self.families, VportId::Name(name))
        });
        match found {
            Ok(port) if port.dp_ifindex == self.dp_ifindex => Ok(Some(info(port))),
            // A port of another datapath.
            Ok(_) => Ok(None),
            // The kernel finds no port by name whose device was renamed.
            Err(e) if e.kind == DpErrorKind::NoSuchPort => {
                Ok(self.vports()?.into_iter().find(|p| p.name == name))
            }
            Err(e) => Err(e),
        }
    }

    pub(super) fn watch_vports(&self) -> Result<Box<dyn PortEvents>, DpError> {
        let failed = |e: std::io::Error| socket_error("watch ports", &e);
        let group = self.families.vport.group(uapi::OVS_VPORT_MCGROUP).ok_or_else(|| {
            DpError::new(DpErrorKind::Unsupported, "watch ports", 0)
                .with_message(Some("no multicast group ovs_vport".to_owned()))
        })?;
        let mut socket = Socket::open().map_err(failed)?;
        socket.set_rcvbuf_force(crate::limits::REQUEST_RCVBUF_BYTES).map_err(failed)?;
        socket.join(group).map_err(failed)?;
        Ok(Box::new(VportEvents {
            socket,
            ring: RecvRing::with_slot(EVENT_SLOTS, EVENT_SLOT_BYTES),
            family: self.families.vport.id,
            dp_ifindex: self.dp_ifindex,
        }))
    }
}

/// Notifications of the vport family.
struct VportEvents {
    socket: Socket,
    ring: RecvRing,
    family: u16,
    dp_ifindex: u32,
}

impl PortEvents for VportEvents {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn read(&mut self, each: &mut dyn FnMut(PortEvent)) -> Result<(), DpError> {
        loop {
            match self.socket.recv_batch(&mut self.ring, Duration::ZERO) {
                Ok(0) => return Ok(()),
                Ok(_) => (),
                Err(RecvError::Overrun | RecvError::Truncated { .. }) => {
                    each(PortEvent::Overrun);
                    continue;
                }
                Err(RecvError::Io(e)) => return Err(socket_error("watch ports", &e)),
            }
            for datagram in self.ring.iter() {
                let Ok(datagram) = datagram else {
                    each(PortEvent::Overrun);
                    continue;
                };
                for message in Messages::new(datagram).map_while(Result::ok) {
                    let Ok(genl) = message.genl() else { continue };
                    if message.kind != self.family {
                        continue;
                    }
                    match Vport::parse(genl.body) {
                        Ok(port) if port.dp_ifindex != self.dp_ifindex => (),
                        Ok(port) if genl.cmd == uapi::OVS_VPORT_CMD_DEL => {
                            each(PortEvent::Removed(info(port)));
                        }
                        Ok(port) => each(PortEvent::Changed(info(port))),
                        // Something happened that we do not understand.
                        Err(_) => each(PortEvent::Overrun),
                    }
                }
            }
        }
    }
}

fn info(port: Vport) -> PortInfo {
    let s = port.stats.unwrap_or_default();
    PortInfo {
        odp: OdpPort(port.port_no),
        kind: PortKind::from_vport_type(port.ty.to_u32()),
        name: port.name,
        ifindex: port.ifindex,
        netns_id: port.netnsid,
        stats: PortStats {
            rx_packets: s.rx_packets,
            tx_packets: s.tx_packets,
            rx_bytes: s.rx_bytes,
            tx_bytes: s.tx_bytes,
            rx_errors: s.rx_errors,
            tx_errors: s.tx_errors,
            rx_dropped: s.rx_dropped,
            tx_dropped: s.tx_dropped,
        },
        upcall_stats: port.upcall_stats.map(|u| UpcallStats { success: u.success, fail: u.fail }),
    }
}
