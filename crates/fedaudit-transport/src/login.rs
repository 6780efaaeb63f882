//! The one login of a source: made when it is needed, shared by all readers, made again once when the product no longer
//! knows it, and not tried again once the product refused it.

use std::fmt;
use std::sync::Arc;

use fedaudit_core::{Context, Error, ErrorKind, Meter, Result};
use tokio::sync::Mutex;

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
}

enum State<L> {
    Out,
    In(Arc<L>),
    /// Each further try would count towards a lock-out.
    Refused(Error),
}

impl<L> Default for Login<L> {
    fn default() -> Self {
        Self { state: Mutex::new(State::Out) }
    }
}

impl<L> Login<L> {
    /// The login, made now if there is none. A refusal is remembered until [`take`](Self::take).
    pub async fn get(&self, cx: &Context, make: impl Future<Output = Result<L>>) -> Result<Arc<L>> {
        let mut state = self.state.lock().await;
        match &*state {
            State::In(login) => return Ok(Arc::clone(login)),
            State::Refused(error) => return Err(error.clone()),
            State::Out => {}
        }
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

impl<L> fmt::Debug for Login<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}
