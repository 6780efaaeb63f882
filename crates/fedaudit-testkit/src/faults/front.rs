//! What stands in front of one product: it counts connections and requests, and says which of them go wrong.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use tokio::sync::watch;

use super::{Fault, Plan, Product, What, names};
use crate::serve::{ServerHandle, serve_behind};
use crate::tls::Authority;

/// A plan at work in front of all four products. Clones are the same.
#[derive(Debug, Clone)]
pub struct Faults {
    fronts: [Arc<Front>; 4],
}

/// A fault that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// To whom.
    pub product: Product,
    /// The request, or `connection`.
    pub request: String,
    /// What it was.
    pub what: What,
}

impl Hit {
    /// Whether it can be the reason that a login was left behind: the reader never heard of it, could not give it back, or
    /// it was ended for the reader while the product still counts it.
    pub fn may_cost_a_login(&self) -> bool {
        names::is_about_logins(self.product, &self.request) || matches!(self.what, What::Gone(_) | What::NoHandshake)
    }

    /// Whether it can be the reason that an answer did not come in time.
    pub fn may_cost_time(&self) -> bool {
        self.what.may_leave_silence(self.product)
            || matches!(self.what, What::Late(_) | What::Gone(_) | What::Throttled(_) | What::Status(408 | 504))
    }
}

impl Faults {
    /// Sets a plan to work. `clock_offset_s` is how far the reader's clock is ahead of the system's: dates that tell when
    /// to come back are given by the reader's.
    pub fn new(plan: &Plan, clock_offset_s: i64) -> Self {
        Self { fronts: Product::ALL.map(|product| Arc::new(Front::new(plan, product, clock_offset_s))) }
    }

    /// What happened so far.
    pub fn hits(&self) -> Vec<Hit> {
        self.fronts.iter().flat_map(|front| front.state().hits.clone()).collect()
    }

    /// Serves a product's router behind what goes wrong with it.
    pub async fn serve(&self, product: Product, router: Router, authority: &Authority) -> io::Result<ServerHandle> {
        serve_behind(Some(self.front(product)), router, authority).await
    }

    pub(crate) fn front(&self, product: Product) -> Arc<Front> {
        Arc::clone(&self.fronts[product as usize])
    }
}

/// Stands before one product.
pub(crate) struct Front {
    pub(super) product: Product,
    pub(super) clock_offset_s: i64,
    state: Mutex<State>,
    /// Counts up when every connection is to end.
    cut: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Each fault with how many of its requests were seen.
    faults: Vec<(Fault, u32)>,
    hits: Vec<Hit>,
    last: Option<Recorded>,
    refusing: Refusing,
}

/// Which of the next connections are refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Refusing {
    #[default]
    None,
    /// So many.
    Some(u32),
    All,
}

/// An answer, to be given once more.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is served.
    Served,
    /// It ends at once.
    Refused,
    /// It ends in the middle of the handshake.
    NoHandshake,
}

impl Front {
    fn new(plan: &Plan, product: Product, clock_offset_s: i64) -> Self {
        let faults = plan.faults.iter().filter(|fault| fault.product == product).map(|fault| (fault.clone(), 0));
        let state = State { faults: faults.collect(), ..State::default() };
        Self { product, clock_offset_s, state: Mutex::new(state), cut: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what becomes of a new connection.
    pub(crate) fn admit(&self) -> Admission {
        let mut state = self.state();
        match &mut state.refusing {
            Refusing::None | Refusing::Some(0) => {}
            Refusing::Some(left) => {
                *left -= 1;
                return Admission::Refused;
            }
            Refusing::All => return Admission::Refused,
        }
        let struck = state.strike(self.product, "connection", |fault| fault.what == What::NoHandshake);
        if struck.is_some() { Admission::NoHandshake } else { Admission::Served }
    }

    /// Ends when every connection has to.
    pub(crate) async fn cut(&self) {
        // The sender lives as long as this, so that there is no other way out.
        let _ = self.cut.subscribe().changed().await;
    }

    /// What happens to this request, if anything.
    pub(super) fn strike(&self, name: &str) -> Option<What> {
        let mut state = self.state();
        let what = state.strike(self.product, name, |fault| {
            fault.what != What::NoHandshake && (fault.on.is_empty() || fault.on == name)
        })?;
        if let What::Gone(count) = what {
            state.refusing = count.map_or(Refusing::All, Refusing::Some);
            drop(state);
            self.cut.send_modify(|cuts| *cuts += 1);
        }
        Some(what)
    }

    /// Keeps an answer that says something.
    pub(super) fn record(&self, answer: &Recorded) {
        if answer.status.is_success() && !answer.body.is_empty() {
            self.state().last = Some(answer.clone());
        }
    }

    pub(super) fn last(&self) -> Option<Recorded> {
        self.state().last.clone()
    }
}

impl State {
    /// Counts for every fault that means it; the first that is due happens.
    fn strike(&mut self, product: Product, name: &str, means: impl Fn(&Fault) -> bool) -> Option<What> {
        let mut due = None;
        for (fault, seen) in self.faults.iter_mut().filter(|(fault, _)| means(fault)) {
            *seen += 1;
            let over = fault.times.is_some_and(|times| *seen >= fault.nth + times);
            if *seen >= fault.nth && !over && due.is_none() {
                due = Some(fault.what.clone());
            }
        }
        if let Some(what) = &due {
            self.hits.push(Hit { product, request: name.to_owned(), what: what.clone() });
        }
        due
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("product", &self.product).finish_non_exhaustive()
    }
}
