//! What goes wrong on the way: the outcome is all of the truth, or an error. Nothing in between.
//!
//! A fault is put at every request that a healthy reading makes, one after the other, so that no product knowledge is needed
//! to find the dangerous place.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use fedaudit_core::{Context, Error, ErrorKind, PageRequest, Window};

use super::paging::{in_pages, size_for};
use crate::conformance::bench::{Bench, context};
use crate::conformance::compare::{compare, truth_or_error};
use crate::conformance::front::Fault;
use crate::conformance::product::{Condition, Truth};
use crate::conformance::tunnel::Tunnels;
use crate::conformance::{Kit, Outcome, Trouble, ensure};

/// Kinds of error that tell of trouble on the way.
const WIRE: &[ErrorKind] = &[ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::RateLimited, ErrorKind::Malformed];
/// Kinds of error for an answer that is no answer.
const NONSENSE: &[ErrorKind] = &[
    ErrorKind::Malformed,
    ErrorKind::Unavailable,
    ErrorKind::Unsupported,
    ErrorKind::Unauthenticated,
    ErrorKind::NotFound,
];
/// Kinds of error for a refusal.
const ANY: &[ErrorKind] = &[
    ErrorKind::Denied,
    ErrorKind::Unauthenticated,
    ErrorKind::Unavailable,
    ErrorKind::Malformed,
    ErrorKind::Unsupported,
    ErrorKind::NotFound,
];
/// Time for a reading that something goes wrong with: more than any product needs, even on a busy machine.
const LONG: Duration = Duration::from_mins(1);
/// How much later than its deadline an error may come.
const SLACK: Duration = Duration::from_secs(15);
/// At most so many places of a reading are disturbed.
const PLACES: usize = 6;

/// A reading that is disturbed.
struct Disturbed<'b, 'k> {
    bench: &'b Bench<'k>,
    truth: &'b Truth,
    request: PageRequest,
    /// Requests of an undisturbed reading.
    requests: usize,
    /// The last of them that the reading cannot do without.
    needed: usize,
}

/// What came of a disturbed reading.
struct Came {
    error: Option<Error>,
    cx: Context,
    took: Duration,
}

impl<'b, 'k> Disturbed<'b, 'k> {
    /// The fullest stream of a product, read once to know how many requests that takes.
    async fn new(bench: &'b Bench<'k>) -> Outcome<Self> {
        let truth = bench.fullest()?;
        let request = in_pages(truth, size_for(truth, 3));
        let source = bench.source()?;
        let reading = bench.read(&*source, &request).await?;
        let requests = bench.front.requests();
        compare(truth, &reading)?;
        source.close(&bench.cx).await?;
        ensure!(requests > 0, "the suite saw no request");
        let mut disturbed = Self { bench, truth, request, requests, needed: requests };
        while disturbed.spares(disturbed.needed).await? {
            disturbed.needed -= 1;
        }
        Ok(disturbed)
    }

    /// Whether everything comes although this request and all after it are refused: they only tidy up.
    async fn spares(&self, place: usize) -> Outcome<bool> {
        ensure!(place > 0, "everything comes although every request is refused");
        let came = self.read(place..=usize::MAX, Fault::status(403), ANY, LONG).await?;
        Ok(came.error.is_none())
    }

    /// The requests to disturb.
    fn places(&self) -> impl Iterator<Item = usize> {
        1..=self.requests.min(PLACES)
    }

    /// Reads with a fault at these requests.
    async fn read(
        &self,
        places: RangeInclusive<usize>,
        fault: Fault,
        kinds: &[ErrorKind],
        limit: Duration,
    ) -> Outcome<Came> {
        let what = format!("{fault:?} at request {places:?}");
        let cx = self.bench.cx_within(limit);
        let source = self.bench.source()?;
        self.bench.front.break_answers(places, fault);
        let begun = Instant::now();
        let outcome = self.bench.read_with(&*source, &cx, &self.request).await;
        let took = begun.elapsed();
        self.bench.front.heal();
        let error = truth_or_error(self.truth, outcome, kinds, &what)?;
        let _ = source.close(&self.bench.cx).await;
        Ok(Came { error, cx, took })
    }

    /// Reads with a fault at each request in turn; tells how often the reading survived.
    async fn each(&self, fault: impl Fn() -> Fault, kinds: &[ErrorKind]) -> Outcome<usize> {
        let mut survived = 0;
        for place in self.places() {
            let came = self.read(place..=place, fault(), kinds, LONG).await?;
            survived += usize::from(came.error.is_none());
        }
        Ok(survived)
    }

    /// Reads with a fault that lasts, from the first request and from the last needed one on: both have to be errors.
    async fn lasting(&self, fault: impl Fn() -> Fault, kinds: &[ErrorKind]) -> Outcome {
        for from in [1, self.needed] {
            if matches!(fault(), Fault::Cut) && self.bench.front.upgraded(from) {
                // There is no body to cut: the connection became a WebSocket.
                continue;
            }
            let came = self.read(from..=usize::MAX, fault(), kinds, LONG).await?;
            ensure!(
                came.error.is_some(),
                "{:?} from request {from} on gives everything: nothing was disturbed",
                fault()
            );
            ensure!(came.took < LONG + SLACK, "{:?}: gave up after {:?} of {LONG:?}", fault(), came.took);
        }
        Ok(())
    }
}

pub(super) async fn throttled_once(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    let survived = disturbed.each(|| Fault::throttled("0"), WIRE).await?;
    ensure!(survived > 0, "429 is never waited for");
    let before = bench.front.requests();
    let place = disturbed.needed;
    let came = disturbed.read(place..=place, Fault::throttled("1"), WIRE, LONG).await?;
    ensure!(came.error.is_none(), "one 429 ends the reading: {:?}", came.error);
    let seen = bench.front.seen();
    let (refused, next) = (&seen[before + place - 1], &seen[before + place]);
    let pause = next.at.duration_since(refused.at);
    ensure!(pause >= Duration::from_millis(950), "Retry-After: 1, and {} came after {pause:?}", next.line);
    let meter = came.cx.meter.read();
    ensure!(meter.throttled == 1, "throttled once, counted {}", meter.throttled);
    ensure!(meter.retries >= 1, "tried again, and not counted");
    Ok(())
}

pub(super) async fn throttled_for_ever(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    let kinds = &[ErrorKind::RateLimited, ErrorKind::Timeout];
    disturbed.lasting(|| Fault::throttled("1"), kinds).await?;
    // Nobody waits for a day: a product that asks for more patience than there is ends the reading at once.
    let begun = Instant::now();
    disturbed.lasting(|| Fault::throttled("86400"), &[ErrorKind::RateLimited]).await?;
    ensure!(begun.elapsed() < LONG, "Retry-After: 86400, and the error came after {:?}", begun.elapsed());
    let came = disturbed.read(1..=usize::MAX, Fault::throttled("86400"), &[ErrorKind::RateLimited], LONG).await?;
    let told = came.error.map(|error| error.to_string()).unwrap_or_default();
    ensure!(told.contains("asked again in 86400 s"), "the error does not say when to ask again: {told}");
    Ok(())
}

pub(super) async fn unavailable_once(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    for status in [503, 500, 502, 504] {
        let survived = disturbed.each(|| Fault::status(status), WIRE).await?;
        ensure!(survived > 0, "{status} is never tried again");
    }
    Ok(())
}

pub(super) async fn unavailable_for_ever(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    disturbed.lasting(|| Fault::status(503), &[ErrorKind::Unavailable, ErrorKind::Timeout]).await
}

pub(super) async fn refused_in_the_middle(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    let refused: &[ErrorKind] = &[ErrorKind::Unauthenticated, ErrorKind::Denied];
    let gone: &[ErrorKind] =
        &[ErrorKind::NotFound, ErrorKind::Unsupported, ErrorKind::Malformed, ErrorKind::Unavailable, ErrorKind::Config];
    for (status, kinds) in [(401, refused), (403, refused), (404, gone), (410, gone)] {
        disturbed.lasting(|| Fault::status(status), kinds).await?;
    }
    Ok(())
}

pub(super) async fn cut_answers(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    let survived = disturbed.each(|| Fault::Cut, WIRE).await?;
    ensure!(survived > 0, "an answer that was cut off is never asked for again");
    disturbed.lasting(|| Fault::Cut, WIRE).await
}

pub(super) async fn pages_for_people(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    disturbed.each(Fault::html, NONSENSE).await?;
    disturbed.lasting(Fault::html, NONSENSE).await
}

pub(super) async fn wrong_shapes(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    let bodies = ["null", "true", "7", "\"x\"", "{}", "{\"unexpected\":[]}", "[[]]", "{\"items\":[", "\u{feff}"];
    for body in bodies.into_iter().filter(|body| !kit.nothing.contains(body)) {
        let survived = disturbed.each(|| Fault::json(body), NONSENSE).await?;
        let places = disturbed.places().count();
        ensure!(survived < places, "{body} in place of any answer disturbs nothing: the case shows nothing");
        disturbed.read(disturbed.needed..=disturbed.needed, Fault::json(body), NONSENSE, LONG).await?;
    }
    Ok(())
}

pub(super) async fn empty_bodies(kit: &Kit<'_>) -> Outcome {
    if kit.nothing.contains(&"") {
        return Err(Trouble::Skip("the product documents an empty body as its way to say nothing".to_owned()));
    }
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    disturbed.each(|| Fault::json(""), NONSENSE).await?;
    disturbed.lasting(|| Fault::json(""), NONSENSE).await
}

pub(super) async fn late_answers(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    for from in [1, disturbed.needed] {
        let limit = Duration::from_secs(2);
        let late = Fault::Late(Duration::from_mins(1));
        let came = disturbed.read(from..=usize::MAX, late, &[ErrorKind::Timeout], limit).await?;
        ensure!(came.error.is_some(), "an answer from after the deadline is taken");
        ensure!(came.took < limit + SLACK, "the deadline was {limit:?}, the error came after {:?}", came.took);
    }
    Ok(())
}

pub(super) async fn redirects_stay_home(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    let kinds: Vec<ErrorKind> = [NONSENSE, WIRE].concat();
    for status in [301, 302, 303, 307, 308] {
        for origin in bench.elsewhere.origins() {
            let to = format!("{origin}/api/v1/anything?x=1");
            disturbed.each(|| Fault::redirect(status, &to), &kinds).await?;
            bench.nothing_elsewhere(&format!("{status} to {origin}"))?;
        }
    }
    // Round and round at home is no answer either.
    let home = format!("{}/", bench.origin());
    disturbed.lasting(|| Fault::redirect(302, &home), &kinds).await
}

pub(super) async fn links_stay_home(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    for origin in bench.elsewhere.origins() {
        let fault = Fault::Foreign(origin.to_owned());
        let came = disturbed.read(1..=usize::MAX, fault, NONSENSE, LONG).await?;
        bench.nothing_elsewhere(&format!("links to {origin}"))?;
        drop(came);
    }
    Ok(())
}

pub(super) async fn compressed_answers(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let disturbed = Disturbed::new(&bench).await?;
    let came = disturbed.read(1..=usize::MAX, Fault::Gzip, &[], LONG).await?;
    ensure!(came.error.is_none(), "{:?}", came.error);
    Ok(())
}

pub(super) async fn nobody_answers(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    // A port that was free a moment ago.
    let port = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.and_then(|listener| listener.local_addr());
    let port = port.map_err(|error| Trouble::Broken(format!("the suite itself: {error}")))?.port();
    let source = kit.build(&bench.settings_at(&format!("https://127.0.0.1:{port}")))?;
    let truth = bench.fullest()?;
    let cx = Context { deadline: Some(bench.cx.now().plus(Duration::from_secs(5))), ..context(bench.product.now) };
    let outcome = bench.fetch(&*source, &cx, &PageRequest::first(&truth.stream, Window::ALL)).await;
    let Err(error) = outcome else { return Err(Trouble::Broken("rows of nobody".to_owned())) };
    ensure!([ErrorKind::Unavailable, ErrorKind::Timeout].contains(&error.kind()), "nobody answers: {error:?}");
    ensure!(error.to_string().contains("127.0.0.1"), "{error} does not say where nobody answers");
    ensure!(source.check(&cx).await.is_err(), "check is content with nobody");
    source.close(&cx).await?;
    Ok(())
}

pub(super) async fn a_proxy_is_gone_through(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let tunnels = Tunnels::start().await.map_err(|error| Trouble::Broken(format!("the suite itself: {error}")))?;
    let proxied = format!("proxy = {{ url = \"{}\" }}\n{}", tunnels.url, bench.settings());
    let source = kit.build(&proxied)?;
    for truth in bench.filled()? {
        let reading = bench.read(&*source, &in_pages(truth, size_for(truth, 2))).await?;
        compare(truth, &reading)?;
    }
    source.close(&bench.cx).await?;
    let address = bench.origin().trim_start_matches("https://");
    let heads = tunnels.heads();
    ensure!(!heads.is_empty(), "the proxy was not asked");
    for head in heads {
        ensure!(head.starts_with(&format!("CONNECT {address} ")), "the proxy was sent {head}");
        kit.secrets.look("what the proxy was sent", &head);
    }
    // With a proxy that is gone there is no other way.
    drop(tunnels);
    let source = kit.build(&proxied)?;
    let asked = bench.front.requests();
    let cx = bench.cx_within(Duration::from_secs(5));
    let outcome = bench.fetch(&*source, &cx, &PageRequest::first(&bench.fullest()?.stream, Window::ALL)).await;
    ensure!(outcome.is_err() && bench.front.requests() == asked, "the product was asked past its proxy");
    Ok(())
}
