//! The commands: name, usage, how many arguments, and what to do.
//!
//! Commands are registered by the module they name, at start or later. A handler answers at once
//! ([`Registry::register`]) or keeps the [`Reply`] and answers when it can
//! ([`Registry::register_deferred`]).

use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::{Rc, Weak};
use tokio::sync::oneshot;

/// What a client wants to read: set for its connection by `set-options --format FORMAT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    #[default]
    Text,
    /// A JSON value with stable keys.
    Json,
}

/// What a command found out.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Text; a missing new-line at its end is added.
    Text(String),
    /// For a client that asked for [`Format::Json`]. One that did not gets it printed.
    Json(Value),
}

impl From<String> for Output {
    fn from(text: String) -> Output {
        Output::Text(text)
    }
}

impl From<&str> for Output {
    fn from(text: &str) -> Output {
        Output::Text(text.to_owned())
    }
}

impl From<Value> for Output {
    fn from(value: Value) -> Output {
        Output::Json(value)
    }
}

impl From<()> for Output {
    fn from((): ()) -> Output {
        Output::Text(String::new())
    }
}

/// Why a command did not do it: text for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError(pub String);

impl<T: ToString> From<T> for CommandError {
    fn from(error: T) -> CommandError {
        CommandError(error.to_string())
    }
}

/// An answer of a command that answers at once.
pub type Answer = Result<Output, CommandError>;

/// A call of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its arguments, without the command's name; as many as were registered.
    pub args: Vec<String>,
    /// What the client wants to read.
    pub format: Format,
}

impl Call {
    /// Argument number `at`, from zero.
    pub fn arg(&self, at: usize) -> Option<&str> {
        self.args.get(at).map(String::as_str)
    }
}

/// The obligation to answer a call. May be sent to another thread. If it is dropped, the client
/// is told that the command was abandoned.
#[derive(Debug)]
pub struct Reply(oneshot::Sender<Result<Output, String>>);

impl Reply {
    pub(super) fn new() -> (Reply, oneshot::Receiver<Result<Output, String>>) {
        let (sender, receiver) = oneshot::channel();
        (Reply(sender), receiver)
    }

    /// Answers. A client that went away meanwhile does not get it, and nobody minds.
    pub fn send(self, answer: Answer) {
        let _ = self.0.send(answer.map_err(|error| error.0));
    }

    /// Answers with what was found out.
    pub fn ok(self, output: impl Into<Output>) {
        self.send(Ok(output.into()));
    }

    /// Answers with the text of an error.
    pub fn error(self, error: impl ToString) {
        self.send(Err(CommandError(error.to_string())));
    }

    /// Did the client go away, so that nobody waits for the answer?
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

pub(super) type Handler = dyn Fn(Call, Reply);

struct Command {
    usage: Option<String>,
    args: RangeInclusive<usize>,
    handler: Rc<Handler>,
}

type Commands = RefCell<BTreeMap<String, Command>>;

/// The commands of this process. Clones share them.
#[derive(Clone, Default)]
pub struct Registry {
    commands: Rc<Commands>,
}

/// A registry as one of its own commands may hold it, without keeping it alive.
pub(super) struct WeakRegistry(Weak<Commands>);

impl WeakRegistry {
    pub(super) fn upgrade(&self) -> Option<Registry> {
        self.0.upgrade().map(|commands| Registry { commands })
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.commands.borrow().keys()).finish()
    }
}

impl Registry {
    /// A registry with `list-commands`, and `version` answering `version`.
    pub fn new(version: &str) -> Registry {
        let registry = Registry::default();
        super::builtin::register(&registry, version);
        registry
    }

    /// Adds a command that answers at once.
    ///
    /// `usage` names the arguments for `list-commands`; `args` says how many there may be
    /// (`0..=usize::MAX` for any number). A name that is there already is replaced.
    pub fn register<F, T>(&self, name: &str, usage: &str, args: RangeInclusive<usize>, handler: F)
    where
        F: Fn(Call) -> Result<T, CommandError> + 'static,
        T: Into<Output>,
    {
        self.register_deferred(name, usage, args, move |call, reply| {
            reply.send(handler(call).map(Into::into));
        });
    }

    /// Adds a command that answers when it can.
    pub fn register_deferred<F>(
        &self,
        name: &str,
        usage: &str,
        args: RangeInclusive<usize>,
        handler: F,
    ) where
        F: Fn(Call, Reply) + 'static,
    {
        self.insert(name, Some(usage.to_owned()), args, Rc::new(handler));
    }

    /// Adds a command that `list-commands` does not show.
    pub fn register_hidden<F>(&self, name: &str, args: RangeInclusive<usize>, handler: F)
    where
        F: Fn(Call, Reply) + 'static,
    {
        self.insert(name, None, args, Rc::new(handler));
    }

    fn insert(
        &self,
        name: &str,
        usage: Option<String>,
        args: RangeInclusive<usize>,
        handler: Rc<Handler>,
    ) {
        self.commands.borrow_mut().insert(name.to_owned(), Command { usage, args, handler });
    }

    /// Is there a command of that name?
    pub fn contains(&self, name: &str) -> bool {
        self.commands.borrow().contains_key(name)
    }

    pub(super) fn downgrade(&self) -> WeakRegistry {
        WeakRegistry(Rc::downgrade(&self.commands))
    }

    /// Names and usages of the commands that are shown, sorted.
    pub(super) fn usages(self) -> Vec<(String, String)> {
        let commands = self.commands.borrow();
        let shown =
            |(name, command): (&String, &Command)| Some((name.clone(), command.usage.clone()?));
        commands.iter().filter_map(shown).collect()
    }

    /// Calls a command; every mistake of the caller is answered in the peer's words.
    pub(super) fn call(&self, method: &str, params: Vec<Value>, format: Format, reply: Reply) {
        match self.find(method, params) {
            Ok((handler, args)) => handler(Call { args, format }, reply),
            Err(text) => reply.error(text),
        }
    }

    /// Checks a call without making it: the handler and its arguments, or the peer's words for
    /// what is wrong.
    pub(super) fn find(
        &self,
        method: &str,
        params: Vec<Value>,
    ) -> Result<(Rc<Handler>, Vec<String>), String> {
        let commands = self.commands.borrow();
        let Some(command) = commands.get(method) else {
            return Err(format!(
                "\"{method}\" is not a valid command (use \"list-commands\" to see a list of \
                 valid commands)"
            ));
        };
        let (least, most) = (command.args.start(), command.args.end());
        if params.len() < *least {
            return Err(format!("\"{method}\" command requires at least {least} arguments"));
        }
        if params.len() > *most {
            return Err(format!("\"{method}\" command takes at most {most} arguments"));
        }
        let args = params.into_iter().map(|param| match param {
            Value::String(text) => Some(text),
            _ => None,
        });
        let args: Option<Vec<String>> = args.collect();
        let args = args.ok_or_else(|| format!("\"{method}\" command has non-string argument"))?;
        Ok((command.handler.clone(), args))
    }
}

/// The form in which an answer goes to a client that asked for `format`.
pub(super) fn encode(answer: Result<Output, String>, format: Format) -> Result<Value, String> {
    match (answer, format) {
        (Ok(Output::Json(value)), Format::Json) => Ok(value),
        (Ok(Output::Json(value)), Format::Text) => {
            Ok(Value::String(with_new_line(format!("{value:#}"))))
        }
        // A command that knows no JSON: its text, wrapped so that the client can tell.
        (Ok(Output::Text(text)), Format::Json) => {
            Ok(json!({ "reply-format": "plain", "reply": text }))
        }
        (Ok(Output::Text(text)), Format::Text) => Ok(Value::String(with_new_line(text))),
        (Err(text), _) => Err(with_new_line(text)),
    }
}

fn with_new_line(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
