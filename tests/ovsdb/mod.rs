//! A database with the distribution's `ovsdb-server`, for tests that need neither root nor a kernel: all
//! is in a temporary directory. The programs come with the package openvswitch-switch; without
//! them the tests fail.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The distribution's schema.
pub const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// A directory with a database and perhaps a server.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub server: Option<Child>,
    /// Further arguments of the server.
    pub args: Vec<String>,
}

/// Runs a program, which must succeed, and gives what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error} (package openvswitch-switch)"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {text}{errors}");
    text
}

impl Lab {
    /// A new database of a schema, with a server.
    pub fn with_schema(schema: &Path) -> Lab {
        let dir = tempfile::tempdir().expect("a directory");
        let mut lab = Lab { dir, server: None, args: Vec::new() };
        lab.create(schema);
        lab.start();
        lab.vsctl(&["init"]);
        lab
    }

    /// An empty database of the distribution's schema, with a server.
    pub fn new() -> Lab {
        Lab::with_schema(Path::new(SCHEMA))
    }

    /// A file of the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Makes an empty database of a schema.
    pub fn create(&self, schema: &Path) {
        let _ = fs::remove_file(self.path("conf.db"));
        run("ovsdb-tool", &["create", &self.text("conf.db"), &schema.display().to_string()]);
    }

    /// Starts the server, and waits until it answers.
    pub fn start(&mut self) {
        let log = fs::File::create(self.path("log")).expect("a log");
        let child = Command::new("/usr/sbin/ovsdb-server")
            .arg(self.path("conf.db"))
            .arg(format!("--remote=punix:{}", self.text("db.sock")))
            .arg(format!("--unixctl={}", self.text("ctl")))
            .args(&self.args)
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("/usr/sbin/ovsdb-server of the package openvswitch-switch");
        self.server = Some(child);
        // Its socket is there before it answers; this one waits for the answer.
        let remote = self.unix();
        for _ in 0..600 {
            let list = Command::new("ovsdb-client").args(["list-dbs", &remote]).output();
            if list.is_ok_and(|list| list.status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no server: {}", fs::read_to_string(self.path("log")).unwrap_or_default());
    }

    /// Ends the server as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Where the server listens.
    pub fn unix(&self) -> String {
        format!("unix:{}", self.text("db.sock"))
    }

    /// `ovs-vsctl ARGS`, which does not wait for a daemon.
    pub fn vsctl(&self, args: &[&str]) -> String {
        let db = format!("--db={}", self.unix());
        let mut all = vec![db.as_str(), "--no-wait", "--timeout=60"];
        all.extend(args);
        run("ovs-vsctl", &all)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill();
    }
}
