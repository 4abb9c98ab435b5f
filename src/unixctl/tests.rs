//! A real server on a real socket, with clients that behave and clients that do not.

use super::*;
use crate::limits::{UNIXCTL_CONNECTIONS_MAX, UNIXCTL_REQUEST_BYTES_MAX};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// Far more than a socket's buffers hold.
const DUMP_BYTES: usize = 32 << 20;

/// Serves a registry of a few commands while `clients` runs in a thread of its own.
fn serve(clients: impl FnOnce(&Path) + Send + 'static) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.ctl");
    let registry = Registry::new("ovs-vswitchd (Open vSwitch) 3.1.0");
    registry.register_memory(&crate::memory::Memory::default());
    registry.register_coverage();
    registry.register("echo", "[text]...", 0..=usize::MAX, |call| Ok(call.args.join(" ")));
    registry.register("one", "arg", 1..=1, |call| {
        call.arg(0).map(str::to_owned).ok_or(CommandError::from("missing"))
    });
    registry.register("json", "", 0..=0, |call| {
        Ok(match call.format {
            Format::Json => Output::from(json!({ "ports": 3 })),
            Format::Text => Output::from("3 ports"),
        })
    });
    registry.register_deferred("later", "", 0..=0, |_, reply| {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            reply.ok("at last");
        });
    });
    registry.register_hidden("dump", 0..=0, |_, reply| {
        std::thread::spawn(move || reply.ok("x".repeat(DUMP_BYTES)));
    });
    registry.register_deferred("never", "", 0..=0, |_, reply| drop(reply));
    let pending = std::cell::RefCell::new(Vec::new());
    registry.register_deferred("pend", "", 0..=0, move |_, reply| {
        pending.borrow_mut().push(reply);
    });
    registry.register_hidden("hidden", 0..=0, |_, reply| reply.ok(()));

    let server = Server::bind(&path, registry).expect("a socket");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (done, finished) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn({
        let path = path.clone();
        move || {
            clients(&path);
            let _ = done.send(());
        }
    });
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        tokio::select! {
            result = server.run() => panic!("the server ended: {result:?}"),
            _ = finished => {}
        }
    });
    thread.join().expect("the clients");
    assert!(!path.exists(), "the socket's name is gone with its server");
}

fn ask(path: &Path, command: &str, args: &[&str]) -> Result<String, String> {
    client::call(path, command, args).expect("an answer")
}

/// The error texts are those of ovs-vswitchd 3.1.0, as `ovs-appctl` printed them.
#[test]
fn answers_and_mistakes() {
    serve(|path| {
        assert_eq!(ask(path, "version", &[]), Ok("ovs-vswitchd (Open vSwitch) 3.1.0\n".to_owned()));
        assert_eq!(ask(path, "echo", &["a", "b c"]), Ok("a b c\n".to_owned()));
        assert_eq!(ask(path, "echo", &[]), Ok(String::new()));
        assert_eq!(ask(path, "later", &[]), Ok("at last\n".to_owned()));
        assert_eq!(ask(path, "memory/show", &[]), Ok(String::new()));
        for (command, args, want) in [
            (
                "nosuch",
                &[][..],
                "\"nosuch\" is not a valid command (use \"list-commands\" to see a list of valid \
                 commands)\n",
            ),
            ("version", &["x"], "\"version\" command takes at most 0 arguments\n"),
            (
                "coverage/read-counter",
                &[],
                "\"coverage/read-counter\" command requires at least 1 arguments\n",
            ),
            ("coverage/read-counter", &["nope"], "No such counter\n"),
            ("never", &[], "\"never\" command was abandoned\n"),
        ] {
            assert_eq!(ask(path, command, args), Err(want.to_owned()));
        }
        let list = ask(path, "list-commands", &[]).expect("a list");
        assert_eq!(
            list,
            "The available commands are:\n  \
               coverage/read-counter   COUNTER\n  \
               coverage/show           \n  \
               echo                    [text]...\n  \
               json                    \n  \
               later                   \n  \
               list-commands           \n  \
               memory/show             \n  \
               never                   \n  \
               one                     arg\n  \
               pend                    \n  \
               set-options             [--format text|json]\n  \
               version                 \n"
        );
        assert_eq!(ask(path, "hidden", &[]), Ok(String::new()));
    });
}

#[test]
fn a_connection_has_its_own_format() {
    serve(|path| {
        let mut json_client = client::Client::connect(path).expect("a connection");
        let mut text_client = client::Client::connect(path).expect("a connection");
        let mut ask = |command, args: &[&str]| json_client.call(command, args).expect("an answer");
        assert_eq!(
            ask("set-options", &["--format", "json"]),
            Ok(json!({"reply-format": "plain", "reply": ""}))
        );
        assert_eq!(ask("json", &[]), Ok(json!({ "ports": 3 })));
        assert_eq!(ask("echo", &["x"]), Ok(json!({"reply-format": "plain", "reply": "x"})));
        assert_eq!(ask("list-commands", &[]).expect("a list").get("one"), Some(&json!("arg")));
        assert_eq!(
            ask("set-options", &["--format=xml"]),
            Err("option format has invalid value xml\n".to_owned())
        );
        assert_eq!(
            ask("set-options", &[]),
            Err("\"set-options\" command requires at least 1 arguments\n".to_owned())
        );
        assert_eq!(ask("set-options", &["--format=text"]), Ok("".into()));
        assert_eq!(text_client.call("json", &[]).expect("an answer"), Ok("3 ports\n".into()));
    });
}

/// What a connection sends until it is closed, after `bytes` were written to it.
fn raw(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).expect("a connection");
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("text")
}

#[test]
fn bytes_in_pieces_several_at_once_and_bad_ones() {
    serve(|path| {
        // Two requests in one write, then one a byte at a time.
        assert_eq!(
            raw(path, br#"{"id":1,"method":"echo","params":["a"]} {"id":"2","method":"one","params":[7]}"#),
            concat!(
                r#"{"id":1,"result":"a\n","error":null}"#,
                r#"{"id":"2","result":null,"error":"\"one\" command has non-string argument\n"}"#
            )
        );
        let mut slow = UnixStream::connect(path).expect("a connection");
        for byte in br#"{"id":3,"method":"echo","params":["}\"{"]}"# {
            slow.write_all(&[*byte]).expect("a byte");
        }
        let want = br#"{"id":3,"result":"}\"{\n","error":null}"#;
        let mut answer = vec![0; want.len()];
        slow.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, want);

        for bad in [
            &b"GET / HTTP/1.0\r\n\r\n"[..],
            b"[]",
            b"{}",
            br#"{"id":null,"method":"echo","params":[]}"#,
            br#"{"id":1,"method":"echo"}"#,
            b"{\"id\":1,\"method\":\"\xff\",\"params\":[]}",
        ] {
            assert_eq!(raw(path, bad), "", "{}", String::from_utf8_lossy(bad));
        }
        let long = [br#"{"id":1,"method":""#, &vec![b'x'; UNIXCTL_REQUEST_BYTES_MAX][..]].concat();
        assert_eq!(raw(path, &long), "");
        assert_eq!(raw(path, "[".repeat(1000).as_bytes()), "");
        assert_eq!(ask(path, "echo", &["well"]), Ok("well\n".to_owned()));
    });
}

#[test]
fn idle_and_stuck_clients_lock_nobody_out() {
    serve(|path| {
        let mut stuck = client::Client::connect(path).expect("a connection");
        stuck.set_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        assert!(stuck.call("pend", &[]).is_err(), "no answer yet");
        let idle: Vec<_> = (0..3 * UNIXCTL_CONNECTIONS_MAX)
            .map(|_| UnixStream::connect(path).expect("a connection"))
            .collect();
        assert_eq!(ask(path, "echo", &["in"]), Ok("in\n".to_owned()));
        // The one that waits for an answer has kept its place.
        let (done, closed) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = done.send(stuck.call("echo", &[]));
        });
        assert!(matches!(closed.recv(), Ok(Err(client::ClientError::Io(error)))
            if error.kind() == std::io::ErrorKind::WouldBlock));
        drop(idle);
    });
}

#[test]
fn a_client_that_does_not_read_keeps_nobody_waiting() {
    serve(|path| {
        let mut lazy = UnixStream::connect(path).expect("a connection");
        let request = br#"{"method":"dump","params":[],"id":1}"#;
        lazy.write_all(request).expect("a request");
        // Its answer is on its way: it has begun to come.
        let mut first = [0];
        lazy.read_exact(&mut first).expect("the beginning");
        for _ in 0..100 {
            assert_eq!(ask(path, "echo", &["still here"]), Ok("still here\n".to_owned()));
        }
        let mut rest = Vec::new();
        lazy.shutdown(std::net::Shutdown::Write).expect("no more requests");
        lazy.read_to_end(&mut rest).expect("the rest");
        assert!(rest.len() > DUMP_BYTES, "only {} bytes came", rest.len());
    });
}

#[test]
fn many_clients_at_once_get_their_own_answers() {
    serve(|path| {
        let clients: Vec<_> = (0..UNIXCTL_CONNECTIONS_MAX / 2)
            .map(|n| {
                let path = path.to_owned();
                std::thread::spawn(move || {
                    let mut client = client::Client::connect(&path).expect("a connection");
                    for i in 0..20 {
                        let (command, want) = match i % 3 {
                            0 => ("later", "at last\n".to_owned()),
                            _ => ("echo", format!("{n} {i}\n")),
                        };
                        let text = format!("{n} {i}");
                        let args = if i % 3 == 0 { vec![] } else { vec![text.as_str()] };
                        let answer = client.call(command, &args).expect("an answer");
                        assert_eq!(answer, Ok(want.into()));
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("a client"));
    });
}

#[test]
fn a_socket_that_cannot_be_made() {
    let registry = || Registry::new("x");
    let error =
        Server::bind(Path::new("/nonexistent/x.ctl"), registry()).expect_err("no directory");
    assert_eq!(
        error.to_string(),
        "/nonexistent/x.ctl: could not initialize control socket (No such file or directory)"
    );
    let dir = tempfile::tempdir().expect("a directory");
    let deep = (0..4).fold(PathBuf::from(dir.path()), |path, _| path.join("d".repeat(60)));
    std::fs::create_dir_all(&deep).expect("directories");
    let path = deep.join("long.ctl");
    let server = Server::bind(&path, registry()).expect("a socket with a long name");
    assert!(client::Client::connect(&path).is_ok());
    drop(server);
    assert!(!path.exists());
}
