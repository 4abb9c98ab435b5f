//! Dummy datapaths that the control socket makes (`dpctl/add-dp dummy@NAME`), beside those of bridges.
//!
//! What always holds: each is the only one of its type and name, and has devices of its own, which are
//! there as long as their ports. Any thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DummyDatapath, open_in};
use crate::datapath::{Datapath as _, DpError, DpErrorKind, fake::FakeKernel};

type List = Vec<Arc<DummyDatapath>>;

static LIST: Mutex<List> = Mutex::new(List::new());

fn list() -> MutexGuard<'static, List> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes one.
///
/// # Errors
/// [`DpErrorKind::Exists`], or that the name is none for its local port.
pub fn create(type_name: &str, name: &str) -> Result<(), DpError> {
    let mut list = list();
    if list.iter().any(|datapath| is_named(datapath, type_name, name)) {
        let doing = format!("create datapath {name}");
        return Err(DpError::new(DpErrorKind::Exists, doing, libc::EEXIST));
    }
    let datapath = open_in(&FakeKernel::of_dummies(), type_name, name)?;
    list.push(Arc::new(DummyDatapath { is_by_hand: true, ..datapath }));
    Ok(())
}

/// All that there are.
pub fn all() -> Vec<Arc<DummyDatapath>> {
    list().clone()
}

/// One of them.
pub fn find(type_name: &str, name: &str) -> Option<Arc<DummyDatapath>> {
    list().iter().find(|datapath| is_named(datapath, type_name, name)).cloned()
}

pub(super) fn forget(gone: &DummyDatapath) {
    list().retain(|datapath| !std::ptr::eq(&**datapath, gone));
}

fn is_named(datapath: &DummyDatapath, type_name: &str, name: &str) -> bool {
    datapath.type_name() == type_name && datapath.name() == name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::{OdpPort, PortKind};

    #[test]
    fn they_come_and_go_and_have_ports_of_their_own() {
        create("dummy", "by-hand").unwrap();
        assert_eq!(create("dummy", "by-hand").unwrap_err().errno, libc::EEXIST);
        // Another type is another datapath, with a local port of the same name.
        create("netdev", "by-hand").unwrap();
        let datapath = find("dummy", "by-hand").unwrap();
        let devices = datapath.fake.kernel();
        devices.configure_device("p1", "dummy", &Default::default()).unwrap();
        assert_eq!(datapath.port_add("p1", PortKind::Netdev, Some(OdpPort(5))), Ok(OdpPort(5)));
        let ports = |datapath: &DummyDatapath| {
            let ports = datapath.ports().unwrap().into_iter();
            ports.map(|port| (port.odp.0, port.name)).collect::<Vec<_>>()
        };
        assert_eq!(ports(&datapath), [(0, "by-hand".to_owned()), (5, "p1".to_owned())]);
        assert_eq!(ports(&find("netdev", "by-hand").unwrap()), [(0, "by-hand".to_owned())]);
        datapath.destroy().unwrap();
        assert!(find("dummy", "by-hand").is_none() && find("netdev", "by-hand").is_some());
        assert_eq!(datapath.ports().unwrap_err().kind, DpErrorKind::DatapathGone);
        find("netdev", "by-hand").unwrap().destroy().unwrap();
    }
}
