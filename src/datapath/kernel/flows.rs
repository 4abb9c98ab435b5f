//! Flows of the kernel's datapath, and packets for it to carry out.
//!
//! What always holds: changes go out in batches whose answers fit the socket's receive buffer, and
//! each gets its answer. (Dumps are in `dump.rs`.)
//!
//! Any thread.

use ovs_netlink::{
    Error,
    flow::{FlowDel, FlowFlush, FlowGet, FlowId, FlowMsg, FlowPut, FlowSet, IfExists, UfidFlags},
    msg::{Message, MsgBuf, MsgError, MsgFlags},
    packet::Execute,
};

use super::{KernelDatapath, translate};
use crate::{
    datapath::{DpError, DpErrorKind, FlowOp, FlowResult, FlowTotals, error::Op},
    limits,
};

impl KernelDatapath {
    pub(super) fn find_flow(
        &self,
        ufid: &[u8; 16],
        each: &mut dyn FnMut(&FlowMsg<'_>),
    ) -> Result<bool, DpError> {
        let result = self.request(Op::Flow, "get flow", |channel| {
            let id = FlowId::Ufid(*ufid);
            let request = FlowGet { dp_ifindex: self.dp_ifindex, id, omit: UfidFlags::empty() };
            let flags = MsgFlags::empty();
            request
                .append(&mut channel.buf, self.families.flow.id, flags, 0)
                .map_err(Error::Encode)?;
            match channel.socket.transact(&mut channel.buf)? {
                Some(message) => {
                    each(&parse(&message)?);
                    Ok(())
                }
                None => Err(Error::NoObject),
            }
        });
        match result {
            Ok(()) => Ok(true),
            Err(e) if e.kind == DpErrorKind::NoSuchFlow => Ok(false),
            Err(e) => Err(e),
        }
    }

    pub(super) fn change_flows(&self, ops: &[FlowOp<'_>], done: &mut dyn FnMut(usize, FlowResult)) {
        let mut first = 0;
        for batch in ops.chunks(limits::FLOW_OPS_BATCH) {
            let mut results: Vec<Option<FlowResult>> = vec![None; batch.len()];
            let sent = self.request(Op::Flow, "change flows", |channel| {
                self.change_batch(&mut channel.socket, &mut channel.buf, batch, &mut results);
                // One question settles what the answers mean that have two meanings.
                match results
                    .iter()
                    .flatten()
                    .find_map(|r| r.as_ref().err().filter(|e| is_vague(e)))
                {
                    Some(vague) => Ok(Some(self.explain(&mut channel.socket, vague.clone()).kind)),
                    None => Ok(None),
                }
            });
            for (index, result) in results.into_iter().enumerate() {
                let result = match (result, &sent) {
                    (Some(Err(mut e)), Ok(Some(kind))) if is_vague(&e) => {
                        e.kind = *kind;
                        Err(e)
                    }
                    (Some(result), _) => result,
                    (None, Err(e)) => Err(e.clone()),
                    (None, Ok(_)) => Err(DpError::new(DpErrorKind::Malformed, "change flows", 0)),
                };
                done(first + index, result);
            }
            first += batch.len();
        }
    }

    /// Sends `batch` in one go and notes each answer.
    fn change_batch(
        &self,
        socket: &mut ovs_netlink::Socket,
        buf: &mut MsgBuf,
        batch: &[FlowOp<'_>],
        results: &mut [Option<FlowResult>],
    ) {
        // An operation that cannot be expressed is not sent: index in the buffer → in the batch.
        let mut sent = Vec::with_capacity(batch.len());
        for (index, op) in batch.iter().enumerate() {
            match self.append(op, buf) {
                Ok(()) => sent.push(index),
                Err(e) => note(results, index, Err(translate(Op::Flow, doing(op).into(), e))),
            }
        }
        socket.transact_batch(buf, |n, answer| {
            let Some(&index) = sent.get(n) else { return };
            let Some(op) = batch.get(index) else { return };
            let result = answer.and_then(|message| match message {
                Some(message) => Ok(Some(totals(&parse(&message)?))),
                None => Ok(None),
            });
            note(results, index, result.map_err(|e| translate(Op::Flow, doing(op).into(), e)));
        });
    }

    fn append(&self, op: &FlowOp<'_>, buf: &mut MsgBuf) -> Result<(), Error> {
        let (dp_ifindex, family) = (self.dp_ifindex, self.families.flow.id);
        let encoded = match *op {
            FlowOp::Put { ufid, key, mask, actions } => FlowPut {
                dp_ifindex,
                key,
                mask,
                actions,
                ufid: ufid.copied(),
                if_exists: IfExists::Fail,
                probe: false,
                clear: false,
            }
            .append(buf, family, MsgFlags::ACK, 0),
            FlowOp::Modify { ufid, key, mask, actions } => FlowSet {
                dp_ifindex,
                key,
                mask,
                actions: Some(actions),
                ufid: ufid.copied(),
                probe: false,
                clear: false,
            }
            .append(buf, family, MsgFlags::ACK, 0),
            FlowOp::Del { ufid, key } => {
                let id = ufid.map_or(FlowId::Key(key), |u| FlowId::Ufid(*u));
                FlowDel { dp_ifindex, id, terse: true, probe: false }.append(
                    buf,
                    family,
                    MsgFlags::ECHO,
                    0,
                )
            }
        };
        encoded.map_err(Error::Encode)
    }

    pub(super) fn flush_flows(&self) -> Result<(), DpError> {
        self.request(Op::Flow, "flush flows", |channel| {
            let request = FlowFlush { dp_ifindex: self.dp_ifindex };
            request
                .append(&mut channel.buf, self.families.flow.id, MsgFlags::empty(), 0)
                .map_err(Error::Encode)?;
            channel.socket.transact(&mut channel.buf).map(drop)
        })
    }

    pub(super) fn execute_packet(
        &self,
        packet: &[u8],
        key: &[u8],
        actions: &[u8],
    ) -> Result<(), DpError> {
        self.request(Op::Execute, "execute actions", |channel| {
            Execute {
                dp_ifindex: self.dp_ifindex,
                packet,
                key,
                actions,
                probe: false,
                mru: None,
                hash: None,
            }
            .append(&mut channel.buf, self.families.packet.id, MsgFlags::empty(), 0)
            .map_err(Error::Encode)?;
            channel.socket.transact(&mut channel.buf).map(drop)
        })
    }
}

fn note(results: &mut [Option<FlowResult>], index: usize, result: FlowResult) {
    if let Some(slot) = results.get_mut(index) {
        *slot = Some(result);
    }
}

/// Whether the cause needs a second look: no such flow, or no such families.
const fn is_vague(error: &DpError) -> bool {
    matches!(error.errno, libc::ENOENT)
}

const fn doing(op: &FlowOp<'_>) -> &'static str {
    match op {
        FlowOp::Put { .. } => "put flow",
        FlowOp::Modify { .. } => "modify flow",
        FlowOp::Del { .. } => "delete flow",
    }
}

#[inline]
fn parse<'a>(message: &Message<'a>) -> Result<FlowMsg<'a>, MsgError> {
    FlowMsg::parse(message.genl()?.body)
}

fn totals(flow: &FlowMsg<'_>) -> FlowTotals {
    let stats = flow.stats.unwrap_or_default();
    FlowTotals {
        packets: stats.packets,
        bytes: stats.bytes,
        used_ms: flow.used_ms,
        tcp_flags: flow.tcp_flags.unwrap_or(0),
    }
}
