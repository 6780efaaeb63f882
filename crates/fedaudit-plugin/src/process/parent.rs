//! The host's end: starts the child, asks it, and ends it when it does not answer.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fedaudit_core::{
    AuditSource, Context, Error, ErrorKind, Page, PageRequest, PluginInfo, Result, SourceHealth, SourceInfo, Time,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;

use super::ending::{Process, end};
use super::frame::{self, Answer, Question, What};
use super::fresh::{Fresh, START_LIMIT, log};
use super::rows::rows_of;
use crate::host::plausible;
use crate::host::running::{GRACE, spawn};
use crate::wire::{self, PageRest};

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
    /// Longest time for a child to start and to make its source.
    start_limit: Duration,
    info: PluginInfo,
}

impl IsolatedPlugin {
    /// Starts a child that says what the library is, and ends.
    pub fn load(recipe: Recipe) -> Result<Self> {
        Self::load_within(START_LIMIT, recipe)
    }

    /// The same for a library that is known to start faster, or slower.
    pub fn load_within(start_limit: Duration, recipe: Recipe) -> Result<Self> {
        let mut fresh = Fresh::start(&recipe, start_limit, "plugin", &Value::Null)?;
        let Answer::Described(info) = fresh.ask(&Question::Describe)? else { return Err(fresh.nonsense()) };
        fresh.end();
        Ok(Self { recipe, start_limit, info })
    }

    /// What it says of itself.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// Starts a child and has it make a source of these settings, a JSON object.
    pub fn build(&self, name: &str, settings: &Value) -> Result<Box<dyn AuditSource>> {
        let own = Arc::new(Own {
            recipe: self.recipe.clone(),
            start_limit: self.start_limit,
            name: name.to_owned(),
            settings: settings.clone(),
            child: Mutex::default(),
        });
        let (_, info) = own.start(&mut lock(&own.child))?;
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
    start_limit: Duration,
    name: String,
    settings: Value,
    child: Mutex<Option<Arc<Running>>>,
}

struct Running {
    questions: Mutex<ChildStdin>,
    process: Arc<Process>,
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
        // Held while one is started: of two calls after its end, the second waits for the child of the first.
        let mut child = lock(&self.child);
        if let Some(running) = child.as_ref().filter(|running| lock(&running.ended).is_none()) {
            return Ok(Arc::clone(running));
        }
        self.start(&mut child).map(|(running, _)| running)
    }

    fn start(&self, child: &mut Option<Arc<Running>>) -> Result<(Arc<Running>, SourceInfo)> {
        let mut fresh = Fresh::start(&self.recipe, self.start_limit, &self.name, &self.settings)?;
        let build = Question::Build { name: self.name.clone(), settings: self.settings.clone() };
        let Answer::Built(info) = fresh.ask(&build)? else { return Err(fresh.nonsense()) };
        let Fresh { process, questions, answers, .. } = fresh;
        let running = Arc::new(Running {
            questions: Mutex::new(questions),
            process,
            waiting: Mutex::default(),
            calls: AtomicU64::new(0),
            ended: Mutex::default(),
        });
        let (listener, name) = (Arc::clone(&running), self.name.clone());
        spawn(move || listener.listen(&name, answers))?;
        let watched = Arc::clone(&running);
        spawn(move || watched.process.watch())?;
        *child = Some(Arc::clone(&running));
        Ok((running, info))
    }

    async fn call(self: &Arc<Self>, cx: &Context, what: What) -> Result<(Value, Vec<u8>)> {
        let own = Arc::clone(self);
        let running = in_time(cx, async {
            let started = tokio::task::spawn_blocking(move || own.running()).await;
            started.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?
        })
        .await?;
        let id = running.calls.fetch_add(1, Ordering::Relaxed);
        let (answer, waiting) = oneshot::channel();
        lock(&running.waiting).insert(id, Waiting { answer, cx: cx.clone() });
        // Whoever came after the listener handed out the end would wait for ever.
        if let Some(error) = lock(&running.ended).clone() {
            return Err(error);
        }
        let stop = Stop { running: Some(Arc::clone(&running)), id };
        let question = Question::Call {
            id,
            what,
            source: cx.source.to_string(),
            source_key: cx.source_key.to_string(),
            now: cx.now().micros(),
            deadline: cx.deadline.map(Time::micros),
        };
        let asking = Arc::clone(&running);
        let answered = async {
            // A child that does not read lets the pipe fill up, and who writes to it then waits.
            let asked = tokio::task::spawn_blocking(move || asking.ask(&question)).await;
            asked.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))??;
            waiting.await.unwrap_or_else(|_| Err(lost()))
        };
        let mut is_late = true;
        let answered = in_time(cx, async {
            let answered = answered.await;
            is_late = false;
            answered
        });
        let answered = answered.await;
        if !is_late {
            stop.not_needed();
        }
        answered
    }
}

/// The plugin keeps the deadline itself and knows more about it: it gets the time to say so.
async fn in_time<T>(cx: &Context, answered: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(deadline) = cx.deadline else { return answered.await };
    let left = Duration::from_micros(deadline.micros().saturating_sub(cx.now().micros()).max(0) as u64);
    tokio::time::timeout(left + GRACE, answered).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "the plugin's process did not answer within the deadline"))
    })
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
                Ok(Some((Answer::Described(_) | Answer::Built(_) | Answer::Refused(_), _))) => {
                    break Some("a second source".to_owned());
                }
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        let ended = match (nonsense, self.process.ended()) {
            (Some(text), _) => Error::new(ErrorKind::Malformed, format!("the plugin's process spoke nonsense: {text}")),
            (None, Ok(status)) => Error::new(ErrorKind::Unavailable, format!("the plugin's process {}", end(status)))
                .hint("what it wrote to stderr is in the log; the next question starts it again"),
            (None, Err(error)) => Error::new(ErrorKind::Unavailable, format!("the plugin's process ended: {error}")),
        };
        self.end_calls(ended);
    }

    /// Every call ends so, and the next question starts another child. The first reason stays.
    fn end_calls(&self, reason: Error) {
        let reason = lock(&self.ended).get_or_insert(reason).clone();
        for (_, waiting) in lock(&self.waiting).drain() {
            let _ = waiting.answer.send(Err(reason.clone()));
        }
    }

    fn hand(&self, id: u64, answer: Result<(Value, Vec<u8>)>) {
        if let Some(waiting) = lock(&self.waiting).remove(&id) {
            let _ = waiting.answer.send(answer);
        }
    }

    /// Ends it. Whatever still holds its pipes open keeps the listener waiting, but no call any more.
    fn kill(&self, reason: Error) {
        self.process.kill();
        self.end_calls(reason);
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
        // One that does not read is not told either, which must not keep it from being ended.
        let telling = Arc::clone(&running);
        let _ = spawn(move || {
            let _ = telling.ask(&Question::Cancel { id });
        });
        let _ = spawn(move || {
            let began = Instant::now();
            while lock(&running.waiting).contains_key(&id) {
                if began.elapsed() > GRACE {
                    tracing::warn!("a plugin's process did not end a call, so it is ended");
                    running.kill(Error::new(
                        ErrorKind::Unavailable,
                        "the plugin's process was ended because a call did not come back",
                    ));
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
            running.kill(Error::new(ErrorKind::Unavailable, "the source is gone"));
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
        Ok(rest.with(rows_of(body, stream.kind)?))
    }

    async fn close(&self, cx: &Context) -> Result<()> {
        // What a child held was lost with it.
        let runs = lock(&self.own.child).as_ref().is_some_and(|running| lock(&running.ended).is_none());
        if runs { self.own.call(cx, What::Close).await.map(drop) } else { Ok(()) }
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Internal, "the call of the plugin's process ended without an answer")
}

fn understood<T: DeserializeOwned>(answer: Value, what: &str) -> Result<T> {
    serde_json::from_value(answer)
        .map_err(|error| Error::new(ErrorKind::Malformed, format!("the plugin's {what} cannot be read: {error}")))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
