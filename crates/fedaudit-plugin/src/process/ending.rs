//! How a child is ended, and how it ended.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::HANGS;

/// A child that leads a process group.
pub(super) struct Process(Mutex<State>);

struct State {
    child: Child,
    /// From then on its number may be another's.
    is_waited_for: bool,
}

impl Process {
    pub(super) fn new(child: Child) -> Self {
        Self(Mutex::new(State { child, is_waited_for: false }))
    }

    /// Ends it and whatever it started.
    pub(super) fn kill(&self) {
        self.state().kill();
    }

    /// Waits until it ends by itself, and ends what it started: that may hold its pipes open, so that its end is not seen.
    pub(super) fn watch(&self) {
        let number = i32::try_from(self.state().child.id()).ok().and_then(Pid::from_raw);
        let Some(number) = number else { return };
        // It stays there to be waited for, so that its number stays its own.
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(number), how), Err(Errno::INTR)) {}
        self.kill();
    }

    /// Ends it as it answers no more; one that ended by itself keeps its own status.
    pub(super) fn ended(&self) -> io::Result<ExitStatus> {
        let mut state = self.state();
        state.kill();
        state.is_waited_for = true;
        state.child.wait()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kill(&mut self) {
        if self.is_waited_for {
            return;
        }
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill();
    }
}

/// How a process ended, in words.
pub(super) fn end(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(HANGS), _) => "ended because a call did not come back".to_owned(),
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                4 => " (SIGILL)",
                6 => " (SIGABRT)",
                7 => " (SIGBUS)",
                8 => " (SIGFPE)",
                9 => " (SIGKILL)",
                11 => " (SIGSEGV)",
                _ => "",
            };
            format!("was ended by signal {signal}{name}")
        }
        (None, None) => "ended".to_owned(),
    }
}
