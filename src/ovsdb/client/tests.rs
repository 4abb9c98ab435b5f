//! The client against a server in the same process that does as it likes, over a real socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use super::*;
use crate::ovsdb::schema::Table;
use crate::ovsdb::schema::tests::small_schema_json;
use crate::ovsdb::value::Uuid;
use crate::unixctl::framing::Framer;
use serde_json::{Value, json};

/// Only a hang takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

struct Server {
    _dir: tempfile::TempDir,
    listener: UnixListener,
    remote: String,
}

struct Peer {
    stream: UnixStream,
    framer: Framer,
}

impl Server {
    fn new() -> Server {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("db.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        Server { remote: format!("unix:{}", path.display()), _dir: dir, listener }
    }

    fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().expect("a client");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        Peer { stream, framer: Framer::new(1 << 30) }
    }

    fn client(&self) -> Client {
        let remotes = Remote::parse_list(&self.remote).expect("a remote");
        Client::new(remotes, ClientOptions::default())
    }
}

impl Peer {
    fn read(&mut self) -> Value {
        loop {
            if let Some(text) = self.framer.next_text().expect("texts") {
                return serde_json::from_slice(&text).expect("JSON");
            }
            let mut buffer = [0; 4096];
            let bytes = self.stream.read(&mut buffer).expect("bytes");
            assert!(bytes > 0, "closed");
            self.framer.feed(&buffer[..bytes]);
        }
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("sent");
    }

    fn answer(&mut self, method: &str, result: &str) {
        let request = self.read();
        assert_eq!(request["method"], method);
        let id = &request["id"];
        self.say(&format!(r#"{{"id":{id},"result":{result},"error":null}}"#));
    }

    /// An old server's greeting, with these rows.
    fn greet(&mut self, rows: &str) {
        let request = self.read();
        self.say(&json!({ "id": request["id"], "result": null, "error": "unknown" }).to_string());
        self.answer("get_schema", &small_schema_json().to_string());
        self.answer("monitor_cond", rows);
    }
}

fn ports(kind: &str, rows: std::ops::Range<u32>, name: &str) -> String {
    let row = |n: u32| {
        let mut bytes = [7; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        format!(r#""{}":{{"{kind}":{{"name":"{name}{n}"}}}}"#, Uuid(bytes))
    };
    format!(r#"{{"Port":{{{}}}}}"#, rows.map(row).collect::<Vec<_>>().join(","))
}

fn update(rows: &str) -> String {
    format!(r#"{{"id":null,"method":"update2","params":[["monid","Open_vSwitch"],{rows}]}}"#)
}

/// Runs the server beside `body`.
fn beside<T: Send>(server: impl FnOnce() + Send, body: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    std::thread::scope(|scope| {
        let server = scope.spawn(server);
        let body = async { tokio::time::timeout(PATIENCE, body).await.expect("no hang") };
        let result = runtime.expect("a runtime").block_on(body);
        server.join().expect("the server");
        result
    })
}

#[test]
fn a_large_update_comes_whole_and_later_ones_row_by_row() {
    const ROWS: u32 = 20_000;
    let server = Server::new();
    let mut client = server.client();
    let (go, wait) = std::sync::mpsc::channel();
    let serve = move || {
        let mut peer = server.accept();
        peer.greet(&ports("initial", 0..ROWS, "a"));
        peer.say(&update(&ports("modify", 0..5, "b")));
        // One text in pieces, the pieces as far as possible apart.
        let text = update(&ports("insert", ROWS..ROWS + 3, "c")) + " \n";
        for piece in text.as_bytes().chunks(7) {
            peer.stream.write_all(piece).expect("sent");
            std::thread::yield_now();
        }
        peer.say(&update(&ports("delete", 0..ROWS, "")));
        wait.recv().expect("the end");
    };
    beside(serve, async move {
        let names = |client: &Client, prefix: &str| {
            let rows = client.replica().rows(Table::Port);
            rows.filter(|row| row.string("name").starts_with(prefix)).count()
        };
        // All states that the server ever had, and the one before.
        let whole = [0, ROWS as usize, ROWS as usize + 3, 3];
        let mut connected = false;
        loop {
            match client.event().await {
                Event::Connected => connected = true,
                Event::Updated(_) => {}
                event => panic!("{event:?}"),
            }
            let rows = client.replica().rows(Table::Port).len();
            assert!(whole.contains(&rows), "half of an update: {rows}");
            assert!(matches!(names(&client, "b"), 0 | 5) && matches!(names(&client, "c"), 0 | 3));
            if rows == 3 {
                break;
            }
        }
        assert!(connected);
        go.send(()).expect("told");
    });
}

#[test]
fn a_server_without_manners() {
    let server = Server::new();
    let mut client = server.client();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let serve = move || {
        let rows = ports("initial", 0..3, "a");
        let nonsense = [
            "HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(),
            "[".repeat(100_000) + &"]".repeat(100_000),
            r#"{"id":null,"method":"update2","params":[["monid","Open_vSwitch"],{"Port":{"x":1}}]}"#.to_owned(),
            update(&ports("modify", 9..10, "missing")),
            r#"{"id":null,"method":"upd"#.to_owned(),
        ];
        for text in nonsense {
            let mut peer = server.accept();
            peer.greet(&rows);
            peer.say(&text);
            // The client goes by itself, but for the text that has no end.
            if text.ends_with("upd") {
                continue;
            }
            let mut rest = Vec::new();
            let _ = peer.stream.read_to_end(&mut rest);
        }
        let mut peer = server.accept();
        peer.greet(&ports("initial", 0..4, "a"));
        wait.recv().expect("the end");
    };
    beside(serve, async move {
        let (mut connected, mut disconnected) = (0, 0);
        while client.replica().rows(Table::Port).len() < 4 || connected < 6 {
            match client.event().await {
                Event::Connected => connected += 1,
                Event::Disconnected => disconnected += 1,
                Event::Updated(_) => {}
                event => panic!("{event:?}"),
            }
            assert!(client.replica().rows(Table::Port).len() >= 3);
            assert_eq!(client.is_writable(), connected > disconnected);
        }
        assert_eq!((connected, disconnected), (6, 5));
        go.send(()).expect("told");
    });
}

#[test]
fn a_server_that_does_not_read() {
    let server = Server::new();
    let mut client = server.client();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let serve = move || {
        let mut peer = server.accept();
        peer.greet(&ports("initial", 0..1, "a"));
        // Far more than a socket holds waits for us; then we read after all.
        wait.recv().expect("told to go on");
        for _ in 0..2 {
            let request = peer.read();
            let count = request["params"].as_array().map_or(0, Vec::len) - 1;
            let results = vec![json!({ "count": 1 }); count];
            peer.say(&json!({ "id": request["id"], "result": results, "error": null }).to_string());
        }
    };
    beside(serve, async move {
        while client.event().await != Event::Connected {}
        let port = client.replica().rows(Table::Port).next().expect("a row").uuid();
        let ids = [1, 2].map(|n| {
            let mut transaction = Transaction::new();
            let text = n.to_string().repeat(4 << 20);
            transaction.mutate_map(Table::Port, &port, "other_config", [("k", text)], [""; 0]);
            client.commit(transaction)
        });
        go.send(()).expect("told");
        for id in ids {
            assert_eq!(client.event().await, Event::Committed(id, Ok(Done::default())));
        }
        assert_eq!(client.event().await, Event::Disconnected);
    });
}

#[test]
fn more_transactions_than_may_wait() {
    let remotes = Remote::parse_list("unix:/nonexistent/db.sock").expect("a remote");
    let mut client = Client::new(remotes, ClientOptions::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let ids: Vec<_> =
            (0..3 * OVSDB_TRANSACTIONS_MAX).map(|_| client.commit(Transaction::new())).collect();
        let mut outcomes = Vec::new();
        for _ in &ids {
            let Event::Committed(id, Err(error)) = client.event().await else { panic!("no error") };
            assert!(matches!(error, TxnError::Busy | TxnError::NotConnected));
            assert!(error.is_transient());
            outcomes.push(id);
        }
        outcomes.sort_unstable();
        assert_eq!(outcomes, ids);
    });
}
