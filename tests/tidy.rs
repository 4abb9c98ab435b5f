//! What the compiler does not check about the source tree: who may use whom, where `unsafe` and
//! `async` may stand, how long a file may be and what it may not be called.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of `src/` from the ground up: a module uses only those in lines above its own.
const ORDER: [&str; 27] = [
    "limits strerror",
    "clock",
    "vlog",
    "coverage memory",
    "unixctl",
    "aside",
    "packet",
    "flow",
    "odp",
    "datapath",
    "netdev",
    "classifier",
    "openflow",
    "ofproto",
    "l2",
    "snapshot",
    "xlate",
    "upcall",
    "revalidate",
    "controller",
    "ovsdb",
    "bridge",
    "daemon metrics",
    "standalone database",
    "tool",
    "lib",
    "bin",
];

/// The one file that may contain `unsafe`: the system calls of the netlink crate.
const UNSAFE: [&str; 1] = ["netlink/src/sys.rs"];

/// Modules whose work is waiting for sockets and timers; packets are handled by plain threads.
const ASYNC: [&str; 13] = [
    "clock",
    "unixctl",
    "aside",
    "netdev",
    "controller",
    "ovsdb",
    "bridge",
    "daemon",
    "standalone",
    "database",
    "metrics",
    "lib",
    "bin",
];

/// Files of the netlink crate that the control side waits with.
const ASYNC_NETLINK: [&str; 3] =
    ["netlink/src/monitor.rs", "netlink/src/family.rs", "netlink/src/sys.rs"];

/// Names that say nothing.
const BANNED: [&str; 6] = ["utils", "common", "helpers", "manager", "types", "misc"];

/// Lines a file may have, its inline tests not counted.
const LONGEST: usize = 1000;

#[derive(Debug)]
struct Source {
    path: String,
    /// The text without comments, strings and inline tests.
    code: String,
    /// Lines before the inline tests.
    lines: usize,
}

fn sources(under: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in under {
        collect(&root.join(dir), &mut files);
    }
    assert!(!files.is_empty(), "no sources under {under:?}");
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).expect("readable source");
            let body = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let path = file.strip_prefix(root).expect("below the root");
            Source {
                path: path.to_string_lossy().into_owned(),
                code: strip(body),
                lines: body.lines().count(),
            }
        })
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            // Where the fuzz targets are built.
            if !path.ends_with("target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Removes comments and the contents of string literals; good enough for code that rustfmt formatted.
fn strip(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut previous = ' ';
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                for c in chars.by_ref().take_while(|c| *c != '\n') {
                    let _ = c;
                }
                out.push('\n');
            }
            '"' => {
                let raw = previous == 'r' || previous == '#';
                while let Some(c) = chars.next() {
                    match c {
                        '\\' if !raw => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                out.push_str("\"\"");
            }
            '\'' => {
                // A character literal, or a lifetime, which has no closing quote near by.
                out.push(c);
                if chars.peek() == Some(&'\\') {
                    for c in chars.by_ref().skip(2).take_while(|c| *c != '\'') {
                        let _ = c;
                    }
                } else if chars.peek() == Some(&'"') {
                    chars.next();
                }
            }
            _ => out.push(c),
        }
        previous = c;
    }
    out
}

/// The module of `src/` that a file belongs to: `src/odp/key.rs` and `src/odp.rs` are both `odp`.
fn module(path: &str) -> Option<&str> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// Names that follow `prefix` in `code`, as whole paths: `crate::flow::…` gives `flow`, and
/// `crate::{flow, odp::…}` gives both.
fn uses(code: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let bounded =
            code[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        if !bounded {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => found.extend(word(rest)),
            Some(group) => {
                let (mut depth, mut start) = (0, true);
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            found.extend(word(&group[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

fn word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

fn fail_if_any(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn modules_use_only_what_is_below_them() {
    let rank: BTreeMap<&str, usize> = ORDER
        .iter()
        .enumerate()
        .flat_map(|(i, line)| line.split(' ').map(move |name| (name, i)))
        .collect();
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        let Some(name) = module(&source.path) else { continue };
        let Some(own) = rank.get(name) else {
            wrong.push(format!(
                "{}: `{name}` has no place in the order (tests/tidy.rs)",
                source.path
            ));
            continue;
        };
        let prefix = if name == "bin" { "rovs::" } else { "crate::" };
        for used in uses(&source.code, prefix) {
            // What is not a module is a macro or an item of lib.rs itself.
            if let Some(other) = rank.get(used.as_str())
                && used != name
                && other >= own
            {
                wrong.push(format!(
                    "{}: `{name}` uses `{used}`, which is not below it",
                    source.path
                ));
            }
        }
    }
    wrong.dedup();
    fail_if_any("imports against the order", &wrong);
}

#[test]
fn the_netlink_crate_knows_nothing_of_switching() {
    let wrong: Vec<_> = sources(&["netlink/src"])
        .into_iter()
        .filter(|s| !uses(&s.code, "rovs::").is_empty())
        .map(|s| s.path)
        .collect();
    fail_if_any("uses of the root crate", &wrong);
}

#[test]
fn unsafe_stands_in_one_place() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "netlink", "tests"]) {
        if UNSAFE.contains(&source.path.as_str()) || source.path == "tests/tidy.rs" {
            continue;
        }
        for (n, line) in source.code.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            // Attributes speak about unsafe code without being any.
            if words.clone().any(|w| w == "unsafe") && !line.trim_start().starts_with("#") {
                wrong.push(format!("{}:{}", source.path, n + 1));
            }
        }
    }
    fail_if_any("unsafe outside of netlink/src/sys.rs", &wrong);
}

#[test]
fn packets_are_not_handled_by_async_code() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "netlink/src"]) {
        let path = source.path.as_str();
        let allowed = module(path).is_some_and(|m| ASYNC.contains(&m));
        if allowed || ASYNC_NETLINK.contains(&path) || path.ends_with("/tests.rs") {
            continue;
        }
        for (n, line) in source.code.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.clone().any(|w| w == "async" || w == "await" || w == "tokio") {
                wrong.push(format!("{}:{}: {}", source.path, n + 1, line.trim()));
            }
        }
    }
    fail_if_any("async code among what handles packets", &wrong);
}

#[test]
fn files_are_of_a_size_that_can_be_read() {
    let wrong: Vec<_> = sources(&["src", "netlink/src", "netlink/examples"])
        .into_iter()
        .filter(|s| s.lines > LONGEST)
        .map(|s| format!("{}: {} lines before its tests", s.path, s.lines))
        .collect();
    fail_if_any("files over a thousand lines", &wrong);
}

#[test]
fn files_have_names_that_say_something_and_begin_with_what_they_are() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "netlink/src", "netlink/examples", "tests"]) {
        let path = Path::new(&source.path);
        for part in path.iter().filter_map(|p| p.to_str()) {
            let stem = part.strip_suffix(".rs").unwrap_or(part);
            if BANNED.contains(&stem) {
                wrong.push(format!("{}: {stem} says nothing", source.path));
            }
        }
        if path.file_name().is_some_and(|n| n == "tests.rs") {
            continue;
        }
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        if !text.is_ok_and(|t| t.starts_with("//!")) {
            wrong.push(format!("{}: does not begin with //! lines", source.path));
        }
    }
    fail_if_any("files", &wrong);
}

#[test]
fn the_top_level_is_what_a_visitor_expects() {
    const TOP: [&str; 10] = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "ci",
        "netlink",
        "src",
        "tests",
    ];
    let entries = fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("the source tree");
    let odd: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        // `target` is Cargo's, where nobody told it of another place.
        .filter(|name| !name.starts_with('.') && name != "target" && !TOP.contains(&name.as_str()))
        .collect();
    fail_if_any("files and folders at the top that do not belong there", &odd);
}

#[test]
fn the_checks_find_what_they_look_for() {
    let code =
        strip("use crate::{flow::Flow, odp};\nlet x = crate::xlate::run(); // crate::upcall\n");
    assert_eq!(uses(&code, "crate::"), ["flow", "odp", "xlate"]);
    assert_eq!(strip("a \"unsafe // \\\" \" b 'c' '\"' d"), "a \"\" b 'c' '' d");
    assert_eq!(module("src/odp/key.rs"), Some("odp"));
    assert_eq!(module("src/limits.rs"), Some("limits"));
}
