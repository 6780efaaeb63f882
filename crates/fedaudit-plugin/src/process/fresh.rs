//! A child from its start to the source that it makes, and what can be said of one that ended.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use fedaudit_core::{Error, ErrorKind, Result};
use serde_json::Value;

use super::confine;
use super::ending::{Process, end};
use super::frame::{self, Answer, Question};
use super::parent::Recipe;
use crate::abi;
use crate::host;
use crate::host::running::spawn;
use crate::wire::one_line;

/// Longest time for the child to start and to make its source. Loading and making have limits of their own there, and can say
/// what hangs; this one is for a child that cannot.
pub(super) const START_LIMIT: Duration = Duration::from_secs(3 * host::START_LIMIT.as_secs() + 5);

/// What a client needs of its environment; the settings name the rest.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "RUST_BACKTRACE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "all_proxy",
    "no_proxy",
];

/// A child that answers one question after the other.
pub(super) struct Fresh {
    pub(super) process: Arc<Process>,
    pub(super) questions: ChildStdin,
    pub(super) answers: BufReader<ChildStdout>,
    name: String,
    start_limit: Duration,
    /// Whether it took longer than it may.
    is_late: Arc<AtomicBool>,
    /// Kept until it need not be watched any more.
    _watched: mpsc::Sender<()>,
}

impl Fresh {
    /// Starts a child with the variables that these settings name. It is ended unless it has done its work in time.
    pub(super) fn start(recipe: &Recipe, start_limit: Duration, name: &str, settings: &Value) -> Result<Self> {
        // The secrets of all sources are here.
        confine::hide();
        let mut process = Command::new(&recipe.program)
            .args(&recipe.arguments)
            .env_clear()
            .envs(environment(settings))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: an interrupt from the terminal is the host's, which ends what is held on products
            // through its children first, and what a child starts ends with it.
            .process_group(0)
            .spawn()
            .map_err(broken)?;
        let (Some(questions), Some(answers), Some(errors)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return Err(Error::new(ErrorKind::Internal, "a process without pipes"));
        };
        let process = Arc::new(Process::new(process));
        let (watched, watch) = mpsc::channel::<()>();
        let is_late = Arc::new(AtomicBool::new(false));
        let (late, slow) = (Arc::clone(&is_late), Arc::clone(&process));
        spawn(move || {
            if watch.recv_timeout(start_limit) == Err(RecvTimeoutError::Timeout) {
                late.store(true, Ordering::Release);
                slow.kill();
            }
        })?;
        let of = name.to_owned();
        spawn(move || tell_errors(&of, errors))?;
        let answers = BufReader::with_capacity(1 << 16, answers);
        Ok(Self { process, questions, answers, name: name.to_owned(), start_limit, is_late, _watched: watched })
    }

    /// Asks, and waits for the answer. A refusal is an error, and so is the end of the child.
    pub(super) fn ask(&mut self, question: &Question) -> Result<Answer> {
        let asked = frame::write(&mut self.questions, question, &[]);
        let answer = asked.and_then(|()| {
            loop {
                match frame::read::<Answer>(&mut self.answers)? {
                    Some((Answer::Log { level, message }, _)) => log(&self.name, level, &message),
                    other => break Ok(other),
                }
            }
        });
        match answer {
            Ok(Some((Answer::Refused(error), _))) => {
                self.end();
                Err(error)
            }
            Ok(Some((answer, _))) => Ok(answer),
            other => {
                let status = self.process.ended().map_err(broken)?;
                if self.is_late.load(Ordering::Acquire) {
                    let text = format!("the plugin's process did not load and start within {:?}", self.start_limit);
                    return Err(Error::new(ErrorKind::Timeout, text));
                }
                let seen = other.err().map_or_else(String::new, |error| format!(": {error}"));
                Err(Error::new(ErrorKind::Unavailable, format!("the plugin's process {}{seen}", end(status))))
            }
        }
    }

    /// An answer to another question.
    pub(super) fn nonsense(&self) -> Error {
        self.end();
        Error::new(ErrorKind::Malformed, "the plugin's process answers something else")
    }

    /// It is not needed any more.
    pub(super) fn end(&self) {
        let _ = self.process.ended();
    }
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn broken(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no process: {error}"))
}

/// The variables that a child is given: what a client needs, and every `env:NAME` of the settings.
fn environment(settings: &Value) -> impl Iterator<Item = (String, OsString)> {
    let mut names: BTreeSet<String> = ENVIRONMENT.iter().map(|&name| name.to_owned()).collect();
    named(settings, &mut names);
    names.into_iter().filter_map(|name| std::env::var_os(&name).map(|value| (name, value)))
}

fn named(settings: &Value, names: &mut BTreeSet<String>) {
    match settings {
        Value::String(text) => names.extend(text.strip_prefix("env:").map(str::to_owned)),
        Value::Array(list) => list.iter().for_each(|value| named(value, names)),
        Value::Object(table) => table.values().for_each(|value| named(value, names)),
        _ => {}
    }
}

/// Longest line of a child that is told.
const LINE: u64 = 4096;

fn tell_errors(name: &str, errors: ChildStderr) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while matches!(errors.by_ref().take(LINE).read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        tracing::warn!(source = name, "{}", one_line(&text));
        line.clear();
    }
}

pub(super) fn log(source: &str, level: u32, message: &str) {
    let message = one_line(message);
    match level {
        abi::LOG_ERROR => tracing::error!(source, "{message}"),
        abi::LOG_WARN => tracing::warn!(source, "{message}"),
        abi::LOG_INFO => tracing::info!(source, "{message}"),
        abi::LOG_DEBUG => tracing::debug!(source, "{message}"),
        _ => tracing::trace!(source, "{message}"),
    }
}
