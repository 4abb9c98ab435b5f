//! Timeout policies of the fake kernel's conntrack: kept and told, for nothing is tracked there.
//!
//! What always holds: as with the stock module, one that is in use is not removed, one that is not
//! there is removed without complaint, and without the kernel's module for them all is `EINVAL`.

use std::collections::{BTreeMap, BTreeSet};

use super::{FakeKernel, Refusal};
use crate::datapath::{CtPolicyId, CtTimeouts, DpError, DpErrorKind, error::Op};

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct CtPolicies {
    policies: BTreeMap<CtPolicyId, CtTimeouts>,
    /// Those that something uses.
    used: BTreeSet<CtPolicyId>,
    /// The module is not there.
    is_absent: bool,
}

impl CtPolicies {
    pub(super) fn list(&self) -> Result<BTreeSet<CtPolicyId>, DpError> {
        let ids = self.policies.keys().copied().collect();
        self.asked(|| "list conntrack timeout policies".to_owned())
            .map(|()| ids)
            .map_err(|error| DpError { kind: DpErrorKind::Unsupported, ..error })
    }

    pub(super) fn set(&mut self, id: CtPolicyId, timeouts: &CtTimeouts) -> Result<(), DpError> {
        self.asked(|| format!("set conntrack timeout policy {}", id.0))?;
        self.policies.insert(id, timeouts.clone());
        Ok(())
    }

    pub(super) fn delete(&mut self, id: CtPolicyId) -> Result<(), DpError> {
        let doing = || format!("delete conntrack timeout policy {}", id.0);
        self.asked(doing)?;
        if self.used.contains(&id) {
            return Err(Refusal::new(libc::EBUSY, "").error(Op::Datapath, doing()));
        }
        self.policies.remove(&id);
        Ok(())
    }

    fn asked(&self, doing: impl Fn() -> String) -> Result<(), DpError> {
        match self.is_absent {
            true => Err(Refusal::invalid("").error(Op::Datapath, doing())),
            false => Ok(()),
        }
    }
}

impl FakeKernel {
    /// The timeout policies that there are.
    pub fn ct_policies(&self) -> BTreeMap<CtPolicyId, CtTimeouts> {
        self.lock().ct_policies.policies.clone()
    }

    /// Something uses a timeout policy from now on, or does no longer.
    pub fn use_ct_policy(&self, id: CtPolicyId, is_used: bool) {
        let used = &mut self.lock().ct_policies.used;
        let _ = if is_used { used.insert(id) } else { used.remove(&id) };
    }

    /// Takes away the module for timeout policies, with all of them, or brings it back.
    pub fn set_ct_policies_absent(&self, is_absent: bool) {
        let policies = &mut self.lock().ct_policies;
        policies.is_absent = is_absent;
        policies.policies.clear();
    }
}
