//! The system's words for an error, as strerror(3) and so the peer's messages have them.

use std::io;

/// "No such file or directory" and the like, without the number that Rust appends.
pub fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(code) => text.trim_end_matches(&format!(" (os error {code})")).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_number() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(strerror(&error), "No such file or directory");
        assert_eq!(strerror(&io::Error::other("odd")), "odd");
    }
}
