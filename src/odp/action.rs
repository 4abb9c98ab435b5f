//! Lists of datapath actions: built in a buffer that is reused, measured, walked.
//!
//! What always holds: the list is well formed at every moment outside of an open nest; an action
//! that does not fit the 65,535 bytes of an attribute is not taken halfway, and the list then says
//! so in [`OdpActions::check`]. Plain values: any thread.
//!
//! Source: `linux/openvswitch.h`, `__ovs_nla_copy_actions` in `net/openvswitch/flow_netlink.c`.

use ovs_netlink::action::{ACTION_DEPTH_MAX, Action, Actions};
use ovs_netlink::attr::{AttrError, AttrWriter, NLA_HDRLEN, align4};
use ovs_netlink::uapi::OVS_ACTION_ATTR_SET;
use thiserror::Error;

use super::cookie::UserCookie;
use super::key::ODPP_NONE;
use super::tunnel;
use crate::flow::FlowTnl;

/// Longest list that an attribute can hold.
pub const ACTIONS_BYTES_MAX: usize = u16::MAX as usize - NLA_HDRLEN;

/// Bytes that kernels before 6.15 (and its stable backports) set aside for a flow's actions in
/// their own form; see [`OdpActions::kernel_len`]. Later ones have no bound of their own.
pub const KERNEL_ACTIONS_BYTES_MAX: usize = 32 * 1024;

/// A list of datapath actions, encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OdpActions {
    list: Vec<u8>,
    error: Option<AttrError>,
}

/// Why a datapath will not take a list of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ActionsError {
    /// Something in it did not fit, or it was not well formed when it was copied in.
    #[error(transparent)]
    Attr(#[from] AttrError),
    /// The list as a whole exceeds [`ACTIONS_BYTES_MAX`].
    #[error("{0} bytes of actions are more than an attribute holds")]
    TooLong(usize),
    /// In the kernel's form it exceeds what it sets aside.
    #[error("actions take {0} bytes in the kernel, more than it sets aside")]
    TooLongForKernel(usize),
    /// Lists nest deeper than the kernel follows.
    #[error("actions nest deeper than {ACTION_DEPTH_MAX}")]
    TooDeep,
}

impl OdpActions {
    /// An empty list: drop.
    pub const fn new() -> Self {
        Self { list: Vec::new(), error: None }
    }

    /// Forgets the actions, keeps the buffer.
    pub fn clear(&mut self) {
        self.list.clear();
        self.error = None;
    }

    /// The encoded list.
    pub fn as_bytes(&self) -> &[u8] {
        &self.list
    }

    /// Bytes of the encoded list: a position for [`Self::truncate`].
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True when there is no action.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes back the actions after `len`, a position from [`Self::len`].
    pub fn truncate(&mut self, len: usize) {
        self.list.truncate(len);
    }

    /// Walks the actions.
    pub fn iter(&self) -> Actions<'_> {
        Actions::new(&self.list)
    }

    /// Appends an action.
    pub fn push(&mut self, action: Action<'_>) {
        self.with(|w| action.write(w));
    }

    /// Appends an output to a port.
    pub fn output(&mut self, port: u32) {
        self.push(Action::Output(port));
    }

    /// Appends an encoded list.
    pub fn extend(&mut self, list: &[u8]) {
        self.with(|w| w.raw(list));
    }

    /// Appends a userspace action. `tunnel_port` is the output port whose tunnel the upcall is to
    /// tell, [`ODPP_NONE`] for none; `with_actions` has the upcall carry the flow's actions.
    ///
    /// Returns where in the list the cookie begins, for [`Self::set_cookie`].
    pub fn userspace(
        &mut self,
        pid: u32,
        cookie: &UserCookie,
        tunnel_port: u32,
        with_actions: bool,
    ) -> usize {
        // Behind the headers of the action and of the pid, the pid, and the header of the cookie.
        let at = self.list.len() + 3 * NLA_HDRLEN + size_of::<u32>();
        self.push(Action::Userspace {
            pid,
            userdata: Some(&cookie.encode()),
            egress_tun_port: Some(tunnel_port).filter(|&port| port != ODPP_NONE),
            actions: with_actions,
        });
        at
    }

    /// Writes another cookie over the one at `at`, a place that [`Self::userspace`] returned. False
    /// when there is none any more.
    pub fn set_cookie(&mut self, at: usize, cookie: &UserCookie) -> bool {
        let cookie = cookie.encode();
        let Some(place) = self.list.get_mut(at..).and_then(|l| l.get_mut(..cookie.len())) else {
            return false;
        };
        place.copy_from_slice(&cookie);
        true
    }

    /// Appends the action that has packets leave by this tunnel. `options` are encoded Geneve
    /// options, where `tunnel` holds mapped ones.
    pub fn set_tunnel(&mut self, tunnel: &FlowTnl, options: Option<&[u8]>) {
        self.with(|w| {
            let set = w.begin(OVS_ACTION_ATTR_SET);
            // What did not fit is remembered by the writer.
            let _ = tunnel::write(w, tunnel, None, options);
            let _ = w.end(set);
        });
    }

    /// Appends with a writer; for actions with lists inside, see [`ovs_netlink::action`].
    pub fn with<R>(&mut self, f: impl FnOnce(&mut AttrWriter<'_>) -> R) -> R {
        let mut w = AttrWriter::new(&mut self.list);
        let result = f(&mut w);
        if let Err(error) = w.finish() {
            self.error.get_or_insert(error);
        }
        result
    }

    /// Bytes that the kernel needs for the list in its own form, rounded up: there, a conntrack
    /// action is some 200 bytes whatever it says, and a set action holds a mask.
    ///
    /// # Errors
    /// When the list is not well formed or nests too deep.
    pub fn kernel_len(&self) -> Result<usize, ActionsError> {
        kernel_len(&self.list, 0)
    }

    /// Whether a datapath can take the list; `kernel_bytes_max` is the bound on
    /// [`Self::kernel_len`], if it has one.
    ///
    /// # Errors
    /// Why not. Packets of such a flow must be handled in user space.
    pub fn check(&self, kernel_bytes_max: Option<usize>) -> Result<(), ActionsError> {
        if let Some(error) = self.error {
            return Err(error.into());
        }
        if self.list.len() > ACTIONS_BYTES_MAX {
            return Err(ActionsError::TooLong(self.list.len()));
        }
        // Nothing grows more than 64-fold, so that short lists need not be walked.
        match kernel_bytes_max {
            Some(max) if self.list.len() > max / 64 => match self.kernel_len()? {
                len if len > max => Err(ActionsError::TooLongForKernel(len)),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl<'a> IntoIterator for &'a OdpActions {
    type Item = Result<Action<'a>, AttrError>;
    type IntoIter = Actions<'a>;

    fn into_iter(self) -> Actions<'a> {
        self.iter()
    }
}

/// `struct ovs_conntrack_info` with its header, rounded up over the versions seen.
const KERNEL_CT_LEN: usize = 256;
/// Header and argument that the kernel puts before a nested list.
const KERNEL_NEST_LEN: usize = 16;

fn kernel_len(list: &[u8], depth: usize) -> Result<usize, ActionsError> {
    if depth > ACTION_DEPTH_MAX {
        return Err(ActionsError::TooDeep);
    }
    let mut total = 0;
    let mut walk = Actions::new(list);
    let mut left = walk.rest().len();
    while let Some(action) = walk.next() {
        let wire = align4(left - walk.rest().len());
        left = walk.rest().len();
        total += match action? {
            Action::Ct(_) => KERNEL_CT_LEN,
            Action::Set(_) => 2 * wire,
            Action::Clone(inside) | Action::Sample { actions: inside, .. } => {
                wire + KERNEL_NEST_LEN - inside.len() + kernel_len(inside, depth + 1)?
            }
            Action::DecTtl(inside) => {
                wire + KERNEL_NEST_LEN - inside.len() + kernel_len(inside, depth + 1)?
            }
            Action::CheckPktLen { greater, less_equal, .. } => {
                wire + 2 * KERNEL_NEST_LEN - greater.len() - less_equal.len()
                    + kernel_len(greater, depth + 1)?
                    + kernel_len(less_equal, depth + 1)?
            }
            _ => wire,
        };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use ovs_netlink::action::{begin_clone, begin_sample};
    use proptest::prelude::*;

    use super::*;
    use crate::odp::cookie::{CookieReason, SlowPathReason};

    fn cookie(reason: SlowPathReason) -> UserCookie {
        UserCookie { ofp_in_port: 3, ofproto: [9; 16], reason: CookieReason::SlowPath(reason) }
    }

    #[test]
    fn a_list_is_what_was_appended() {
        let mut actions = OdpActions::new();
        actions.push(Action::PopVlan);
        actions.output(3);
        let end = actions.len();
        actions.output(4);
        actions.truncate(end);
        actions
            .with(|w| {
                let clone = begin_clone(w);
                Action::Output(5).write(w);
                clone.end(w)
            })
            .unwrap();
        let list: Vec<_> = actions.iter().map(Result::unwrap).collect();
        assert_eq!(list.len(), 3);
        assert_eq!(list[..2], [Action::PopVlan, Action::Output(3)]);
        assert!(matches!(list[2], Action::Clone(inside) if inside.len() == 8));
        assert_eq!(actions.check(Some(KERNEL_ACTIONS_BYTES_MAX)), Ok(()));
        actions.clear();
        assert!(actions.is_empty());
    }

    #[test]
    fn a_cookie_can_be_changed_in_its_place() {
        let mut actions = OdpActions::new();
        actions.output(1);
        let at = actions.userspace(7, &cookie(SlowPathReason::LACP), ODPP_NONE, true);
        actions.output(2);
        assert!(actions.set_cookie(at, &cookie(SlowPathReason::STP)));
        let userdata = actions.iter().find_map(|a| match a.unwrap() {
            Action::Userspace { pid: 7, userdata, egress_tun_port: None, actions: true } => {
                userdata
            }
            _ => None,
        });
        assert_eq!(UserCookie::parse(userdata.unwrap()), Some(cookie(SlowPathReason::STP)));
        assert!(!actions.set_cookie(actions.len() - 40, &cookie(SlowPathReason::STP)));
    }

    #[test]
    fn long_lists_are_told() {
        let mut actions = OdpActions::new();
        for port in 0..4096 {
            actions.output(port);
        }
        assert_eq!(actions.check(Some(KERNEL_ACTIONS_BYTES_MAX)), Ok(()));
        actions.output(4096);
        let len = KERNEL_ACTIONS_BYTES_MAX + 8;
        assert_eq!(
            actions.check(Some(KERNEL_ACTIONS_BYTES_MAX)),
            Err(ActionsError::TooLongForKernel(len))
        );
        assert_eq!(actions.check(None), Ok(()));
        for port in 0..5000 {
            actions.output(port);
        }
        assert_eq!(actions.check(None), Err(ActionsError::TooLong(len + 40_000)));
        actions.clear();
        actions.push(Action::Clone(&[0; 65_532]));
        assert!(matches!(actions.check(None), Err(ActionsError::Attr(_))));
    }

    #[test]
    fn conntrack_actions_are_longer_in_the_kernel() {
        let mut actions = OdpActions::new();
        for _ in 0..200 {
            actions.push(Action::Ct(&[]));
        }
        assert_eq!(actions.len(), 800);
        assert!(matches!(
            actions.check(Some(KERNEL_ACTIONS_BYTES_MAX)),
            Err(ActionsError::TooLongForKernel(_))
        ));
    }

    #[test]
    fn deep_nests_are_told() {
        fn nest(w: &mut AttrWriter<'_>, depth: usize) {
            let open = begin_sample(w, 1);
            if depth > 1 {
                nest(w, depth - 1);
            }
            open.end(w).unwrap();
        }
        for (depth, result) in [(16, true), (17, false)] {
            let mut actions = OdpActions::new();
            actions.with(|w| nest(w, depth));
            assert_eq!(actions.kernel_len().is_ok(), result, "{depth}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_measured_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut actions = OdpActions::new();
            actions.extend(&bytes);
            let _ = (actions.kernel_len(), actions.check(Some(1)));
        }
    }
}
