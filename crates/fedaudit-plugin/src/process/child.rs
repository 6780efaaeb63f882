//! The child: one library, one source, questions from a pipe.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_buffer::Buffer;
use fedaudit_core::{AuditSource, Clock, Context, Error, ErrorKind, Meter, MeterReading, Result, Time};
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::Notify;

use super::frame::{self, Answer, Question, What};
use super::parent::Limits;
use super::rows::body_of;
use super::{HANGS, confine};
use crate::abi::{Host, Slice};
use crate::guest::log::forward;
use crate::host::LoadedPlugin;
use crate::wire::{PageRest, counted};

/// How often what was counted is told while a call runs.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Where answers go.
static ANSWERS: OnceLock<Mutex<File>> = OnceLock::new();

/// Loads the library within its limits and answers questions until there are no more.
///
/// `level` is the most detailed one that the host wants to log. Called first, before this process has opened anything.
pub fn serve(library: &Path, allowed: Option<&[String]>, limits: Limits, level: u32) -> Result<()> {
    let broken = |error: std::io::Error| Error::new(ErrorKind::Internal, error.to_string()).at("the plugin's process");
    confine::close_and_hide();
    confine::limit(limits).map_err(|error| broken(error.into()))?;
    // What the library prints goes to the log, not between the answers.
    // What it starts does not get them: the host would wait for its end.
    let answers = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3).map_err(|error| broken(error.into()))?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr()).map_err(|error| broken(error.into()))?;
    let _ = ANSWERS.set(Mutex::new(File::from(answers)));
    forward(Some(HOST.get_or_init(|| Host { size: size_of::<Host>(), max_level: level, log: Some(log) })));
    let mut questions = BufReader::new(std::io::stdin());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(broken)?;
    let load = || Ok(LoadedPlugin::load(library, allowed)?.or_else(|| std::process::exit(HANGS)));
    let mut plugin: Option<LoadedPlugin> = None;
    let mut serving: Option<Arc<Serving>> = None;
    while let Some((question, _)) = frame::read(&mut questions).map_err(broken)? {
        match (question, &serving) {
            (Question::Describe, None) => {
                let loaded: Result<LoadedPlugin> = load();
                let answer = match loaded {
                    Ok(loaded) => Answer::Described(plugin.insert(loaded).info().clone()),
                    Err(error) => Answer::Refused(error),
                };
                say(&answer, &[]);
            }
            (Question::Build { name, settings }, None) => {
                let loaded = plugin.take().map_or_else(load, Ok);
                let answer = match loaded.and_then(|loaded| loaded.build(&name, &settings)) {
                    Ok(source) => {
                        let info = source.info().clone();
                        serving = Some(Arc::new(Serving { source, running: Mutex::default() }));
                        Answer::Built(info)
                    }
                    Err(error) => Answer::Refused(error),
                };
                say(&answer, &[]);
            }
            (Question::Call { id, what, source, source_key, now, deadline }, Some(serving)) => {
                let cx = Context {
                    source: source.into(),
                    source_key: source_key.into(),
                    clock: Arc::new(Ahead(now - system_micros())),
                    deadline: deadline.map(Time::from_micros),
                    meter: Arc::default(),
                };
                let wake = Arc::new(Notify::new());
                serving.running().insert(id, Arc::clone(&wake));
                let answer = runtime.spawn(Arc::clone(serving).answer(id, cx, what, wake));
                runtime.spawn(async move {
                    if answer.await.is_err() {
                        let error = Error::new(ErrorKind::Internal, "the plugin's process panicked while it answered");
                        say(&Answer::Failed { id, error }, &[]);
                    }
                });
            }
            (Question::Cancel { id }, Some(serving)) => {
                if let Some(wake) = serving.running().get(&id) {
                    wake.notify_one();
                }
            }
            (question, _) => {
                return Err(Error::new(ErrorKind::Internal, format!("unexpected question: {question:?}")));
            }
        }
    }
    leave()
}

/// Ends at once: threads of the library may still run, and what it does at a regular exit may never end.
fn leave() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

struct Serving {
    source: Box<dyn AuditSource>,
    running: Mutex<HashMap<u64, Arc<Notify>>>,
}

impl Serving {
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Notify>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self: Arc<Self>, id: u64, cx: Context, what: What, wake: Arc<Notify>) {
        let mut told = MeterReading::default();
        let mut tell = |meter: &Meter| {
            let now = meter.read();
            for (counter, amount) in counted(told, now) {
                say(&Answer::Count { id, counter, amount }, &[]);
            }
            told = now;
        };
        let mut tick = tokio::time::interval(TELL_EVERY);
        let mut work = std::pin::pin!(self.done(&cx, what));
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = wake.notified() => break Err(Error::new(ErrorKind::Timeout, "the call was cancelled")),
                _ = tick.tick() => tell(&cx.meter),
            }
        };
        tell(&cx.meter);
        self.running().remove(&id);
        match done {
            Ok((answer, body)) => say(&Answer::Done { id, answer }, &body),
            Err(error) => say(&Answer::Failed { id, error }, &[]),
        }
    }

    async fn done(&self, cx: &Context, what: What) -> Result<(serde_json::Value, Vec<Buffer>)> {
        let unwritable = |error: serde_json::Error| Error::new(ErrorKind::Internal, error.to_string());
        match what {
            What::Check => Ok((serde_json::to_value(self.source.check(cx).await?).map_err(unwritable)?, Vec::new())),
            What::Close => {
                self.source.close(cx).await?;
                Ok((serde_json::Value::Null, Vec::new()))
            }
            What::Fetch(request) => {
                let (rest, rows) = PageRest::of(self.source.fetch(cx, &request).await?);
                Ok((serde_json::to_value(rest).map_err(unwritable)?, body_of(&rows)?))
            }
        }
    }
}

/// A host that is gone needs no answers.
fn say(answer: &Answer, body: &[Buffer]) {
    let Some(answers) = ANSWERS.get() else { return };
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    if frame::write(&mut *answers, answer, body).and_then(|()| answers.flush()).is_err() {
        leave();
    }
}

/// The host's clock, as far ahead of this machine's as it was when the call was made.
struct Ahead(i64);

impl Clock for Ahead {
    fn now(&self) -> Time {
        Time::from_micros(system_micros() + self.0)
    }
}

fn system_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

static HOST: OnceLock<Host> = OnceLock::new();

unsafe extern "C" fn log(level: u32, _: Slice, message: Slice) {
    // SAFETY: lent for this call.
    let message = String::from_utf8_lossy(unsafe { message.bytes() }).into_owned();
    say(&Answer::Log { level, message }, &[]);
}
