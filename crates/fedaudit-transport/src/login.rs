//! The one login of a source: made when it is needed, shared by all readers, made again once when the product no longer
//! knows it, and not tried again once the product refused it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Meter, Result};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What came of a call that needs a login.
#[derive(Debug)]
pub enum Attempt<T> {
    /// It was answered.
    Done(T),
    /// The product no longer knows the login; the error is what the reader is told if a new one is not known either.
    Lost(Error),
}

/// A login of the plugin's own kind: a cookie, a token, a connection.
///
/// The lock is held while a login is made: everybody else waits for that one, so that a lost login costs one new one however
/// many readers there are.
pub struct Login<L> {
    state: Mutex<State<L>>,
    losses: Mutex<Losses>,
}

/// When the product ended logins of ours, lately, and how many of them are borne.
struct Losses {
    when: Vec<Instant>,
    borne: usize,
    within: Duration,
}

enum State<L> {
    Out,
    In(Arc<L>),
    /// Each further try would count towards a lock-out.
    Refused(Error),
}

impl<L> Default for Login<L> {
    fn default() -> Self {
        Self::bearing(usize::MAX, Duration::ZERO)
    }
}

impl<L> Login<L> {
    /// A login that is not made again once the product has ended this many within this time: each new one is a record in the
    /// product's log, and a loop of them floods it.
    pub fn bearing(losses: usize, within: Duration) -> Self {
        let losses = Losses { when: Vec::new(), borne: losses, within };
        Self { state: Mutex::new(State::Out), losses: Mutex::new(losses) }
    }

    /// The login, made now if there is none. A refusal is remembered until [`take`](Self::take).
    pub async fn get(&self, cx: &Context, make: impl Future<Output = Result<L>>) -> Result<Arc<L>> {
        let mut state = self.state.lock().await;
        match &*state {
            State::In(login) => return Ok(Arc::clone(login)),
            State::Refused(error) => return Err(error.clone()),
            State::Out => {}
        }
        self.losses.lock().await.check()?;
        Meter::count(&cx.meter.logins);
        match make.await {
            Ok(login) => {
                let login = Arc::new(login);
                *state = State::In(Arc::clone(&login));
                Ok(login)
            }
            Err(error) => {
                if matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Denied) {
                    *state = State::Refused(error.clone());
                }
                Err(error)
            }
        }
    }

    /// Forgets a login that the product no longer knows, unless somebody has made a new one already.
    pub async fn forget(&self, lost: &Arc<L>) {
        self.forget_if(|login| std::ptr::eq(login, Arc::as_ptr(lost))).await;
    }

    /// Forgets a login that is known to be of no more use, such as one that lapses by the clock.
    pub async fn forget_if(&self, is_useless: impl FnOnce(&L) -> bool) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::In(login) if is_useless(login)) {
            *state = State::Out;
            self.losses.lock().await.add();
        }
    }

    /// Takes the login away to end it, and forgets a refusal: a later call logs in again.
    pub async fn take(&self) -> Option<Arc<L>> {
        match std::mem::replace(&mut *self.state.lock().await, State::Out) {
            State::In(login) => Some(login),
            State::Out | State::Refused(_) => None,
        }
    }

    /// Makes a call with the login. When the product no longer knows it, a new one is made and the call is made once more.
    pub async fn with<T, M, C>(&self, cx: &Context, make: impl Fn() -> M, call: impl Fn(Arc<L>) -> C) -> Result<T>
    where
        M: Future<Output = Result<L>>,
        C: Future<Output = Result<Attempt<T>>>,
    {
        let login = self.get(cx, make()).await?;
        match call(Arc::clone(&login)).await? {
            Attempt::Done(answer) => return Ok(answer),
            Attempt::Lost(error) => tracing::debug!(%error, "the login was lost"),
        }
        self.forget(&login).await;
        match call(self.get(cx, make()).await?).await? {
            Attempt::Done(answer) => Ok(answer),
            Attempt::Lost(error) => Err(error),
        }
    }
}

impl Losses {
    fn add(&mut self) {
        let within = self.within;
        self.when.retain(|lost| lost.elapsed() < within);
        self.when.push(Instant::now());
    }

    fn check(&self) -> Result<()> {
        let lately = self.when.iter().filter(|lost| lost.elapsed() < self.within).count();
        if lately < self.borne {
            return Ok(());
        }
        let text = format!("the product ended {lately} logins within {:?}; not logging in again", self.within);
        Err(Error::new(ErrorKind::Unavailable, text)
            .hint("does another tool end sessions, or is the product's session time-out very short?"))
    }
}

impl<L> fmt::Debug for Login<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}
