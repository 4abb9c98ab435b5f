//! What the server says of our database in the table `Database` of its database `_Server`.
//!
//! Source: ovsdb-server(5), `_Server.ovsschema`. Pure values, any thread.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use thiserror::Error;

use super::message::members;
use super::value::Uuid;

/// Why a server cannot be used, in the peer's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// There is no such database.
    #[error("server does not have {0} database")]
    NoDatabase(String),
    /// A member of a cluster that it has not joined.
    #[error("clustered database server has not yet joined cluster; trying another server")]
    NotJoined,
    /// A member of a cluster that it has lost.
    #[error("clustered database server is disconnected from cluster; trying another server")]
    NotInCluster,
    /// A member of a cluster that another leads.
    #[error("clustered database server is not cluster leader; trying another server")]
    NotLeader,
    /// Passes on what another server has.
    #[error("relay database server cannot be a leader; trying another server")]
    Relay,
}

/// The rows of `Database`, by their names.
#[derive(Clone, Debug, Default)]
pub struct DatabaseRows(BTreeMap<String, Map<String, Value>>);

impl DatabaseRows {
    /// The columns that matter here. The column `schema`, by which the peer knows who has not joined yet,
    /// is as long as the schema itself, which is asked for anyway.
    pub const COLUMNS: [&'static str; 5] = ["cid", "connected", "leader", "model", "name"];

    /// Takes a `<table-updates2>` (or, as far as it matters, `<table-updates>`).
    ///
    /// # Errors
    /// When it is none.
    pub fn update(&mut self, updates: &RawValue) -> Result<(), serde_json::Error> {
        members(updates, |table, rows| {
            if table != "Database" {
                return Ok(());
            }
            members(rows, |uuid, update| {
                let update: Map<String, Value> = serde_json::from_str(update.get())?;
                for (kind, columns) in update {
                    match (kind.as_str(), columns) {
                        ("initial" | "insert" | "new", Value::Object(columns)) => {
                            self.0.insert(uuid.to_owned(), columns);
                        }
                        // Each column holds one value at most, so a difference is the new value.
                        ("modify", Value::Object(columns)) => {
                            self.0.entry(uuid.to_owned()).or_default().extend(columns);
                        }
                        ("delete", _) => drop(self.0.remove(uuid)),
                        _ => {}
                    }
                }
                Ok::<_, serde_json::Error>(())
            })
        })
    }

    /// Can the server be used for the database `name`?
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check(&self, name: &str) -> Result<(), Unfit> {
        let is_it = |row: &&Map<String, Value>| text(row, "name") == Some(name);
        let row = self.0.values().find(is_it).ok_or_else(|| Unfit::NoDatabase(name.to_owned()))?;
        let truth = |column| row.get(column) == Some(&Value::Bool(true));
        match text(row, "model").unwrap_or_default() {
            "clustered" if !truth("connected") && !has_cluster(row) => Err(Unfit::NotJoined),
            "clustered" if !truth("connected") => Err(Unfit::NotInCluster),
            "clustered" if !truth("leader") => Err(Unfit::NotLeader),
            "relay" => Err(Unfit::Relay),
            _ => Ok(()),
        }
    }
}

/// Whether a member knows its cluster: before it has joined, it does if it was told (`ovsdb-tool --cid`).
fn has_cluster(row: &Map<String, Value>) -> bool {
    let cid = row.get("cid").and_then(|cid| cid.get(1)).and_then(Value::as_str);
    cid.and_then(|cid| cid.parse().ok()).is_some_and(|cid: Uuid| cid != Uuid::ZERO)
}

fn text<'a>(row: &'a Map<String, Value>, column: &str) -> Option<&'a str> {
    row.get(column)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(rows: &mut DatabaseRows, updates: &Value) -> Result<(), Unfit> {
        let raw = RawValue::from_string(updates.to_string()).expect("JSON");
        rows.update(&raw).expect("an update");
        rows.check("Open_vSwitch")
    }

    #[test]
    fn which_server_can_be_used() {
        let mut rows = DatabaseRows::default();
        let update = |kind: &str, row: Value| json!({ "Database": { "1": { kind: row } } });
        let other = json!({ "Database": { "2": { "initial": { "name": "_Server" } } } });
        assert_eq!(told(&mut rows, &other), Err(Unfit::NoDatabase("Open_vSwitch".to_owned())));
        let row = json!({ "name": "Open_vSwitch", "model": "standalone" });
        assert_eq!(told(&mut rows, &update("insert", row)), Ok(()));
        // As ovsdb-server 3.1.0 tells of a member before and after it has joined.
        let step = json!({ "model": "clustered", "cid": ["uuid", Uuid::ZERO.to_string()] });
        assert_eq!(told(&mut rows, &update("modify", step)), Err(Unfit::NotJoined));
        let step = json!({ "cid": ["uuid", "fdd79fca-686e-4d54-938f-906c42da2ab7"] });
        assert_eq!(told(&mut rows, &update("modify", step)), Err(Unfit::NotInCluster));
        let step = json!({ "connected": true });
        assert_eq!(told(&mut rows, &update("modify", step)), Err(Unfit::NotLeader));
        let step = json!({ "leader": true });
        assert_eq!(told(&mut rows, &update("modify", step)), Ok(()));
        let gone = update("delete", Value::Null);
        assert_eq!(told(&mut rows, &gone), Err(Unfit::NoDatabase("Open_vSwitch".to_owned())));
    }
}
