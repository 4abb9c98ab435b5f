//! The database client against the distribution's `ovsdb-server` and `ovs-vsctl`: no root, no kernel,
//! only a Unix socket (and TCP to ourselves) in a temporary directory.
//!
//! The programs come with the package openvswitch-switch; without them these tests fail.

mod ovsdb;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ovsdb::{Lab, SCHEMA, run};
use rovs::ovsdb::client::{Client, ClientOptions, Event, TlsFiles};
use rovs::ovsdb::remote::Remote;
use rovs::ovsdb::replica::{Change, Changes};
use rovs::ovsdb::schema::Table;
use rovs::ovsdb::tls_policy::{Lists, TlsPolicy};
use rovs::ovsdb::transaction::{Done, Transaction, TxnError};
use rovs::ovsdb::value::{Atom, Datum};
use serde_json::{Value, json};

/// Beyond any time a loaded machine needs; only a hang takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client, with a runtime to wait for it.
struct User {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl User {
    fn new(remote: &str, lock: Option<&str>, tls: Option<TlsFiles>) -> User {
        let remotes = Remote::parse_list(remote).expect("a remote");
        let options = ClientOptions { lock: lock.map(str::to_owned), tls };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        User { client: Client::new(remotes, options), runtime: runtime.expect("a runtime") }
    }

    fn event(&mut self) -> Event {
        let wait = async { tokio::time::timeout(PATIENCE, self.client.event()).await };
        let event = self.runtime.block_on(wait).expect("an event");
        // Whatever happens, the database is never seen without its root once it had one.
        event
    }

    /// Waits until in step with the server; changes on the way are put together.
    fn connected(&mut self) -> BTreeSet<Table> {
        let mut touched = BTreeSet::new();
        loop {
            match self.event() {
                Event::Connected => return touched,
                Event::Updated(changes) => touched.extend(changes.touched.keys().map(|key| key.0)),
                Event::Disconnected | Event::Lock(_) => {}
                event => panic!("{event:?}"),
            }
        }
    }

    fn until(&mut self, mut done: impl FnMut(&Client) -> bool) {
        while !done(&self.client) {
            self.event();
        }
    }

    fn commit(&mut self, transaction: Transaction) -> Result<Done, TxnError> {
        let id = self.client.commit(transaction);
        loop {
            if let Event::Committed(found, outcome) = self.event() {
                assert_eq!(found, id);
                return outcome;
            }
        }
    }

    fn names(&self, table: Table) -> BTreeSet<String> {
        self.client.replica().rows(table).map(|row| row.string("name").to_owned()).collect()
    }
}

fn client(lab: &Lab) -> User {
    User::new(&lab.unix(), None, None)
}

fn has(table: Table, name: &'static str) -> impl Fn(&Client) -> bool {
    move |client| client.replica().rows(table).any(|row| row.string("name") == name)
}

#[test]
fn what_vsctl_writes_is_seen() {
    let lab = Lab::new();
    let mut user = client(&lab);
    let first = user.event();
    let Event::Updated(Changes { touched }) = first else { panic!("{first:?}") };
    assert_eq!(touched.values().collect::<Vec<_>>(), [&Change::Inserted]);
    assert_eq!(user.event(), Event::Connected);
    assert!(user.client.is_writable());
    lab.vsctl(&["add-br", "br0", "--", "set", "bridge", "br0", "other_config:hwaddr=x"]);
    user.until(has(Table::Bridge, "br0"));
    let replica = user.client.replica();
    let bridge = replica.rows(Table::Bridge).next().expect("a bridge");
    assert_eq!(bridge.key("other_config", "hwaddr"), Some("x"));
    assert_eq!(
        replica.root().map(|root| root.uuids("bridges").collect()),
        Some(vec![bridge.uuid()])
    );
    let port = bridge.uuids("ports").next().and_then(|uuid| replica.row(Table::Port, &uuid));
    let port = port.expect("the local port");
    let interface = port.uuids("interfaces").next().expect("its interface");
    let interface = replica.row(Table::Interface, &interface).expect("its row");
    assert_eq!((interface.string("name"), interface.string("type")), ("br0", "internal"));
    assert_eq!(interface.opt_integer("ofport"), None);

    // Several at once, while we look: in the end we have what a fresh client has.
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let lab = &lab;
            scope.spawn(move || {
                for i in 0..8 {
                    let name = format!("p{worker}-{i}");
                    lab.vsctl(&["add-port", "br0", &name, &format!("tag={i}")]);
                    lab.vsctl(&["set", "port", &name, "trunks=1,2,3", "tag=[]"]);
                    lab.vsctl(&["remove", "port", &name, "trunks", "2"]);
                    if i % 2 == 0 {
                        lab.vsctl(&["del-port", "br0", &name]);
                    }
                }
            });
        }
    });
    lab.vsctl(&["add-br", "last"]);
    user.until(has(Table::Bridge, "last"));
    assert_eq!(user.names(Table::Port).len(), 2 + 12);
    for port in user.client.replica().rows(Table::Port) {
        let want: &[i64] = if port.string("name").starts_with('p') { &[1, 3] } else { &[] };
        assert_eq!(port.integers("trunks").collect::<Vec<_>>(), want, "{port:?}");
        assert_eq!(port.opt_integer("tag"), None);
    }
    let mut fresh = client(&lab);
    fresh.connected();
    for table in Table::ALL {
        let rows = |user: &User| user.client.replica().rows(table).cloned().collect::<Vec<_>>();
        assert_eq!(rows(&user), rows(&fresh), "{table:?}");
    }
    lab.vsctl(&["del-br", "br0"]);
    user.until(|client| !has(Table::Bridge, "br0")(client));
    assert_eq!(user.names(Table::Interface), BTreeSet::from(["last".to_owned()]));
}

#[test]
fn transactions() {
    let lab = Lab::new();
    lab.vsctl(&["add-br", "br0"]);
    let mut user = client(&lab);
    user.connected();
    let of =
        |user: &User, table: Table| user.client.replica().rows(table).next().expect("a row").uuid();
    let (root, bridge, interface) =
        (of(&user, Table::OpenVSwitch), of(&user, Table::Bridge), of(&user, Table::Interface));

    let mut write = Transaction::new();
    write.update(Table::Interface, &interface, "ofport", 65534);
    write.update(Table::Interface, &interface, "admin_state", Datum::optional(Some("up")));
    write.update(
        Table::Interface,
        &interface,
        "statistics",
        Datum::map([("rx_bytes", 1), ("tx", 2)]),
    );
    write.update(Table::Interface, &interface, "error", Datum::EMPTY);
    write.update(Table::OpenVSwitch, &root, "cur_cfg", 7);
    write.update(Table::OpenVSwitch, &root, "iface_types", Datum::set(["internal", "patch"]));
    write.comment("of the test");
    assert_eq!(user.commit(write.clone()), Ok(Done::default()));
    assert_eq!(lab.vsctl(&["get", "interface", "br0", "ofport", "admin_state"]), "65534\nup\n");
    assert_eq!(lab.vsctl(&["get", "interface", "br0", "statistics"]), "{rx_bytes=1, tx=2}\n");
    assert_eq!(
        lab.vsctl(&["get", "Open_vSwitch", ".", "cur_cfg", "iface_types"]),
        "7\n[internal, patch]\n"
    );
    // The same again is nothing, which the server's log of transactions shows.
    let size = || fs::metadata(lab.path("conf.db")).expect("the database").len();
    let before = size();
    assert_eq!(user.commit(write), Ok(Done::default()));
    assert_eq!(size(), before);

    // One key among others, and one element.
    lab.vsctl(&["set", "bridge", "br0", "other_config:a=1", "other_config:b=2", "flood_vlans=1,2"]);
    user.until(|client| {
        client
            .replica()
            .row(Table::Bridge, &bridge)
            .is_some_and(|row| row.key("other_config", "b") == Some("2"))
    });
    let mut write = Transaction::new();
    write.mutate_map(Table::Bridge, &bridge, "other_config", [("b", "3"), ("c", "4")], ["a", "no"]);
    write.mutate_set(Table::Bridge, &bridge, "flood_vlans", [2, 3], [1]);
    assert_eq!(user.commit(write), Ok(Done::default()));
    let found = lab.vsctl(&["get", "bridge", "br0", "other_config", "flood_vlans"]);
    assert_eq!(found, "{b=\"3\", c=\"4\"}\n[2, 3]\n");

    // Depends on what is not so.
    let mut write = Transaction::new();
    write.wait(Table::OpenVSwitch, &root, "next_cfg", 5);
    write.update(Table::OpenVSwitch, &root, "cur_cfg", 5);
    assert_eq!(user.commit(write.clone()), Err(TxnError::Aborted));
    lab.vsctl(&["set", "Open_vSwitch", ".", "next_cfg=5"]);
    assert_eq!(user.commit(write), Ok(Done::default()));
    assert_eq!(lab.vsctl(&["get", "Open_vSwitch", ".", "cur_cfg"]), "5\n");

    // Refused by the schema: whose row it is about is told.
    let mut write = Transaction::new();
    write.update(Table::OpenVSwitch, &root, "cur_cfg", 6);
    write.update(Table::Bridge, &bridge, "fail_mode", Datum::optional(Some("sometimes")));
    let refused = user.commit(write);
    let Err(TxnError::Refused { error, row, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!((error.as_str(), *row), ("constraint violation", Some((Table::Bridge, bridge))));
    // Refused at the commit: a reference to a row that is not there.
    let mut write = Transaction::new();
    let nobody = "01234567-89ab-cdef-0123-456789abcdef".parse().expect("a UUID");
    write.mutate_set(Table::Bridge, &bridge, "ports", [Atom::Uuid(nobody)], [0_i64; 0]);
    let refused = user.commit(write);
    let Err(TxnError::Refused { error, row: None, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!(error, "referential integrity violation");

    // New rows that refer to each other.
    let mut write = Transaction::new();
    let new_interface = write.insert(Table::Interface);
    write.update(Table::Interface, new_interface.uuid(), "name", "veth0");
    let new_port = write.insert(Table::Port);
    write.update(Table::Port, new_port.uuid(), "name", "veth0");
    write.update(Table::Port, new_port.uuid(), "interfaces", *new_interface.uuid());
    write.mutate_set(Table::Bridge, &bridge, "ports", [*new_port.uuid()], [0_i64; 0]);
    let done = user.commit(write).expect("done");
    assert_eq!(done.inserted.len(), 2);
    assert_eq!(lab.vsctl(&["list-ports", "br0"]), "veth0\n");
    let port = done.inserted.get(&new_port).expect("the port's name");
    assert_eq!(
        user.client.replica().row(Table::Port, port).map(|row| row.string("name")),
        Some("veth0")
    );
    let mut write = Transaction::new();
    write.mutate_set(Table::Bridge, &bridge, "ports", [0_i64; 0], [*port]);
    write.delete(Table::Port, &nobody);
    write.update(Table::Port, &nobody, "tag", 5);
    write.update(Table::Port, port, "no such column", 5);
    assert_eq!(user.commit(write), Ok(Done::default()));
    assert_eq!(lab.vsctl(&["list-ports", "br0"]), "");
}

#[test]
fn one_holds_the_lock() {
    let lab = Lab::new();
    let mut first = User::new(&lab.unix(), Some("ovs_vswitchd"), None);
    while first.event() != Event::Lock(true) {}
    let mut second = User::new(&lab.unix(), Some("ovs_vswitchd"), None);
    let mut told = BTreeSet::new();
    while told.len() < 2 {
        match second.event() {
            Event::Lock(has) => told.extend([format!("lock {has}")]),
            Event::Connected => told.extend(["connected".to_owned()]),
            _ => {}
        }
    }
    assert!(told.contains("lock false"), "{told:?}");
    assert!(!second.client.is_writable());
    let root = second.client.replica().root().expect("the root").uuid();
    let mut write = Transaction::new();
    write.update(Table::OpenVSwitch, &root, "cur_cfg", 1);
    assert_eq!(second.commit(write.clone()), Err(TxnError::NotLocked));
    drop(first);
    while second.event() != Event::Lock(true) {}
    assert!(second.client.is_writable());
    assert_eq!(second.commit(write), Ok(Done::default()));
}

#[test]
fn a_server_that_dies_and_comes_back() {
    let mut lab = Lab::new();
    lab.vsctl(&["add-br", "br0"]);
    let mut user = client(&lab);
    user.connected();
    for round in 0..3 {
        lab.kill();
        while user.event() != Event::Disconnected {}
        assert!(user.names(Table::Bridge).contains("br0"));
        assert!(!user.client.is_writable());
        let root = user.client.replica().root().expect("the root").uuid();
        let mut write = Transaction::new();
        write.update(Table::OpenVSwitch, &root, "cur_cfg", 100 + round);
        assert_eq!(user.commit(write), Err(TxnError::NotConnected));
        lab.start();
        if round == 0 {
            // Nothing has changed, so nothing is told.
            assert_eq!(user.connected(), BTreeSet::new());
        } else {
            lab.vsctl(&["add-br", &format!("away{round}")]);
            let touched = user.connected();
            assert!(touched.is_empty() || touched.contains(&Table::Bridge), "{touched:?}");
            let name = format!("away{round}");
            user.until(|c| c.replica().rows(Table::Bridge).any(|row| row.string("name") == name));
        }
    }
}

#[test]
fn a_database_that_is_replaced() {
    let mut lab = Lab::new();
    lab.vsctl(&["add-br", "old", "--", "add-br", "both"]);
    let mut user = client(&lab);
    user.connected();
    lab.kill();
    lab.create(Path::new(SCHEMA));
    // Its clients come when it is ready: the replacement is filled before they may.
    let socket = lab.path("db.sock");
    let hidden = lab.path("hidden.sock");
    lab.args = vec![format!("--remote=punix:{}", hidden.display())];
    let _ = fs::remove_file(&socket);
    lab.start();
    lab.vsctl(&["init", "--", "add-br", "new", "--", "add-br", "both"]);
    // Either from one state to the other, or through the empty new one if it came first.
    user.until(|client| has(Table::Bridge, "new")(client) && client.is_writable());
    let want = ["both", "new"].map(str::to_owned);
    assert_eq!(user.names(Table::Bridge), BTreeSet::from(want));
    assert_eq!(user.client.replica().rows(Table::OpenVSwitch).len(), 1);
}

/// The distribution's schema, edited.
fn edited(edit: impl FnOnce(&mut Value)) -> (tempfile::TempDir, PathBuf) {
    let text = fs::read_to_string(SCHEMA).expect("a schema");
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    edit(&mut schema);
    schema.as_object_mut().expect("an object").remove("cksum");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("schema");
    fs::write(&path, schema.to_string()).expect("written");
    (dir, path)
}

#[test]
fn schemas_older_and_newer() {
    let (_dir, older) = edited(|schema| {
        let tables = schema["tables"].as_object_mut().expect("tables");
        for column in ["cfm_fault_status", "ingress_policing_kpkts_rate", "statistics"] {
            tables["Interface"]["columns"].as_object_mut().expect("columns").remove(column);
        }
        for table in ["Datapath", "CT_Zone", "CT_Timeout_Policy"] {
            tables.remove(table);
        }
        tables["Open_vSwitch"]["columns"].as_object_mut().expect("columns").remove("datapaths");
    });
    let (_dir, newer) = edited(|schema| {
        let columns = &mut schema["tables"]["Interface"]["columns"];
        columns["hologram"] = json!({ "type": "string" });
        // A column of ours with another type than we know.
        columns["admin_state"] = json!({ "type": "integer" });
        schema["tables"]["Telepathy"] = json!({ "columns": { "range": { "type": "integer" } } });
    });
    for (schema, is_older) in [(older, true), (newer, false)] {
        let lab = Lab::with_schema(&schema);
        lab.vsctl(&["add-br", "br0"]);
        let mut user = client(&lab);
        user.connected();
        let replica = user.client.replica();
        assert_eq!(replica.has(Table::Interface, "statistics"), !is_older);
        assert_eq!(replica.has(Table::Datapath, "capabilities"), !is_older);
        assert!(replica.has(Table::Interface, "ofport"));
        assert!(!replica.has(Table::Interface, "hologram"));
        let interface = replica.rows(Table::Interface).next().expect("an interface");
        assert_eq!(interface.opt_string("admin_state"), None);
        let uuid = interface.uuid();
        let mut write = Transaction::new();
        write.update(Table::Interface, &uuid, "ofport", 3);
        write.update(Table::Interface, &uuid, "statistics", Datum::map([("a", 1)]));
        assert_eq!(user.commit(write), Ok(Done::default()));
        assert_eq!(lab.vsctl(&["get", "interface", "br0", "ofport"]), "3\n");
    }
}

#[test]
fn a_schema_that_is_converted_under_us() {
    let mut lab = Lab::new();
    lab.vsctl(&["add-br", "br0"]);
    let mut user = client(&lab);
    user.connected();
    let (_dir, converted) = edited(|schema| {
        let columns = schema["tables"]["Interface"]["columns"].as_object_mut().expect("columns");
        columns.remove("cfm_health");
        schema["version"] = json!("99.0.0");
    });
    run("ovsdb-client", &["convert", &lab.unix(), &converted.display().to_string()]);
    user.until(|client| !client.replica().has(Table::Interface, "cfm_health"));
    assert!(user.names(Table::Bridge).contains("br0"));
    assert_eq!(user.client.replica().schema().version(), "99.0.0");
    lab.vsctl(&["add-br", "br1"]);
    user.until(has(Table::Bridge, "br1"));
    lab.kill();
}

#[test]
fn a_cluster_of_one_lets_us_resume() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut lab = Lab { dir, server: None, args: Vec::new() };
    let raft = format!("unix:{}", lab.text("raft"));
    run("ovsdb-tool", &["create-cluster", &lab.text("conf.db"), SCHEMA, &raft]);
    lab.start();
    // The server remembers what was done only as far as that is less than all there is.
    let mut args = vec!["init".to_owned()];
    args.extend((0..20).flat_map(|n| ["--".into(), "add-br".into(), format!("br{n}")]));
    lab.vsctl(&args.iter().map(String::as_str).collect::<Vec<_>>());
    lab.vsctl(&["set", "bridge", "br0", "other_config:k=none"]);
    let mut user = client(&lab);
    user.connected();
    for round in 0..3 {
        run("ovs-appctl", &["-t", &lab.text("ctl"), "ovsdb-server/reconnect"]);
        while user.event() != Event::Disconnected {}
        lab.vsctl(&["set", "bridge", "br0", &format!("other_config:k={round}")]);
        user.until(|client| {
            let br0 = client.replica().rows(Table::Bridge).find(|row| row.string("name") == "br0");
            let value = br0.and_then(|br0| br0.key("other_config", "k"));
            value == Some(round.to_string().as_str())
        });
        assert_eq!(user.names(Table::Bridge).len(), 20);
    }
    lab.kill();
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn over_tcp() {
    let mut lab = Lab::new();
    lab.kill();
    let port = free_port();
    lab.args = vec![format!("--remote=ptcp:{port}:127.0.0.1")];
    lab.start();
    lab.vsctl(&["add-br", "br0"]);
    let mut user = User::new(&format!("tcp:127.0.0.1:{port}"), Some("ovs_vswitchd"), None);
    user.until(|client| client.is_writable() && has(Table::Bridge, "br0")(client));
    let mut user = User::new(&format!("tcp:localhost:{port}"), None, None);
    user.connected();
}

#[test]
fn over_tls_with_certificates_of_ovs_pki() {
    let mut lab = Lab::new();
    lab.kill();
    let pki = |args: &[&str]| {
        let dir = format!("--dir={}", lab.text("pki"));
        let log = format!("--log={}", lab.text("pki.log"));
        let output = Command::new("ovs-pki")
            .args([dir.as_str(), log.as_str(), "--force"])
            .args(args)
            .current_dir(lab.dir.path())
            .output()
            .expect("ovs-pki of the package openvswitch-common");
        assert!(output.status.success(), "ovs-pki {args:?}: {output:?}");
    };
    pki(&["init"]);
    pki(&["req+sign", "server", "controller"]);
    pki(&["req+sign", "client", "switch"]);
    let port = free_port();
    lab.args = vec![
        format!("--remote=pssl:{port}:127.0.0.1"),
        format!("--private-key={}", lab.text("server-privkey.pem")),
        format!("--certificate={}", lab.text("server-cert.pem")),
        format!("--ca-cert={}", lab.text("pki/switchca/cacert.pem")),
        format!("--peer-ca-cert={}", lab.text("pki/controllerca/cacert.pem")),
        "--ssl-ciphers=ECDHE-RSA-AES128-GCM-SHA256".to_owned(),
    ];
    lab.start();
    lab.vsctl(&["add-br", "br0"]);
    let remote = format!("ssl:127.0.0.1:{port}");
    let files = TlsFiles {
        private_key: lab.path("client-privkey.pem"),
        certificate: lab.path("client-cert.pem"),
        ca_cert: lab.path("pki/controllerca/cacert.pem"),
        bootstrap_ca_cert: false,
        policy: TlsPolicy::default(),
    };
    let mut user = User::new(&remote, None, Some(files.clone()));
    user.connected();
    assert!(user.names(Table::Bridge).contains("br0"));

    // The authority is learned at the first connection and holds from then on.
    let learned = lab.path("learned.pem");
    let learning = TlsFiles { ca_cert: learned.clone(), bootstrap_ca_cert: true, ..files.clone() };
    let mut user = User::new(&remote, None, Some(learning.clone()));
    user.connected();
    let body = |path: &Path| {
        let text = fs::read_to_string(path).expect("a certificate");
        let begin = text.find("-----BEGIN").expect("PEM");
        text[begin..].to_owned()
    };
    assert_eq!(body(&learned), body(&files.ca_cert));

    // With TLS 1.2, where the server takes one cipher only, that must be among ours.
    let speaking = |ciphers| {
        let protocols = Some("TLSv1-TLSv1.2");
        let lists = Lists { protocols, ciphers: Some(ciphers), ciphersuites: None };
        let policy = TlsPolicy::read(lists, |text| panic!("{text}"));
        User::new(&remote, None, Some(TlsFiles { policy, ..files.clone() }))
    };
    speaking("AES128").connected();
    let mut user = speaking("AES256");
    let wait =
        async { tokio::time::timeout(Duration::from_secs(1), user.client.event()).await.is_err() };
    assert!(user.runtime.block_on(wait), "a cipher that one of both does not want was used");

    // A server that another authority has signed is refused until the file is put right: the
    // files are read again.
    let wrong = lab.path("wrong.pem");
    fs::copy(lab.path("pki/switchca/cacert.pem"), &wrong).expect("a copy");
    let doubting = TlsFiles { ca_cert: wrong.clone(), ..files.clone() };
    let mut user = User::new(&remote, None, Some(doubting));
    let wait =
        async { tokio::time::timeout(Duration::from_secs(2), user.client.event()).await.is_err() };
    assert!(user.runtime.block_on(wait), "an event from a server that is not to be trusted");
    fs::copy(&files.ca_cert, &wrong).expect("a copy");
    user.connected();
}
