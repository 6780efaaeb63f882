//! The host's end: starts the child, asks it, and ends it when it does not answer.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fedaudit_core::{
    AuditSource, Context, Error, ErrorKind, Page, PageRequest, Result, SourceHealth, SourceInfo, Time,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;

use super::HANGS;
use super::frame::{self, Answer, Question, What};
use crate::abi;
use crate::host::import::as_agreed;
use crate::host::plausible;
use crate::host::running::{GRACE, spawn};
use crate::wire::{self, PageRest};

/// Longest time for the child to start and to make its source.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What a client needs of its environment; the settings name the rest.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
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

/// What a child may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory that can be written to.
    pub memory: u64,
    /// Open files and connections.
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 1 << 30, files: 256 }
    }
}

/// How a child is started: a program that calls [`serve`](super::serve), and its arguments.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The program.
    pub program: PathBuf,
    /// What tells it the library and the limits.
    pub arguments: Vec<OsString>,
}

/// A library that runs in processes of its own, one for each source.
#[derive(Clone, Debug)]
pub struct IsolatedPlugin {
    recipe: Recipe,
}

impl IsolatedPlugin {
    /// Nothing is started yet.
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe }
    }

    /// Starts a child and has it make a source of these settings, a JSON object.
    pub fn build(&self, name: &str, settings: &Value) -> Result<Box<dyn AuditSource>> {
        let own = Arc::new(Own {
            recipe: self.recipe.clone(),
            name: name.to_owned(),
            settings: settings.clone(),
            child: Mutex::default(),
        });
        let (_, info) = own.start()?;
        plausible(&info)?;
        Ok(Box::new(IsolatedSource { own, info }))
    }
}

struct IsolatedSource {
    own: Arc<Own>,
    info: SourceInfo,
}

/// What a new child is made of, and the one that runs.
struct Own {
    recipe: Recipe,
    name: String,
    settings: Value,
    child: Mutex<Option<Arc<Running>>>,
}

struct Running {
    questions: Mutex<ChildStdin>,
    process: Arc<Mutex<Child>>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    calls: AtomicU64,
    /// Why it ended.
    ended: Mutex<Option<Error>>,
}

struct Waiting {
    answer: oneshot::Sender<Result<(Value, Vec<u8>)>>,
    cx: Context,
}

impl Own {
    /// The child that runs, or a new one.
    fn running(&self) -> Result<Arc<Running>> {
        if let Some(running) = lock(&self.child).as_ref().filter(|running| lock(&running.ended).is_none()) {
            return Ok(Arc::clone(running));
        }
        self.start().map(|(running, _)| running)
    }

    fn start(&self) -> Result<(Arc<Running>, SourceInfo)> {
        let broken = |error: std::io::Error| Error::new(ErrorKind::Unavailable, format!("no process: {error}"));
        let mut process = Command::new(&self.recipe.program)
            .args(&self.recipe.arguments)
            .env_clear()
            .envs(environment(&self.settings))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(broken)?;
        let (Some(mut questions), Some(answers), Some(errors)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return Err(Error::new(ErrorKind::Internal, "a process without pipes"));
        };
        let process = Arc::new(Mutex::new(process));
        let (started, watch) = mpsc::channel::<()>();
        let (watched, name) = (Arc::clone(&process), self.name.clone());
        spawn(move || {
            if watch.recv_timeout(START_LIMIT) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!(source = name, "the plugin did not make its source within {START_LIMIT:?}");
                let _ = lock(&watched).kill();
            }
        })?;
        let name = self.name.clone();
        spawn(move || tell_errors(&name, errors))?;
        let mut answers = BufReader::with_capacity(1 << 16, answers);
        let build = Question::Build { name: self.name.clone(), settings: self.settings.clone() };
        let asked = frame::write(&mut questions, &build, &[]);
        let answer = asked.and_then(|()| {
            loop {
                match frame::read::<Answer>(&mut answers)? {
                    Some((Answer::Log { level, message }, _)) => log(&self.name, level, &message),
                    other => break Ok(other),
                }
            }
        });
        let info = match answer {
            Ok(Some((Answer::Built { info, .. }, _))) => info,
            Ok(Some((Answer::NotBuilt(error), _))) => return Err(error),
            other => {
                let status = ended(&process).map_err(broken)?;
                let seen = other.err().map_or_else(String::new, |error| format!(": {error}"));
                return Err(Error::new(ErrorKind::Unavailable, format!("the plugin's process {}{seen}", end(status))));
            }
        };
        drop(started);
        let running = Arc::new(Running {
            questions: Mutex::new(questions),
            process,
            waiting: Mutex::default(),
            calls: AtomicU64::new(0),
            ended: Mutex::default(),
        });
        let (listener, name) = (Arc::clone(&running), self.name.clone());
        spawn(move || listener.listen(&name, answers))?;
        *lock(&self.child) = Some(Arc::clone(&running));
        Ok((running, info))
    }

    async fn call(self: &Arc<Self>, cx: &Context, what: What) -> Result<(Value, Vec<u8>)> {
        let own = Arc::clone(self);
        let running = tokio::task::spawn_blocking(move || own.running())
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))??;
        let id = running.calls.fetch_add(1, Ordering::Relaxed);
        let (answer, waiting) = oneshot::channel();
        lock(&running.waiting).insert(id, Waiting { answer, cx: cx.clone() });
        let stop = Stop { running: Some(Arc::clone(&running)), id };
        let question = Question::Call {
            id,
            what,
            source: cx.source.to_string(),
            source_key: cx.source_key.to_string(),
            now: cx.now().micros(),
            deadline: cx.deadline.map(Time::micros),
        };
        running.ask(&question)?;
        let answered = match cx.deadline {
            None => waiting.await,
            Some(deadline) => {
                let left = Duration::from_micros(deadline.micros().saturating_sub(cx.now().micros()).max(0) as u64);
                // The plugin keeps the deadline itself and knows more about it: it gets the time to say so.
                tokio::time::timeout(left + GRACE, waiting).await.map_err(|_| {
                    Error::new(ErrorKind::Timeout, "the plugin's process did not answer within the deadline")
                })?
            }
        };
        stop.not_needed();
        answered.unwrap_or_else(|_| Err(running.reason()))
    }
}

impl Running {
    fn ask(&self, question: &Question) -> Result<()> {
        frame::write(&mut *lock(&self.questions), question, &[]).map_err(|_| self.reason())
    }

    /// Why there will be no answer.
    fn reason(&self) -> Error {
        // The listener sees the end as soon as the pipe breaks; it may need a moment to say so.
        let began = Instant::now();
        loop {
            if let Some(error) = lock(&self.ended).clone() {
                return error;
            }
            if began.elapsed() > GRACE {
                return Error::new(ErrorKind::Unavailable, "the plugin's process does not listen");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Hands each answer to who waits for it, until there are no more.
    fn listen(&self, name: &str, mut answers: BufReader<ChildStdout>) {
        let nonsense = loop {
            match frame::read::<Answer>(&mut answers) {
                Ok(Some((Answer::Done { id, answer }, body))) => self.hand(id, Ok((answer, body))),
                Ok(Some((Answer::Failed { id, error }, _))) => self.hand(id, Err(error)),
                Ok(Some((Answer::Count { id, counter, amount }, _))) => {
                    if let Some(waiting) = lock(&self.waiting).get(&id) {
                        wire::count(&waiting.cx.meter, counter, amount);
                    }
                }
                Ok(Some((Answer::Log { level, message }, _))) => log(name, level, &message),
                Ok(Some((Answer::Built { .. } | Answer::NotBuilt(_), _))) => break Some("a second source".to_owned()),
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        let ended = match (nonsense, ended(&self.process)) {
            (Some(text), _) => Error::new(ErrorKind::Malformed, format!("the plugin's process spoke nonsense: {text}")),
            (None, Ok(status)) => Error::new(ErrorKind::Unavailable, format!("the plugin's process {}", end(status)))
                .hint("what it wrote to stderr is in the log; the next question starts it again"),
            (None, Err(error)) => Error::new(ErrorKind::Unavailable, format!("the plugin's process ended: {error}")),
        };
        lock(&self.ended).get_or_insert(ended.clone());
        for (_, waiting) in lock(&self.waiting).drain() {
            let _ = waiting.answer.send(Err(ended.clone()));
        }
    }

    fn hand(&self, id: u64, answer: Result<(Value, Vec<u8>)>) {
        if let Some(waiting) = lock(&self.waiting).remove(&id) {
            let _ = waiting.answer.send(answer);
        }
    }

    fn kill(&self) {
        let _ = lock(&self.process).kill();
    }
}

/// Stops a call when it is dropped, and the child if the call does not end.
struct Stop {
    running: Option<Arc<Running>>,
    id: u64,
}

impl Stop {
    fn not_needed(mut self) {
        self.running = None;
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        let id = self.id;
        let _ = spawn(move || {
            let _ = running.ask(&Question::Cancel { id });
            let began = Instant::now();
            while lock(&running.waiting).contains_key(&id) {
                if began.elapsed() > GRACE {
                    tracing::warn!("a plugin's process did not end a call, so it is ended");
                    running.kill();
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
}

/// A child whose questions end, ends: one that does not is killed.
impl Drop for Own {
    fn drop(&mut self) {
        if let Some(running) = lock(&self.child).take() {
            running.kill();
        }
    }
}

impl fmt::Debug for IsolatedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsolatedSource").field("info", &self.info).finish_non_exhaustive()
    }
}

#[async_trait]
impl AuditSource for IsolatedSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn check(&self, cx: &Context) -> Result<SourceHealth> {
        understood(self.own.call(cx, What::Check).await?.0, "SourceHealth")
    }

    async fn fetch(&self, cx: &Context, request: &PageRequest) -> Result<Page> {
        let stream = self
            .info
            .stream(&request.stream)
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("there is no stream '{}'", request.stream)))?;
        let (rest, body) = self.own.call(cx, What::Fetch(request.clone())).await?;
        let rest: PageRest = understood(rest, "page")?;
        Ok(rest.with(as_agreed(&frame::rows_of(body)?, stream.kind)?))
    }

    async fn close(&self, cx: &Context) -> Result<()> {
        // What a child held was lost with it.
        let runs = lock(&self.own.child).as_ref().is_some_and(|running| lock(&running.ended).is_none());
        if runs { self.own.call(cx, What::Close).await.map(drop) } else { Ok(()) }
    }
}

fn understood<T: DeserializeOwned>(answer: Value, what: &str) -> Result<T> {
    serde_json::from_value(answer)
        .map_err(|error| Error::new(ErrorKind::Malformed, format!("the plugin's {what} cannot be read: {error}")))
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

/// Ends a process that answers no more; one that ended by itself keeps its own status.
fn ended(process: &Mutex<Child>) -> std::io::Result<ExitStatus> {
    let mut process = lock(process);
    let _ = process.kill();
    process.wait()
}

/// How a process ended, in words.
fn end(status: ExitStatus) -> String {
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

/// Longest line of a child that is told.
const LINE: u64 = 4096;

fn tell_errors(name: &str, errors: ChildStderr) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while matches!(errors.by_ref().take(LINE).read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        tracing::warn!(source = name, "{}", text.trim_end());
        line.clear();
    }
}

fn log(source: &str, level: u32, message: &str) {
    match level {
        abi::LOG_ERROR => tracing::error!(source, "{message}"),
        abi::LOG_WARN => tracing::warn!(source, "{message}"),
        abi::LOG_INFO => tracing::info!(source, "{message}"),
        abi::LOG_DEBUG => tracing::debug!(source, "{message}"),
        _ => tracing::trace!(source, "{message}"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
