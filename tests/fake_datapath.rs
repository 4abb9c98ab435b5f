//! The fake kernel against the checks that the stock module passes too.

mod datapath_checks;

use datapath_checks::{CHECKS, NAME, World};
use rovs::{
    datapath::{Datapath, fake::FakeKernel},
    netdev::HostDevices,
};

impl World for FakeKernel {
    fn open(&self, create: bool) -> Box<dyn Datapath> {
        Box::new(self.open(NAME, create).unwrap())
    }

    fn add_device(&self, name: &str) {
        self.add_device(name).unwrap();
    }

    fn remove_device(&self, name: &str) {
        self.remove_device(name);
    }

    fn rename_device(&self, old: &str, new: &str) {
        assert!(self.rename_device(old, new));
    }

    fn set_up(&self, name: &str) {
        assert!(self.change_device(name, |d| d.up = true));
    }

    fn inject(&self, name: &str, packet: &[u8]) {
        assert!(self.inject(name, packet), "{name} is a port");
    }

    fn sent(&self, name: &str, _n: usize) -> Vec<Vec<u8>> {
        self.sent(name)
    }

    fn host(&self) -> Box<dyn HostDevices> {
        Box::new(self.clone())
    }

    fn delete_datapath(&self) {
        assert!(self.delete_datapath(NAME));
    }
}

#[test]
fn the_fake_kernel_passes_the_checks() {
    for (name, check) in CHECKS {
        println!("{name}");
        check(&FakeKernel::new());
    }
}
