//! mininet with a standalone bridge of Open vSwitch: a program that knows nothing of us and makes
//! and removes bridges with the stock tools as it has always done.

mod kernel;

use kernel::start_script::{CTL, Installed, under_test};
use kernel::{attempt, enter, run};

#[test]
#[ignore = "needs the lab"]
fn everyone_reaches_everyone() {
    enter();
    let _installed = Installed::new(&under_test());
    run(&[CTL, "start", "--system-id=lab", "--no-record-hostname"]);
    let mn = ["timeout", "240", "mn", "--switch", "ovsbr", "--controller", "none"];
    for topology in ["single,3", "linear,2"] {
        let (said, well) = attempt(&[&mn[..], &["--topo", topology, "--test", "pingall"]].concat());
        assert!(well, "{topology}: {said}");
        assert!(said.contains("Results: 0% dropped"), "{topology}: {said}");
        // It has taken everything away again.
        assert_eq!(run(&["ovs-vsctl", "--timeout=10", "list-br"]), "", "{topology}");
    }
}
