//! The table of devices, kept by events.
//!
//! What always holds: after [`LinkTable::resync`] it is what was listed; two devices never have the
//! same name or number in it; a renamed device is told as renamed, not as another.
//!
//! One thread.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Link, LinkEvent};

/// Devices by number.
#[derive(Clone, Debug, Default)]
pub struct LinkTable {
    links: BTreeMap<u32, Link>,
    by_name: HashMap<String, u32>,
}

/// What is different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkChange {
    /// A device appeared.
    Added {
        /// Its number.
        ifindex: u32,
    },
    /// A device is gone.
    Removed {
        /// As it was.
        link: Link,
    },
    /// A device has another name.
    Renamed {
        /// Its number.
        ifindex: u32,
        /// Its former name.
        from: String,
    },
    /// Address, MTU, state, carrier or master of a device is different.
    Changed {
        /// Its number.
        ifindex: u32,
    },
}

impl LinkTable {
    /// A table of these devices.
    pub fn of(links: Vec<Link>) -> Self {
        let mut table = Self::default();
        let _ = table.resync(links);
        table
    }

    /// All devices, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The device of this number.
    pub fn get(&self, ifindex: u32) -> Option<&Link> {
        self.links.get(&ifindex)
    }

    /// The device of this name.
    pub fn by_name(&self, name: &str) -> Option<&Link> {
        self.by_name.get(name).and_then(|ifindex| self.links.get(ifindex))
    }

    /// Notes what was done to the device of this name, which its event will tell later.
    pub fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Link)) {
        if let Some(link) = self.by_name.get(name).and_then(|ifindex| self.links.get_mut(ifindex)) {
            edit(link);
        }
    }

    /// Takes an event in and says what is different. For [`LinkEvent::Overrun`] that is nothing:
    /// list all devices and call [`Self::resync`].
    pub fn apply(&mut self, event: LinkEvent) -> Vec<LinkChange> {
        let mut changes = Vec::new();
        match event {
            LinkEvent::Changed(link) => self.put(link, &mut changes),
            LinkEvent::Removed(link) => self.remove(link.ifindex, &mut changes),
            LinkEvent::Overrun => (),
        }
        changes
    }

    /// Makes the table what was listed, and says what is different.
    pub fn resync(&mut self, listed: Vec<Link>) -> Vec<LinkChange> {
        let mut changes = Vec::new();
        let there: BTreeSet<u32> = listed.iter().map(|link| link.ifindex).collect();
        let is_gone = |ifindex: &u32| !there.contains(ifindex);
        let gone: Vec<u32> = self.links.keys().copied().filter(is_gone).collect();
        for ifindex in gone {
            self.remove(ifindex, &mut changes);
        }
        for link in listed {
            self.put(link, &mut changes);
        }
        changes
    }

    fn put(&mut self, link: Link, changes: &mut Vec<LinkChange>) {
        let ifindex = link.ifindex;
        // Two devices that swapped names: whoever has this one's name has another now, which its own
        // event or line of the list will tell.
        let stale = self.by_name.get(&link.name).copied().filter(|stale| *stale != ifindex);
        if let Some(stale) = stale
            && let Some(other) = self.links.get_mut(&stale)
        {
            let from = std::mem::replace(&mut other.name, format!("#{stale}"));
            self.by_name.insert(other.name.clone(), stale);
            changes.push(LinkChange::Renamed { ifindex: stale, from });
        }
        if let Some(old) = self.links.get(&ifindex)
            && old.name != link.name
            && self.by_name.get(&old.name) == Some(&ifindex)
        {
            self.by_name.remove(&old.name);
        }
        self.by_name.insert(link.name.clone(), ifindex);
        match self.links.insert(ifindex, link) {
            None => changes.push(LinkChange::Added { ifindex }),
            Some(old) => {
                let Some(new) = self.links.get(&ifindex) else { return };
                if old.name != new.name {
                    changes.push(LinkChange::Renamed { ifindex, from: old.name.clone() });
                }
                // Counters alone are no change.
                let alike = Link { name: new.name.clone(), stats: new.stats, ..old };
                if alike != *new {
                    changes.push(LinkChange::Changed { ifindex });
                }
            }
        }
    }

    fn remove(&mut self, ifindex: u32, changes: &mut Vec<LinkChange>) {
        if let Some(link) = self.links.remove(&ifindex) {
            if self.by_name.get(&link.name) == Some(&ifindex) {
                self.by_name.remove(&link.name);
            }
            changes.push(LinkChange::Removed { link });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{datapath::fake::FakeKernel, flow::EthAddr, netdev::HostDevices};

    /// A table over a fake kernel, in step with it.
    struct Fixture {
        kernel: FakeKernel,
        events: Box<dyn crate::netdev::LinkEvents>,
        table: LinkTable,
    }

    impl Fixture {
        fn new() -> Self {
            let kernel = FakeKernel::new();
            let events = kernel.watch().unwrap();
            Self { kernel, events, table: LinkTable::default() }
        }

        fn changes(&mut self) -> Vec<LinkChange> {
            let mut changes = Vec::new();
            let table = &mut self.table;
            self.events.read(&mut |event| changes.extend(table.apply(event))).unwrap();
            let mut listed = self.kernel.links().unwrap();
            listed.sort_by_key(|l| l.ifindex);
            assert!(self.table.iter().eq(listed.iter()), "in step");
            changes
        }
    }

    #[test]
    fn events_keep_it_in_step() {
        let mut f = Fixture::new();
        let ifindex = f.kernel.add_device("v1").unwrap();
        assert_eq!(f.changes(), [LinkChange::Added { ifindex }]);
        f.kernel.set_mtu("v1", 1400).unwrap();
        f.kernel.set_mac("v1", EthAddr([2, 0, 0, 0, 0, 1])).unwrap();
        f.kernel.set_up("v1", false).unwrap();
        let changed = || LinkChange::Changed { ifindex };
        assert_eq!(f.changes(), [changed(), changed(), changed()]);
        f.kernel.set_mtu("v1", 1400).unwrap();
        assert_eq!(f.changes(), []);
        f.kernel.rename_device("v1", "v2");
        assert_eq!(f.changes(), [LinkChange::Renamed { ifindex, from: "v1".to_owned() }]);
        assert_eq!(f.table.by_name("v2").map(|l| l.ifindex), Some(ifindex));
        f.kernel.remove_device("v2");
        assert!(matches!(&f.changes()[..], [LinkChange::Removed { link }] if link.name == "v2"));
    }

    #[test]
    fn a_resync_finds_what_was_missed() {
        let f = Fixture::new();
        let ids: Vec<u32> =
            ["a", "b", "c"].into_iter().map(|n| f.kernel.add_device(n).unwrap()).collect();
        let mut table = LinkTable::default();
        assert_eq!(table.resync(f.kernel.links().unwrap()).len(), 3);
        f.kernel.remove_device("a");
        f.kernel.rename_device("b", "a");
        f.kernel.set_up("c", false).unwrap();
        let changes = table.resync(f.kernel.links().unwrap());
        assert!(matches!(&changes[0], LinkChange::Removed { link } if link.ifindex == ids[0]));
        assert!(changes.contains(&LinkChange::Renamed { ifindex: ids[1], from: "b".to_owned() }));
        assert!(changes.contains(&LinkChange::Changed { ifindex: ids[2] }));
        assert_eq!(changes.len(), 3);
        assert_eq!(table.resync(f.kernel.links().unwrap()), []);
    }

    #[test]
    fn swapped_names_end_up_right() {
        let f = Fixture::new();
        let ids: Vec<u32> =
            ["a", "b"].into_iter().map(|n| f.kernel.add_device(n).unwrap()).collect();
        let mut table = LinkTable::default();
        table.resync(f.kernel.links().unwrap());
        f.kernel.rename_device("a", "x");
        f.kernel.rename_device("b", "a");
        f.kernel.rename_device("x", "b");
        table.resync(f.kernel.links().unwrap());
        let names: Vec<_> = table.iter().map(|l| (l.ifindex, l.name.as_str())).collect();
        assert_eq!(names, [(ids[0], "b"), (ids[1], "a")]);
    }
}
