//! Dumps of the kernel's flows.
//!
//! What always holds: a dump shows every flow that was there all the while; its socket goes back to
//! those for requests with nothing left in it.

use ovs_netlink::{
    Error, Families,
    flow::{FlowDump as Request, UfidFlags},
    socket::DumpProgress,
};

use super::{Channel, Channels, KernelDatapath, explain, translate};
use crate::{
    datapath::{Datapath, DpError, DumpDetail, DumpPiece, FlowDump, error::Op},
    limits,
};

pub(super) struct KernelDump {
    name: String,
    dp_ifindex: u32,
    families: Families,
    omit: UfidFlags,
    channels: Channels,
    /// The socket, and how far it is; none when the dump has ended.
    under_way: Option<(Channel, DumpProgress)>,
    attempts_left: u32,
}

impl KernelDump {
    pub fn start(datapath: &KernelDatapath, detail: DumpDetail) -> Result<Self, DpError> {
        let (omit, channels) = match detail {
            DumpDetail::Terse => (UfidFlags::TERSE, &datapath.terse_channels),
            DumpDetail::Full => (UfidFlags::empty(), &datapath.channels),
        };
        let mut dump = Self {
            name: datapath.name().to_owned(),
            dp_ifindex: datapath.dp_ifindex,
            families: datapath.families.clone(),
            omit,
            channels: channels.clone(),
            under_way: None,
            attempts_left: limits::DUMP_ATTEMPTS,
        };
        let channel = dump.channels.take().map_err(|e| translate(Op::Flow, DUMP.into(), e))?;
        dump.begin(channel)?;
        Ok(dump)
    }

    fn begin(&mut self, mut channel: Channel) -> Result<(), DpError> {
        self.attempts_left -= 1;
        channel.buf.clear();
        let request = Request { dp_ifindex: self.dp_ifindex, omit: self.omit };
        let encoded = request.append(&mut channel.buf, self.families.flow.id, 0);
        let begun = encoded
            .map_err(Error::Encode)
            .and_then(|()| channel.socket.begin_dump(&mut channel.buf));
        match begun {
            Ok(progress) => {
                self.under_way = Some((channel, progress));
                Ok(())
            }
            Err(e) => Err(self.failed(channel, e)),
        }
    }

    /// Says what went wrong.
    fn failed(&self, mut channel: Channel, error: Error) -> DpError {
        let error = translate(Op::Flow, DUMP.into(), error);
        let error =
            explain(&mut channel.socket, &self.families, self.dp_ifindex, &self.name, error);
        self.channels.give_back(channel);
        error
    }
}

const DUMP: &str = "dump flows";

impl FlowDump for KernelDump {
    fn next(&mut self, piece: &mut DumpPiece) -> Result<bool, DpError> {
        loop {
            let Some((mut channel, mut progress)) = self.under_way.take() else {
                return Ok(false);
            };
            match channel.socket.next_datagram(&mut progress, &mut piece.datagram) {
                Ok(true) => {
                    self.under_way = Some((channel, progress));
                    return Ok(true);
                }
                Ok(false) if !progress.interrupted() => {
                    self.channels.give_back(channel);
                    return Ok(false);
                }
                Ok(false) if self.attempts_left > 0 => self.begin(channel)?,
                Ok(false) => {
                    let attempts = limits::DUMP_ATTEMPTS;
                    return Err(self.failed(channel, Error::Interrupted { attempts }));
                }
                Err(e) => {
                    channel.socket.end_dump(progress);
                    return Err(self.failed(channel, e));
                }
            }
        }
    }
}

impl Drop for KernelDump {
    fn drop(&mut self) {
        if let Some((mut channel, progress)) = self.under_way.take() {
            channel.socket.end_dump(progress);
            self.channels.give_back(channel);
        }
    }
}
