//! A product that is served, sources that talk to it, and a reader that holds every page against the contract.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedaudit_core::{AuditSource, Clock, Context, Meter, Next, Page, PageRequest, Result, StreamKind, Time};
use tempfile::TempDir;

use super::elsewhere::Elsewhere;
use super::front::Front;
use super::product::{Product, Truth};
use super::reading::{Reading, table};
use super::{Kit, Outcome, Trouble, ensure};
use crate::{Authority, ServerHandle, serve};

/// Rows may come twice where two pages meet, never further apart: the engine remembers the keys of so many pages.
const PAGES_REMEMBERED: usize = 4;

/// A clock that began at the product's now.
struct Since {
    begun: Instant,
    at: Time,
}

impl Clock for Since {
    fn now(&self) -> Time {
        self.at.plus(self.begun.elapsed())
    }
}

/// The name and the identity of the source under test.
pub(crate) const SOURCE: &str = "subject";
pub(crate) const SOURCE_KEY: &str = "https://subject.example";

/// One product and its surroundings.
pub(crate) struct Bench<'k> {
    pub(crate) kit: &'k Kit<'k>,
    pub(crate) product: Product,
    pub(crate) front: Front,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) cx: Context,
    /// Whether sources ask the product over HTTP.
    pub(crate) is_served: bool,
    server: ServerHandle,
    folder: TempDir,
}

fn broken(what: &str, error: &io::Error) -> Trouble {
    Trouble::Broken(format!("the suite itself: {what}: {error}"))
}

impl<'k> Bench<'k> {
    pub(crate) async fn start(kit: &'k Kit<'k>, mut product: Product) -> Outcome<Self> {
        kit.secrets.learn(&product.credential);
        let front = Front::new(&kit.secrets);
        let authority = Authority::new().map_err(|error| broken("authority", &error))?;
        let router = product.router.take();
        let is_served = router.is_some();
        let router = front.before(router.unwrap_or_default());
        let server = serve(router, &authority).await.map_err(|error| broken("server", &error))?;
        front.set_origin(&server.origin);
        let elsewhere = Elsewhere::start(&authority).await.map_err(|error| broken("server", &error))?;
        let folder = tempfile::tempdir().map_err(|error| broken("folder", &error))?;
        std::fs::write(folder.path().join("ca.pem"), authority.ca_pem()).map_err(|error| broken("file", &error))?;
        let cx = context(product.now);
        let bench = Self { kit, product, front, elsewhere, cx, is_served, server, folder };
        bench.set_credential(&bench.product.credential)?;
        Ok(bench)
    }

    /// Writes the file that the settings name as the credential's place.
    pub(crate) fn set_credential(&self, text: &str) -> Outcome {
        self.kit.secrets.learn(text);
        std::fs::write(self.folder.path().join("credential"), format!("{text}\n"))
            .map_err(|error| broken("file", &error))
    }

    /// A credential of the right form that the product does not know.
    pub(crate) fn wrong_credential(&self) -> String {
        let right = &self.product.credential;
        let kept: String = right.chars().take(right.chars().count().saturating_sub(4)).collect();
        format!("{kept}zzzz")
    }

    /// The settings of a source at another address.
    pub(crate) fn settings_at(&self, url: &str) -> String {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let settings = format!("{}\n{}", self.product.settings, self.kit.settings).replace("{url}", url);
        settings.replace("{ca}", &file("ca.pem")).replace("{secret}", &file("credential"))
    }

    /// Where the product is.
    pub(crate) fn origin(&self) -> &str {
        &self.server.origin
    }

    /// The settings of a source of this product.
    pub(crate) fn settings(&self) -> String {
        self.settings_at(&self.server.origin)
    }

    /// A source of this product.
    pub(crate) fn source(&self) -> Result<Box<dyn AuditSource>> {
        self.kit.build(&self.settings())
    }

    /// The context with what changes between calls: a fresh meter, and so long to live.
    pub(crate) fn cx_within(&self, limit: Duration) -> Context {
        let deadline = Some(self.cx.now().plus(limit));
        Context { deadline, meter: Arc::new(Meter::default()), ..self.cx.clone() }
    }

    /// Reads a stream to its end.
    pub(crate) async fn read(&self, source: &dyn AuditSource, request: &PageRequest) -> Outcome<Reading> {
        self.read_with(source, &self.cx_within(Duration::from_mins(1)), request).await
    }

    /// Reads a stream to its end under this context.
    pub(crate) async fn read_with(
        &self,
        source: &dyn AuditSource,
        cx: &Context,
        request: &PageRequest,
    ) -> Outcome<Reading> {
        let mut reader = self.reader(source, request)?;
        while !reader.done() {
            let page = self.fetch(source, cx, &reader.request).await?;
            reader.take(page)?;
        }
        Ok(reader.reading)
    }

    /// A reader for a question, before its first page.
    pub(crate) fn reader(&self, source: &dyn AuditSource, request: &PageRequest) -> Outcome<Reader> {
        let Some(stream) = source.info().stream(&request.stream) else {
            return Err(Trouble::Broken(format!("stream '{}' is not declared", request.stream)));
        };
        let facts = self.product.truths.iter().map(|truth| truth.facts.len()).max().unwrap_or(0);
        // Every record on a page of its own, and every page asked for several times, is still an end.
        Ok(Reader::new(stream.kind, request, 200 + 8 * facts))
    }

    /// One page; every text in it is looked at.
    pub(crate) async fn fetch(&self, source: &dyn AuditSource, cx: &Context, request: &PageRequest) -> Result<Page> {
        let page = source.fetch(cx, request).await.inspect_err(|error| self.kit.secrets.look_at_error(error))?;
        let secrets = &self.kit.secrets;
        for rejected in &page.rejected {
            secrets.look("rejected record", &rejected.raw);
            secrets.look("rejected record", &rejected.reason);
        }
        for note in &page.observed.notes {
            secrets.look("note", note);
        }
        if let Next::More(cursor) = &page.next {
            secrets.look("cursor", cursor.as_str());
        }
        let mut reading = Reading::new(StreamKind::Events);
        reading.batches.push(page.rows.clone());
        for field in page.rows.schema().fields() {
            for text in reading.texts(field.name()).into_iter().flatten() {
                secrets.look(field.name(), &text);
            }
        }
        secrets.look("Debug of the source", &format!("{source:?}"));
        Ok(page)
    }

    /// The streams whose truth has rows, or why there are none.
    pub(crate) fn filled(&self) -> Outcome<Vec<&Truth>> {
        let filled: Vec<&Truth> = self.product.truths.iter().filter(|truth| !truth.facts.is_empty()).collect();
        ensure!(!filled.is_empty(), "the product holds nothing: the case shows nothing");
        Ok(filled)
    }

    /// The fullest stream, for cases that would take long on all.
    pub(crate) fn fullest(&self) -> Outcome<&Truth> {
        let truth = self.product.truths.iter().max_by_key(|truth| truth.facts.len());
        truth
            .filter(|truth| truth.facts.len() >= 3)
            .ok_or_else(|| Trouble::Broken("no stream holds three rows: the case shows nothing".to_owned()))
    }

    /// What readers hold of the product, once it had time to notice; none if it holds nothing for them.
    pub(crate) async fn held(&self) -> Option<usize> {
        let held = self.product.held.as_ref()?;
        for _ in 0..100 {
            if held() == 0 {
                return Some(0);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Some(held())
    }

    /// Nothing was sent anywhere else.
    pub(crate) fn nothing_elsewhere(&self, what: &str) -> Outcome {
        let heard = self.elsewhere.heard();
        ensure!(heard.is_empty(), "{what}: another place was sent {} requests: {}", heard.len(), heard[0]);
        Ok(())
    }
}

pub(crate) fn context(now: Time) -> Context {
    Context {
        source: SOURCE.into(),
        source_key: SOURCE_KEY.into(),
        clock: Arc::new(Since { begun: Instant::now(), at: now }),
        deadline: None,
        meter: Arc::new(Meter::default()),
    }
}

/// Takes pages as the engine does, and is stricter.
pub(crate) struct Reader {
    pub(crate) request: PageRequest,
    pub(crate) reading: Reading,
    cursors: HashSet<String>,
    seen: Vec<HashSet<String>>,
    longest: usize,
}

impl Reader {
    /// Before the first page; there should be no more than so many.
    pub(crate) fn new(kind: StreamKind, request: &PageRequest, longest: usize) -> Self {
        Self {
            request: request.clone(),
            reading: Reading::new(kind),
            cursors: HashSet::new(),
            seen: Vec::new(),
            longest,
        }
    }

    pub(crate) fn done(&self) -> bool {
        self.reading.end.is_some()
    }

    /// Holds a page against the contract and goes on behind it.
    pub(crate) fn take(&mut self, page: Page) -> Outcome {
        let stream = self.request.stream.clone();
        let schema = table(self.reading.kind).page_schema();
        ensure!(page.rows.schema() == schema, "{stream}: a page with other columns than its table");
        let (next, frontier) = (page.next.clone(), page.frontier);
        let before = self.reading.frontiers.last().copied().flatten();
        let number = self.reading.pages();
        self.reading.add(page);
        let mut of_page = Reading::new(self.reading.kind);
        of_page.batches.push(self.reading.batches[number].clone());
        if let Some(before) = before {
            let late = of_page.times().into_iter().flatten().find(|time| *time > before);
            ensure!(late.is_none(), "{stream}: page {number} has a row of {late:?}, the page before promised {before}");
            ensure!(frontier.is_none_or(|frontier| frontier <= before), "{stream}: the frontier rises to {frontier:?}");
        }
        let keys = of_page.keys();
        let set: HashSet<String> = keys.iter().cloned().collect();
        ensure!(set.len() == keys.len(), "{stream}: page {number} holds a row twice");
        let far = self.seen.len().saturating_sub(PAGES_REMEMBERED);
        for (place, earlier) in self.seen.iter().enumerate() {
            let again = set.intersection(earlier).count();
            ensure!(again == 0 || place >= far, "{stream}: page {number} repeats a row of page {place}, too far back");
            ensure!(again == 0 || again < set.len(), "{stream}: page {number} repeats page {place}");
        }
        self.seen.push(set);
        match next {
            Next::End(reason) => self.reading.end = Some(reason),
            Next::More(cursor) => {
                ensure!(
                    self.cursors.insert(cursor.as_str().to_owned()),
                    "{stream}: the cursor after page {number} was there before: reading would never end"
                );
                ensure!(number < self.longest, "{stream}: no end after {number} pages");
                self.request.cursor = Some(cursor);
            }
        }
        Ok(())
    }
}
