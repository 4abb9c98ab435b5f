//! The running daemon, asked through its control socket.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;
use crate::daemon::control_socket;
use crate::daemon::dirs::Dirs;
use crate::unixctl::client::{Client, ClientError};

/// The longest that the daemon may be silent: a dump of a full flow table takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the daemon.
#[derive(Debug)]
pub struct Control {
    client: Client,
    json: bool,
}

impl Control {
    /// Connects to the daemon `target`, as `ovs-appctl --target` does.
    ///
    /// # Errors
    /// When there is none, or it does not let us.
    pub fn connect(target: &str) -> Result<Self, Failure> {
        Self::connect_in(&Dirs::from_env(), target)
    }

    /// The same with given directories.
    ///
    /// # Errors
    /// When there is none, or it does not let us.
    pub fn connect_in(dirs: &Dirs, target: &str) -> Result<Self, Failure> {
        let path = control_socket(dirs, target)
            .map_err(|source| Failure::NoDaemon { target: target.to_owned(), source })?;
        let mut client = Client::connect(&path)?;
        client.set_timeout(Some(PATIENCE))?;
        Ok(Self { client, json: false })
    }

    /// Waits no longer than this for an answer.
    ///
    /// # Errors
    /// For a time of zero.
    pub fn set_patience(&mut self, patience: Duration) -> Result<(), Failure> {
        Ok(self.client.set_timeout(Some(patience))?)
    }

    /// Asks for text.
    ///
    /// # Errors
    /// When there is no answer, or an error.
    pub fn text(&mut self, command: &str, args: &[&str]) -> Result<String, Failure> {
        self.want_json(false)?;
        match self.call(command, args)? {
            Value::String(text) => Ok(text),
            _ => Err(ClientError::Malformed.into()),
        }
    }

    /// Asks for JSON, as it comes.
    ///
    /// # Errors
    /// When there is no answer, or an error.
    pub fn json(&mut self, command: &str, args: &[&str]) -> Result<Value, Failure> {
        self.want_json(true)?;
        self.call(command, args)
    }

    /// Asks for JSON of a known shape.
    ///
    /// # Errors
    /// When there is no answer, an error, or one of another shape.
    pub fn ask<T: DeserializeOwned>(&mut self, command: &str, args: &[&str]) -> Result<T, Failure> {
        let answer = self.json(command, args)?;
        serde_json::from_value(answer)
            .map_err(|source| Failure::Answer { command: command.to_owned(), source })
    }

    fn want_json(&mut self, json: bool) -> Result<(), Failure> {
        if self.json != json {
            self.call("set-options", &["--format", if json { "json" } else { "text" }])?;
            self.json = json;
        }
        Ok(())
    }

    fn call(&mut self, command: &str, args: &[&str]) -> Result<Value, Failure> {
        let refused = |text| Failure::Refused { command: command.to_owned(), text };
        self.client.call(command, args)?.map_err(refused)
    }
}
