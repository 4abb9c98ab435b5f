//! Handlers of the kernel's upcalls: their sockets, and telling the kernel about them.
//!
//! What always holds: upcalls are received on one socket and everything is sent on another, so that
//! answers never stand in the way of upcalls; a socket that lost upcalls stays open and is read on.
//!
//! Each [`KernelUpcallPort`] belongs to one thread.

use std::{sync::PoisonError, time::Duration};

use ovs_netlink::{
    Socket,
    ring::RecvRing,
    vport::{self, VportId, VportSet},
};

use super::{KernelDatapath, cpus::Cpus, socket_error};
use crate::datapath::{
    Datapath, Dispatch, DpError, DpErrorKind, OdpPort, RecvError, SendError, UpcallPort, error::Op,
};

impl KernelDatapath {
    pub(super) fn open_kernel_handlers(
        &self,
        n: usize,
    ) -> Result<Vec<Box<dyn UpcallPort>>, DpError> {
        let mut ports = Vec::new();
        let mut pids = Vec::new();
        for _ in 0..n.max(1) {
            let port = KernelUpcallPort::open(self.options.upcall_rcvbuf_bytes)
                .map_err(|e| socket_error("open an upcall socket", &e))?;
            pids.push(port.upcalls.port_id());
            ports.push(Box::new(port) as Box<dyn UpcallPort>);
        }
        *self.handlers.lock().unwrap_or_else(PoisonError::into_inner) = pids;
        self.direct_upcalls()?;
        Ok(ports)
    }

    /// Tells the kernel where upcalls go, as the handlers and CPUs are now.
    pub(super) fn direct_upcalls(&self) -> Result<(), DpError> {
        let pids = self.upcall_pids();
        let cpus = Cpus::now();
        match self.support.dispatch {
            _ if pids.is_empty() => Ok(()),
            Dispatch::PerCpu => self.set_pids(&cpus.table(&pids)),
            Dispatch::PerVport => {
                for port in self.ports()? {
                    match self.set_port_pids(port.odp, &cpus.handlers_of(port.odp.0, &pids)) {
                        // It went away meanwhile.
                        Err(e) if e.kind == DpErrorKind::NoSuchPort => (),
                        result => result?,
                    }
                }
                Ok(())
            }
        }
    }

    /// Port ids of the handlers, none while there are none.
    pub(super) fn upcall_pids(&self) -> Vec<u32> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_port_pids(&self, port: OdpPort, pids: &[u32]) -> Result<(), DpError> {
        self.request(Op::Port, "set a port's upcall sockets", |channel| {
            let id = VportId::Number { dp_ifindex: self.dp_ifindex, port_no: port.0 };
            let request = VportSet { id, upcall_pids: Some(pids), options: None };
            vport::set(&mut channel.socket, &self.families, &request).map(drop)
        })
    }
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct KernelUpcallPort {
    upcalls: Socket,
    requests: Socket,
}

impl KernelUpcallPort {
    fn open(rcvbuf_bytes: usize) -> std::io::Result<Self> {
        let mut upcalls = Socket::open()?;
        upcalls.set_rcvbuf_force(rcvbuf_bytes)?;
        Ok(Self { upcalls, requests: Socket::open()? })
    }
}

impl UpcallPort for KernelUpcallPort {
    fn recv(&mut self, ring: &mut RecvRing, timeout: Duration) -> Result<usize, RecvError> {
        self.upcalls.recv_batch(ring, timeout).map_err(|e| match e {
            ovs_netlink::RecvError::Overrun => RecvError::Overrun,
            ovs_netlink::RecvError::Truncated { len } => RecvError::Truncated(len),
            ovs_netlink::RecvError::Io(e) => RecvError::Io(e.raw_os_error().unwrap_or(0)),
        })
    }

    fn send(&mut self, messages: &[u8]) -> Result<(), SendError> {
        self.requests.send(messages).map_err(|e| match e.raw_os_error().unwrap_or(0) {
            libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN => SendError::NoBuffers,
            errno => SendError::Io(errno),
        })
    }

    fn errors(&mut self, each: &mut dyn FnMut(u32, i32)) {
        // Refusals that are lost for want of space leave a flow believed installed; the next dump
        // does not show it.
        let _ = self.requests.drain_errors(|seq, ack| {
            if ack.errno != 0 {
                each(seq, ack.errno);
            }
        });
    }
}
