//! Datapaths that are looked at, not run: all of the host's, whoever they belong to, and their mask
//! caches.
//!
//! What always holds: nothing here asks a datapath for features or probes it, so that its owner finds
//! it as it was. Any thread.

use std::borrow::Cow;
use std::sync::Mutex;

use ovs_netlink::{
    Families,
    datapath::{self, DatapathId, DatapathNew, DatapathSet, UserFeatures},
};

use super::{Channel, Channels, KernelDatapath, KernelOptions, family_error, translate};
use crate::datapath::{Dispatch, DpError, DpErrorKind, Feature, Support, error::Op};
use crate::limits;

impl KernelDatapath {
    /// Names of all datapaths of the network namespace.
    ///
    /// # Errors
    /// [`DpErrorKind::FamiliesGone`] without the module.
    pub fn names() -> Result<Vec<String>, DpError> {
        let doing = || Cow::Borrowed("list datapaths");
        let (mut channel, families) = connect(doing())?;
        let all = datapath::dump(&mut channel.socket, &families);
        let all = all.map_err(|error| translate(Op::Open, doing(), error))?;
        Ok(all.into_iter().map(|dp| dp.name).collect())
    }

    /// A datapath that is there, as it is. It is not known what it can do.
    ///
    /// # Errors
    /// [`DpErrorKind::NoSuchDatapath`], and [`DpErrorKind::FamiliesGone`] without the module.
    pub fn attach(name: &str) -> Result<Self, DpError> {
        let doing: Cow<'static, str> = Cow::Owned(format!("open datapath {name}"));
        let (mut channel, families) = connect(doing.clone())?;
        let dp = datapath::get(&mut channel.socket, &families, DatapathId::Name(name))
            .map_err(|error| translate(Op::Open, doing, error))?;
        let per_cpu = dp.user_features.contains(UserFeatures::DISPATCH_UPCALL_PER_CPU);
        let support = Support {
            dispatch: if per_cpu { Dispatch::PerCpu } else { Dispatch::PerVport },
            ufid: Feature::found(true),
            ..Support::default()
        };
        Ok(Self {
            name: dp.name,
            dp_ifindex: dp.ifindex,
            features: dp.user_features,
            families,
            support,
            options: KernelOptions::default(),
            channels: Channels::default().with(channel),
            terse_channels: Channels::of_datagrams(limits::TERSE_DUMP_DATAGRAM_BYTES),
            handlers: Mutex::default(),
        })
    }

    /// Makes a datapath that nobody serves yet.
    ///
    /// # Errors
    /// [`DpErrorKind::Exists`] when there is a device of this name; [`DpErrorKind::Permission`];
    /// [`DpErrorKind::FamiliesGone`] without the module.
    pub fn create(name: &str) -> Result<(), DpError> {
        let doing: Cow<'static, str> = Cow::Owned(format!("create datapath {name}"));
        let (mut channel, families) = connect(doing.clone())?;
        let user_features = UserFeatures::UNALIGNED | UserFeatures::VPORT_PIDS;
        let request = DatapathNew { name, user_features, ..DatapathNew::default() };
        let created = datapath::create(&mut channel.socket, &families, &request);
        created.map(drop).map_err(|error| translate(Op::Open, doing, error))
    }

    pub(super) fn cache_size(&self) -> Result<Option<u32>, DpError> {
        let dp = self.request(Op::Datapath, "read cache size", |channel| {
            let id = DatapathId::Ifindex(self.dp_ifindex);
            datapath::get(&mut channel.socket, &self.families, id)
        })?;
        Ok(dp.masks_cache_size)
    }

    pub(super) fn set_cache_size(&self, size: u32) -> Result<u32, DpError> {
        let dp = self.request(Op::Datapath, "set cache size", |channel| {
            let request = DatapathSet {
                id: DatapathId::Ifindex(self.dp_ifindex),
                user_features: self.features,
                per_cpu_pids: None,
                masks_cache_size: Some(size),
            };
            datapath::set(&mut channel.socket, &self.families, &request)
        })?;
        dp.masks_cache_size.ok_or_else(|| {
            DpError::new(DpErrorKind::Unsupported, "set cache size", libc::EOPNOTSUPP)
        })
    }
}

pub(super) fn connect(doing: Cow<'static, str>) -> Result<(Channel, Families), DpError> {
    let mut channel = Channel::open().map_err(|error| translate(Op::Open, doing.clone(), error))?;
    let families =
        Families::resolve_on(&mut channel.socket).map_err(|error| family_error(doing, error))?;
    Ok((channel, families))
}
