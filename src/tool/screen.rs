//! The terminal of `rovs top`: the alternate screen, drawn over in place, and the keys.
//!
//! What always holds: whatever way the tool ends short of SIGKILL, the terminal is as it was. So
//! signals are read, not taken: while a screen is open they are blocked and waited for beside the
//! keys. One thread.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use console::Term;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::Failure;

/// Alternate screen, cursor hidden.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Cursor shown, screen as before.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It is time.
    Time,
    /// The user has enough.
    Quit,
}

/// See the module's page.
pub(super) struct Screen {
    term: Term,
    signals: SignalFd,
    /// The terminal's settings before, if keys can be read.
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal, if standard output is one.
    pub(super) fn open() -> Result<Option<Self>, Failure> {
        if !std::io::stdout().is_terminal() {
            return Ok(None);
        }
        let fail = |errno: Errno| Failure::Output(errno.into());
        let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
        let set: SigSet = ends.into_iter().collect();
        set.thread_block().map_err(fail)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&set, flags).map_err(fail)?;
        let mut screen = Self { term: Term::stdout(), signals, before: None };
        if let Ok(settings) = tcgetattr(std::io::stdin()) {
            let mut keys = settings.clone();
            keys.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            tcsetattr(std::io::stdin(), SetArg::TCSANOW, &keys).map_err(fail)?;
            screen.before = Some(settings);
        }
        screen.write(ENTER)?;
        Ok(Some(screen))
    }

    /// Lines of the terminal.
    pub(super) fn rows(&self) -> Option<usize> {
        Some(usize::from(self.term.size().0))
    }

    /// Shows these lines and nothing else; each is cut at the terminal's width.
    pub(super) fn draw(&mut self, lines: &[String]) -> Result<(), Failure> {
        let (rows, columns) = self.term.size();
        let mut text = String::from("\x1b[H");
        for (i, line) in lines.iter().take(usize::from(rows)).enumerate() {
            if i > 0 {
                text.push_str("\r\n");
            }
            text.extend(line.chars().filter(|c| !c.is_control()).take(usize::from(columns)));
            // A full line leaves the cursor on its last column, where this would erase it.
            if line.chars().count() < usize::from(columns) {
                text.push_str("\x1b[K");
            }
        }
        text.push_str("\x1b[J");
        self.write(&text)
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// Waits until `end`, or until a user at a screen wants to quit.
    pub(super) fn wait(screen: Option<&Self>, end: Instant) -> Result<Wait, Failure> {
        let Some(screen) = screen else {
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
            return Ok(Wait::Time);
        };
        let mut keys = screen.before.is_some();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wait::Time);
            }
            let stdin = std::io::stdin();
            let mut fds = vec![PollFd::new(screen.signals.as_fd(), PollFlags::POLLIN)];
            if keys {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            let timeout = PollTimeout::try_from(left.max(Duration::from_millis(1)));
            match poll(&mut fds, timeout.unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::Output(errno.into())),
            }
            let key = fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false));
            drop(fds);
            if let Ok(Some(_)) = screen.signals.read_signal() {
                return Ok(Wait::Quit);
            }
            if key {
                let mut pressed = [0; 64];
                let read = stdin.lock().read(&mut pressed).unwrap_or(0);
                // A terminal that hung up is readable for ever and says nothing.
                keys = read > 0;
                if pressed.iter().take(read).any(|key| matches!(key, b'q' | b'Q')) {
                    return Ok(Wait::Quit);
                }
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.write(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
