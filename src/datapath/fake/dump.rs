//! Dumps of a fake datapath's flows, in the order of their installation.
//!
//! As with the kernel, a piece is made when the one before it is fetched, and may be out of date by
//! the time it is looked at.

use std::{fmt, sync::Arc};

use ovs_netlink::flow::UfidFlags;

use super::FakeDatapath;
use crate::datapath::{DpError, DumpDetail, DumpPiece, FlowDump, error::Op};

/// Flows in a piece. The kernel's have hundreds; with few, tests have something between two pieces.
const PIECE: usize = 16;

/// What is done when a piece of a dump has been fetched, given how many of it were before.
#[derive(Clone, Default)]
pub(super) struct DumpHook(pub Option<Arc<dyn Fn(usize) + Send + Sync>>);

impl fmt::Debug for DumpHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a hook" } else { "no hook" })
    }
}

pub(super) struct FakeDump {
    datapath: FakeDatapath,
    omit: UfidFlags,
    /// The piece that is made already; `None` at the end.
    ready: Option<DumpPiece>,
    /// Number of the first flow that has not been shown.
    from: u64,
    fetched: usize,
}

impl FakeDump {
    pub fn start(datapath: FakeDatapath, detail: DumpDetail) -> Result<Self, DpError> {
        let omit = match detail {
            DumpDetail::Terse => UfidFlags::TERSE,
            DumpDetail::Full => UfidFlags::empty(),
        };
        let mut dump = Self { datapath, omit, ready: None, from: 0, fetched: 0 };
        dump.ready = dump.make()?;
        Ok(dump)
    }

    fn make(&mut self) -> Result<Option<DumpPiece>, DpError> {
        let Self { datapath, omit, from, .. } = self;
        let (dp_ifindex, unmasked) = (datapath.dp_ifindex, datapath.unmasked);
        datapath.with_dp(Op::Flow, "dump flows", |dp| {
            let mut piece = DumpPiece::new();
            let mut count = 0;
            piece.fill(|each| {
                for (&id, flow) in dp.table.flows_from(*from).take(PIECE) {
                    flow.show(dp_ifindex, *omit, unmasked, each);
                    *from = id + 1;
                    count += 1;
                }
            });
            Ok((count > 0).then_some(piece))
        })
    }
}

impl FlowDump for FakeDump {
    fn next(&mut self, piece: &mut DumpPiece) -> Result<bool, DpError> {
        let Some(ready) = self.ready.take() else {
            return Ok(false);
        };
        *piece = ready;
        self.ready = self.make()?;
        let hook = self.datapath.kernel().lock().dump_hook.clone();
        if let DumpHook(Some(hook)) = hook {
            hook(self.fetched);
        }
        self.fetched += 1;
        Ok(true)
    }
}
