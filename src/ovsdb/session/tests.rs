use super::*;
use crate::ovsdb::replica::Change;
use crate::ovsdb::schema::tests::small_schema_json;
use crate::ovsdb::value::Datum;
use proptest::prelude::*;
use serde_json::Map;

const TXN: &str = "00000000-0000-0000-0000-0000000000aa";

/// A session and what a server in the same process knows of it.
struct Talk {
    session: Session,
    sent: VecDeque<Value>,
}

impl Talk {
    fn new(lock: Option<&str>) -> Talk {
        let mut talk =
            Talk { session: Session::new(lock.map(str::to_owned)), sent: VecDeque::new() };
        talk.session.connected();
        talk
    }

    /// The next thing that the session sent; its method must be this.
    fn asked(&mut self, method: &str) -> Value {
        let output = self.session.take_output();
        let texts = serde_json::Deserializer::from_slice(&output).into_iter::<Value>();
        self.sent.extend(texts.map(|text| text.expect("JSON")));
        let message = self.sent.pop_front().unwrap_or_else(|| panic!("no {method}"));
        assert_eq!(message["method"], method, "{message}");
        message
    }

    fn silent(&mut self) -> bool {
        self.session.take_output().is_empty() && self.sent.is_empty()
    }

    fn tell(&mut self, message: Value) -> Result<(), String> {
        self.session.receive(message.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    fn reply(&mut self, to: &Value, result: Value) -> Result<(), String> {
        self.tell(json!({ "id": to["id"], "result": result, "error": null }))
    }

    fn refuse(&mut self, request: &Value, error: Value) -> Result<(), String> {
        self.tell(json!({ "id": request["id"], "result": null, "error": error }))
    }

    fn events(&mut self) -> Vec<SessionEvent> {
        std::iter::from_fn(|| self.session.next_event()).collect()
    }

    /// As far as the request for the rows.
    fn greet(&mut self) -> Value {
        let request = self.asked("get_schema");
        assert_eq!(request["params"], json!(["_Server"]));
        self.reply(&request, json!({ "name": "_Server", "tables": {} })).expect("taken");
        let request = self.asked("monitor_cond");
        self.reply(&request, server_row("standalone")).expect("taken");
        self.asked("set_db_change_aware");
        let request = self.asked("get_schema");
        assert_eq!(request["params"], json!(["Open_vSwitch"]));
        self.reply(&request, small_schema_json()).expect("taken");
        self.asked("monitor_cond_since")
    }

    /// As far as the rows, which are these.
    fn filled(lock: Option<&str>, rows: Value) -> Talk {
        let mut talk = Talk::new(lock);
        if lock.is_some() {
            let request = talk.asked("lock");
            talk.reply(&request, json!({ "locked": true })).expect("taken");
        }
        let request = talk.greet();
        talk.reply(&request, json!([false, TXN, rows])).expect("taken");
        talk.events();
        talk
    }

    fn names(&self) -> Vec<&str> {
        self.session.replica().rows(Table::Port).map(|row| row.string("name")).collect()
    }
}

fn server_row(model: &str) -> Value {
    let row = json!({ "name": "Open_vSwitch", "model": model, "leader": true, "connected": true });
    json!({ "Database": { "b": { "initial": row } } })
}

fn id(n: u8) -> String {
    Uuid([n; 16]).to_string()
}

fn ports(kind: &str, rows: &[(u8, &str)]) -> Value {
    let rows = rows.iter().map(|(n, name)| (id(*n), json!({ (kind): { "name": name } })));
    json!({ "Port": rows.collect::<Map<_, _>>() })
}

fn changed(changes: &[(u8, Change)], all: bool) -> SessionEvent {
    let touched = changes.iter().map(|(n, c)| ((Table::Port, Uuid([*n; 16])), c.clone())).collect();
    SessionEvent::Updated { changes: Changes { touched }, all }
}

fn renamed() -> Change {
    Change::Modified(vec!["name"])
}

#[test]
fn a_conversation_with_a_new_server() {
    let mut talk = Talk::new(Some("l"));
    let lock = talk.asked("lock");
    assert_eq!(lock["params"], json!(["l"]));
    let request = talk.greet();
    let params = &request["params"];
    assert_eq!(
        (&params[0], &params[1]),
        (&json!("Open_vSwitch"), &json!(["monid", "Open_vSwitch"]))
    );
    assert_eq!(params[2]["Bridge"], json!([{ "columns": ["name", "other_config", "ports"] }]));
    assert_eq!(params[3], json!(Uuid::ZERO.to_string()));
    assert_eq!(talk.events(), []);
    talk.reply(&request, json!([false, TXN, ports("initial", &[(1, "a"), (2, "b")])]))
        .expect("taken");
    let inserted = [(1, Change::Inserted), (2, Change::Inserted)];
    assert_eq!(talk.events(), [changed(&inserted, true), SessionEvent::Connected]);
    talk.reply(&lock, json!({ "locked": true })).expect("taken");
    assert_eq!(talk.events(), [SessionEvent::Lock(true)]);

    // Told what others do.
    let monid = json!(["monid", "Open_vSwitch"]);
    let update = json!({ "id": null, "method": "update3", "params": [monid, id(9), ports("modify", &[(2, "c")])] });
    talk.tell(update).expect("taken");
    assert_eq!(talk.events(), [changed(&[(2, renamed())], false)]);
    assert_eq!(talk.names(), ["a", "c"]);
    // Somebody else's monitor, and an update that changes nothing.
    let other = json!({ "method": "update3", "params": ["x", id(9), ports("insert", &[(3, "d")])], "id": null });
    talk.tell(other).expect("taken");
    let same = json!({ "method": "update3", "params": [monid, id(9), ports("modify", &[(2, "c")])], "id": null });
    talk.tell(same).expect("taken");
    assert_eq!(talk.events(), []);

    // Signs of life both ways.
    talk.tell(json!({ "method": "echo", "params": [1, {"x": 2}], "id": "echo" })).expect("taken");
    let answer = talk.session.take_output();
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(answer, json!({ "id": "echo", "result": [1, {"x": 2}], "error": null }));
    talk.session.probe();
    assert_eq!(talk.asked("echo"), json!({ "method": "echo", "params": [], "id": "echo" }));
    talk.tell(json!({ "id": "echo", "result": [], "error": null })).expect("taken");
    assert!(talk.silent());

    // The lock goes and comes; somebody else's is none of ours.
    for (method, lock, want) in
        [("stolen", "l", Some(false)), ("locked", "l", Some(true)), ("stolen", "x", None)]
    {
        talk.tell(json!({ "method": method, "params": [lock], "id": null })).expect("taken");
        assert_eq!(talk.events(), want.map(SessionEvent::Lock).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn resuming() {
    let mut talk = Talk::filled(None, ports("initial", &[(1, "a"), (2, "b")]));
    let monid = json!(["monid", "Open_vSwitch"]);
    talk.tell(json!({ "method": "update3", "params": [monid, id(7), {}], "id": null }))
        .expect("taken");
    talk.session.disconnected();
    assert_eq!(talk.events(), [SessionEvent::Disconnected]);
    talk.session.disconnected();
    assert_eq!(talk.events(), []);
    assert_eq!(talk.names(), ["a", "b"]);
    // From the last transaction told, with what was missed.
    talk.session.connected();
    let request = talk.greet();
    assert_eq!(request["params"][3], json!(id(7)));
    let missed =
        json!({ "Port": { (id(1)): { "delete": null }, (id(2)): { "modify": { "name": "c" } } } });
    talk.reply(&request, json!([true, id(8), missed])).expect("taken");
    let changes = [(1, Change::Deleted), (2, renamed())];
    assert_eq!(talk.events(), [changed(&changes, true), SessionEvent::Connected]);
    // Not resumed: everything is told, what differs is seen.
    talk.session.connected();
    assert_eq!(talk.events(), [SessionEvent::Disconnected]);
    let request = talk.greet();
    assert_eq!(request["params"][3], json!(id(8)));
    let all = ports("initial", &[(2, "c"), (3, "d")]);
    talk.reply(&request, json!([false, id(8), all.clone()])).expect("taken");
    assert_eq!(talk.events(), [changed(&[(3, Change::Inserted)], true), SessionEvent::Connected]);
    // Nothing missed, nothing told.
    talk.session.connected();
    let request = talk.greet();
    talk.reply(&request, json!([false, id(8), all])).expect("taken");
    assert_eq!(talk.events(), [SessionEvent::Disconnected, SessionEvent::Connected]);
    // A server that says "found" to one who never asked is not believed.
    let mut fresh = Talk::new(None);
    let request = fresh.greet();
    fresh.reply(&request, json!([true, id(8), ports("initial", &[(1, "x")])])).expect("taken");
    assert_eq!(fresh.names(), ["x"]);
}

#[test]
fn older_servers() {
    for (has_cond, form) in [(true, "update2"), (false, "update")] {
        let mut talk = Talk::new(None);
        let request = talk.asked("get_schema");
        talk.refuse(&request, json!({ "error": "unknown database" })).expect("taken");
        let request = talk.asked("get_schema");
        assert_eq!(request["params"], json!(["Open_vSwitch"]));
        talk.reply(&request, small_schema_json()).expect("taken");
        let mut request = talk.asked("monitor_cond");
        let kind = if has_cond { "initial" } else { "new" };
        if !has_cond {
            talk.refuse(&request, json!("unknown method")).expect("taken");
            request = talk.asked("monitor");
        }
        talk.reply(&request, ports(kind, &[(1, "a")])).expect("taken");
        assert_eq!(
            talk.events(),
            [changed(&[(1, Change::Inserted)], true), SessionEvent::Connected]
        );
        let kind = if has_cond { "modify" } else { "new" };
        let monid = json!(["monid", "Open_vSwitch"]);
        let update =
            json!({ "method": form, "params": [monid, ports(kind, &[(1, "b")])], "id": null });
        talk.tell(update).expect("taken");
        assert_eq!(talk.events(), [changed(&[(1, renamed())], false)]);
    }
    // A server that has nothing of all that.
    let mut talk = Talk::new(None);
    let request = talk.asked("get_schema");
    talk.refuse(&request, json!("unknown database")).expect("taken");
    let request = talk.asked("get_schema");
    let refused = talk.refuse(&request, json!({ "error": "unknown database" }));
    assert_eq!(
        refused,
        Err("received unexpected error response to get_schema: unknown database".to_owned())
    );
}

impl Talk {
    /// A monitor of 2.11: knows `_Server`, but not `monitor_cond_since`.
    fn without_since(&mut self) {
        let request = self.greet();
        self.refuse(&request, json!({ "error": "unknown method" })).expect("taken");
        let request = self.asked("monitor_cond");
        self.reply(&request, ports("initial", &[(1, "a")])).expect("taken");
    }
}

#[test]
fn without_monitor_cond_since() {
    let mut talk = Talk::new(None);
    talk.without_since();
    assert_eq!(talk.events().pop(), Some(SessionEvent::Connected));
    talk.session.connected();
    talk.without_since();
    assert_eq!(talk.events(), [SessionEvent::Disconnected, SessionEvent::Connected]);
}

#[test]
fn servers_that_cannot_be_used() {
    let mut talk = Talk::new(None);
    let request = talk.asked("get_schema");
    talk.reply(&request, json!({})).expect("taken");
    let request = talk.asked("monitor_cond");
    let none = talk.reply(&request, json!({}));
    assert_eq!(none, Err("server does not have Open_vSwitch database".to_owned()));
    // While we watch: the database goes.
    let mut talk = Talk::filled(None, json!({}));
    let gone = json!({ "Database": { "b": { "delete": null } } });
    let told = talk
        .tell(json!({ "method": "update2", "params": [["monid", "_Server"], gone], "id": null }));
    assert_eq!(told, Err("server does not have Open_vSwitch database".to_owned()));
    // Converted: from the top, and everything anew since the columns may be others.
    let mut talk = Talk::filled(None, ports("initial", &[(1, "a")]));
    talk.tell(
        json!({ "method": "monitor_canceled", "params": [["monid", "Open_vSwitch"]], "id": null }),
    )
    .expect("taken");
    assert_eq!(talk.asked("monitor_cancel")["params"], json!([["monid", "_Server"]]));
    assert_eq!(talk.events(), [SessionEvent::Disconnected]);
    assert_eq!(talk.names(), ["a"]);
    let request = talk.greet();
    talk.reply(&request, json!([false, TXN, ports("initial", &[(1, "a")])])).expect("taken");
    assert_eq!(talk.events(), [SessionEvent::Connected]);
}

#[test]
fn nonsense_closes_the_connection_and_spares_the_replica() {
    let monid = json!(["monid", "Open_vSwitch"]);
    for message in [
        json!([]),
        json!({ "id": null }),
        json!({ "method": "update3", "params": [], "id": null }),
        json!({ "method": "update3", "params": [monid, id(1), 5], "id": null }),
        json!({ "method": "update3", "params": [monid, id(1), { "Port": { "x": {} } }], "id": null }),
        json!({ "method": "update3", "params": [monid, id(1), ports("modify", &[(9, "x")])], "id": null }),
        json!({ "method": "update3", "params": [monid, "x", {}], "id": null }),
        json!({ "method": "update3", "params": [1, 2, 3, 4], "id": null }),
    ] {
        let mut talk = Talk::filled(None, ports("initial", &[(1, "a")]));
        talk.tell(message.clone()).expect_err(&message.to_string());
        assert_eq!(talk.names(), ["a"]);
        talk.session.disconnected();
        talk.session.connected();
        let request = talk.greet();
        talk.reply(&request, json!([false, TXN, ports("initial", &[(1, "b")])])).expect("taken");
        assert_eq!(talk.names(), ["b"]);
    }
    // Out of step: the next connection asks for everything.
    let mut talk = Talk::filled(None, ports("initial", &[(1, "a")]));
    let missing = json!({ "method": "update3", "params": [monid, id(3), ports("modify", &[(9, "x")])], "id": null });
    let error = talk.tell(missing).expect_err("out of step");
    assert_eq!(error, format!("cannot modify missing row {} in table Port", id(9)));
    talk.session.connected();
    assert_eq!(talk.greet()["params"][3], json!(Uuid::ZERO.to_string()));
    // Truncated texts and depth.
    let deep = format!("{{\"method\":\"x\",\"params\":{}", "[".repeat(1_000_000));
    for text in ["", "{", "{\"method\":", "nul", &deep] {
        talk.session.receive(text.as_bytes()).expect_err(text);
    }
    // Answers of the wrong shape.
    for (result, is_error) in
        [(json!(null), true), (json!([]), true), (json!([true, "x", {}]), true)]
    {
        let mut talk = Talk::new(None);
        let request = talk.greet();
        assert_eq!(talk.reply(&request, result).is_err(), is_error);
        assert_eq!(talk.events(), []);
    }
}

#[test]
fn another_schema_is_told_even_without_a_row() {
    let mut talk = Talk::filled(None, json!({}));
    talk.session.connected();
    let request = talk.asked("get_schema");
    talk.refuse(&request, json!("no")).expect("taken");
    let request = talk.asked("get_schema");
    let mut schema = small_schema_json();
    schema["version"] = json!("7.0.2");
    talk.reply(&request, schema).expect("taken");
    let request = talk.asked("monitor_cond");
    talk.reply(&request, json!({})).expect("taken");
    let want = [SessionEvent::Disconnected, changed(&[], true), SessionEvent::Connected];
    assert_eq!(talk.events(), want);
    assert_eq!(talk.session.replica().schema().version(), "7.0.2");
}

fn write_tag(tag: i64) -> Transaction {
    let mut transaction = Transaction::new();
    transaction.update(Table::Port, &Uuid([1; 16]), "tag", Datum::optional(Some(tag)));
    transaction
}

fn committed(id: u64, outcome: Result<(), TxnError>) -> SessionEvent {
    SessionEvent::Committed(TxnId(id), outcome.map(|()| Done::default()))
}

#[test]
fn each_transaction_has_its_outcome() {
    let mut talk = Talk::filled(Some("l"), ports("initial", &[(1, "a")]));
    for n in 1..=4 {
        talk.session.commit(TxnId(n), &write_tag(i64::try_from(n).expect("small")));
    }
    let requests: Vec<Value> = (0..4).map(|_| talk.asked("transact")).collect();
    let assertion = json!({ "op": "assert", "lock": "l" });
    assert!(
        requests
            .iter()
            .all(|request| request["params"].as_array().and_then(|p| p.last()) == Some(&assertion))
    );
    // In any order, some of them never, and strangers between.
    let ok = json!([{ "count": 1 }, {}]);
    talk.reply(&requests[2], ok.clone()).expect("taken");
    talk.tell(json!({ "id": 4711, "result": ok, "error": null })).expect("taken");
    talk.tell(json!({ "id": "x", "result": ok, "error": null })).expect("taken");
    talk.refuse(&requests[0], json!({ "error": "not allowed", "details": "why" })).expect("taken");
    talk.reply(&requests[1], json!("?")).expect("taken");
    let refused =
        TxnError::Refused { error: "not allowed".to_owned(), details: "why".to_owned(), row: None };
    assert_eq!(
        talk.events(),
        [committed(3, Ok(())), committed(1, Err(refused)), committed(2, Err(TxnError::Malformed))]
    );
    // A second answer is nobody's.
    talk.reply(&requests[2], ok).expect("taken");
    assert_eq!(talk.events(), []);
    // Nothing to write is done at once.
    talk.session.commit(TxnId(5), &Transaction::new());
    assert_eq!(talk.events(), [committed(5, Ok(()))]);
    assert!(talk.silent());
    talk.session.disconnected();
    assert_eq!(talk.events(), [committed(4, Err(TxnError::Lost)), SessionEvent::Disconnected]);
    talk.session.commit(TxnId(6), &write_tag(6));
    assert_eq!(talk.events(), [committed(6, Err(TxnError::NotConnected))]);
    // Connected again, but without the lock.
    talk.session.connected();
    let lock = talk.asked("lock");
    let request = talk.greet();
    talk.reply(&request, json!([true, TXN, {}])).expect("taken");
    talk.session.commit(TxnId(7), &write_tag(7));
    talk.reply(&lock, json!({ "locked": false })).expect("taken");
    let want = [
        SessionEvent::Connected,
        committed(7, Err(TxnError::NotLocked)),
        SessionEvent::Lock(false),
    ];
    assert_eq!(talk.events(), want);
}

#[test]
fn a_write_is_not_left_out_while_another_is_on_its_way() {
    let mut talk = Talk::filled(None, ports("initial", &[(1, "a")]));
    let untag = || {
        let mut transaction = Transaction::new();
        transaction.update(Table::Port, &Uuid([1; 16]), "tag", Datum::EMPTY);
        transaction
    };
    talk.session.commit(TxnId(1), &write_tag(7));
    let first = talk.asked("transact");
    // The replica has no tag yet, but soon it will.
    talk.session.commit(TxnId(2), &untag());
    let second = talk.asked("transact");
    assert_eq!(second["params"][1]["row"], json!({ "tag": ["set", []] }));
    for request in [first, second] {
        talk.reply(&request, json!([{ "count": 1 }])).expect("taken");
    }
    talk.session.commit(TxnId(3), &untag());
    assert!(talk.silent());
}

#[test]
fn what_waits_is_bounded() {
    let mut talk = Talk::filled(None, ports("initial", &[(1, "a")]));
    for n in 0..=OVSDB_TRANSACTIONS_MAX as u64 {
        talk.session.commit(TxnId(n), &write_tag(3));
    }
    assert_eq!(talk.events(), [committed(OVSDB_TRANSACTIONS_MAX as u64, Err(TxnError::Busy))]);
    // A server that asks and never reads.
    let echo = json!({ "method": "echo", "params": ["x".repeat(1 << 20)], "id": 1 });
    let refused = (0..100).find_map(|_| talk.tell(echo.clone()).err());
    assert_eq!(refused, Some("sending backlog exceeded maximum size".to_owned()));
}

/// Pieces of which hostile conversations are made.
fn piece() -> impl Strategy<Value = Value> {
    let monid = json!(["monid", "Open_vSwitch"]);
    let server = json!(["monid", "_Server"]);
    prop_oneof![
        (0..12_u64, result())
            .prop_map(|(id, result)| json!({ "id": id, "result": result, "error": null })),
        (0..12_u64).prop_map(|id| json!({ "id": id, "result": null, "error": "no" })),
        result().prop_map(
            move |rows| json!({ "method": "update3", "params": [monid, TXN, rows], "id": null })
        ),
        result().prop_map(
            move |rows| json!({ "method": "update2", "params": [server, rows], "id": null })
        ),
        Just(
            json!({ "method": "monitor_canceled", "params": [["monid", "Open_vSwitch"]], "id": null })
        ),
        Just(json!({ "method": "locked", "params": ["l"], "id": null })),
        Just(json!({ "method": "stolen", "params": [5], "id": null })),
        Just(json!({ "method": "echo", "params": [], "id": [] })),
    ]
}

fn result() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(small_schema_json()),
        Just(server_row("standalone")),
        Just(server_row("clustered")),
        Just(json!([false, TXN, ports("initial", &[(1, "a"), (2, "b")])])),
        Just(json!([true, TXN, ports("modify", &[(1, "c")])])),
        Just(ports("insert", &[(1, "d")])),
        Just(ports("modify", &[(2, "e")])),
        Just(json!({ "locked": true })),
        Just(json!([])),
        Just(json!(null)),
    ]
}

proptest! {
    #[test]
    fn hostile_conversations_never_empty_the_replica(
        pieces in proptest::collection::vec((piece(), any::<bool>()), 0..40), cut in 0..60_usize,
    ) {
        let mut talk = Talk::new(Some("l"));
        let mut had_rows = false;
        for (at, (message, commit)) in pieces.into_iter().enumerate() {
            let mut text = message.to_string().into_bytes();
            if at % 7 == 3 {
                text.truncate(cut);
            }
            if commit {
                talk.session.commit(TxnId(at as u64), &write_tag(1));
            }
            if talk.session.receive(&text).is_err() {
                talk.session.disconnected();
                talk.session.connected();
            }
            had_rows |= !talk.names().is_empty();
            // Ports only go when a whole answer says so, and none of those above does.
            prop_assert!(!had_rows || !talk.names().is_empty());
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut talk = Talk::filled(None, json!({}));
        let _ = talk.session.receive(&bytes);
    }
}
