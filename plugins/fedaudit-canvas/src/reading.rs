//! One page: the next one of a list, a few short lists side by side, or a second that has to be read user by user.

use std::time::Duration;

use fedaudit_core::{
    Context, Cursor, EndReason, Error, ErrorKind, EventBuilder, Next, Observed, Page, PageRequest, Result, Time, Window,
};
use fedaudit_transport::HttpResponse;
use futures::future::join_all;

use crate::accounts::{ids, listed};
use crate::api::{Api, encode};
use crate::budget::IN_FLIGHT;
use crate::links::Bookmark;
use crate::normalize::{Decoder, Edge, Frame, Seen, Ties, Twice};
use crate::stream::Stream;
use crate::walk::{Crowd, List, PER_PAGE, Target, Walk};

/// What one fetch works with.
pub(crate) struct Reading<'r> {
    pub(crate) cx: &'r Context,
    pub(crate) api: &'r Api,
    pub(crate) stream: Stream,
    pub(crate) request: &'r PageRequest,
    pub(crate) frame: Frame<'r>,
}

/// What an answer leads to.
struct Taken {
    seen: Seen,
    next: Option<String>,
    crowd: Option<Crowd>,
    remarks: Remarks,
}

/// What the receipt should tell of a page besides its rows.
#[derive(Default)]
struct Remarks {
    notes: Vec<String>,
    /// Where rows may be missing.
    gap: Option<Window>,
}

impl Remarks {
    fn note(note: String) -> Self {
        Self { notes: vec![note], gap: None }
    }

    /// Rows of this window may be missing, and why.
    fn missing(&mut self, window: Window, why: String) {
        self.append(Self { notes: vec![why], gap: Some(window) });
    }

    /// Two gaps become one that holds both: a page names only one.
    fn append(&mut self, other: Self) {
        self.notes.extend(other.notes);
        self.gap = match (self.gap, other.gap) {
            (Some(one), Some(two)) => {
                let from = one.from.zip(two.from).map(|(one, two)| one.min(two));
                Some(Window { from, to: one.to.zip(two.to).map(|(one, two)| one.max(two)) })
            }
            (one, two) => one.or(two),
        };
    }
}

impl Reading<'_> {
    /// The next page of a walk.
    pub(crate) async fn page(&self, mut walk: Walk) -> Result<Outcome> {
        if let Some(crowd) = walk.crowd.take() {
            return Box::pin(self.crowd(walk, crowd)).await.map(Outcome::Page);
        }
        match walk.targets.first().map(|target| (target.list, target.is_chosen)) {
            None => self.end(&walk).map(Outcome::Page),
            Some((List::Courses, _)) => self.courses(walk).await.map(Outcome::Page),
            Some((List::Course | List::GradeCourse, false)) => Box::pin(self.several(walk)).await.map(Outcome::Page),
            Some(_) => Box::pin(self.list(walk)).await,
        }
    }

    /// The next page of the first list.
    async fn list(&self, mut walk: Walk) -> Result<Outcome> {
        let target = walk.targets[0].clone();
        // Once rows of it were handed out, everything would bring them again.
        let replaceable = target.is_chosen && target.link.is_none();
        let path = target.page(self.request.window, self.request.page_size);
        let response = match self.api.get(self.cx, &path).await {
            Ok(response) => response,
            Err(error) if replaceable && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
                let note = format!("{target} cannot be read on its own ({error}); looking further");
                return Ok(Outcome::Elsewhere(walk, note));
            }
            Err(error) => return Err(error),
        };
        let next = self.api.next(&response)?;
        let merged = next.as_deref().is_some_and(|link| Bookmark::of(link) == Bookmark::Unknown);
        if target.list == List::User && merged && replaceable {
            // Such a list can lose rows between its pages.
            let note = format!("the list of {target} is merged from several and may lose events; looking further");
            return Ok(Outcome::Elsewhere(walk, note));
        }
        let mut decoder = Decoder::new(self.frame);
        let mut ties = std::mem::take(&mut walk.ties);
        let taken = self.take(&mut decoder, &target, &response, next, &mut ties).await?;
        walk.ties = ties;
        // Several lists are read one after the other: only the last one bounds what is still to come.
        let bounded = walk.targets.len() == 1 && target.list.is_ordered() && taken.seen.is_descending;
        let frontier = taken.seen.last.filter(|_| bounded && taken.next.is_some()).map(end_of_second);
        walk.follow(taken.next)?;
        walk.crowd = taken.crowd;
        let page = finish(decoder, &walk, response.server_time(), taken.remarks)?;
        Ok(Outcome::Page(Page { frontier, ..page }))
    }

    /// Decodes an answer. Where the bookmark of the next page may skip what is left of the last second, that second is
    /// read again at once.
    async fn take(
        &self,
        decoder: &mut Decoder<'_>,
        target: &Target,
        response: &HttpResponse,
        next: Option<String>,
        ties: &mut Ties,
    ) -> Result<Taken> {
        let tenant = target.tenant.as_deref();
        let mut taken = Taken { seen: Seen::default(), next, crowd: None, remarks: Remarks::default() };
        if taken.next.as_deref().is_none_or(|link| Bookmark::of(link) == Bookmark::Row) {
            taken.seen = decoder.add(&response.body, tenant, ties, Twice::Never)?;
            return Ok(taken);
        }
        let mut edge = Edge::default();
        taken.seen = decoder.add(&response.body, tenant, ties, Twice::Remember(&mut edge))?;
        let Some(last) = taken.seen.last else { return Ok(taken) };
        let from = Time::from_seconds(last.seconds()).unwrap_or(last);
        let second = Window::new(from, from.plus(Duration::from_secs(1)));
        let again = Target { link: None, ..target.clone() };
        let response = self.api.get(self.cx, &again.first_page(second, None)).await?;
        decoder.add(&response.body, tenant, &mut Ties::default(), Twice::Extend(&mut edge))?;
        if self.api.next(&response)?.is_some() {
            if target.list == List::Account {
                taken.crowd = Some(Crowd { account: target.id.clone(), edge, users: None });
            } else {
                let why = format!(
                    "more than {PER_PAGE} events of {target} at {from}: this Canvas release cannot page inside a second, some \
                     are missing"
                );
                taken.remarks.missing(second, why);
            }
        }
        Ok(taken)
    }

    /// A second with more than a page of events, user by user: one page of users.
    async fn crowd(&self, mut walk: Walk, mut crowd: Crowd) -> Result<Page> {
        let from = Time::from_seconds(crowd.edge.second).unwrap_or_default();
        let second = Window::new(from, from.plus(Duration::from_secs(1)));
        let path = crowd
            .users
            .clone()
            .unwrap_or_else(|| format!("/api/v1/accounts/{}/users?per_page={PER_PAGE}", encode(&crowd.account)));
        let mut decoder = Decoder::new(self.frame);
        // Nothing tells whether the users that are listed are all who were there.
        let mut remarks = Remarks::default();
        let (users, next) = match ids(self.cx, self.api, &path).await {
            Ok(page) => {
                let why = format!(
                    "more than {PER_PAGE} events at {from}: this Canvas release cannot page inside a second, so it was read \
                     user by user; those of deleted users may be missing"
                );
                remarks.missing(second, why);
                page
            }
            Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound) => {
                let why = format!(
                    "more than {PER_PAGE} events at {from}: this Canvas release cannot page inside a second, and the users \
                     cannot be listed ({error}): some events are missing"
                );
                remarks.missing(second, why);
                (Vec::new(), None)
            }
            Err(error) => return Err(error),
        };
        let lists: Vec<String> = users.iter().map(|id| Target::new(List::User, id).first_page(second, None)).collect();
        let answers = join_all(lists.iter().map(|path| self.api.get(self.cx, path))).await;
        for (user, answer) in users.iter().zip(answers) {
            match answer {
                Ok(response) => {
                    decoder.add(&response.body, None, &mut Ties::default(), Twice::Skip(&crowd.edge))?;
                    if self.api.next(&response)?.is_some() {
                        let why = format!("more than {PER_PAGE} events of user {user} at {from}: some are missing");
                        remarks.missing(second, why);
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound) => {
                    remarks.missing(second, format!("events of user {user} at {from} cannot be read ({error})"));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(next) = next {
            walk.courses.step(&next)?;
            crowd.users = Some(next);
            walk.crowd = Some(crowd);
        }
        finish(decoder, &walk, None, remarks)
    }

    /// One page of courses: each becomes a list.
    async fn courses(&self, mut walk: Walk) -> Result<Page> {
        let target = walk.targets.remove(0);
        let list = if self.stream == Stream::Course { List::Course } else { List::GradeCourse };
        let path = target.page(self.request.window, None);
        let (mut targets, next) = listed(self.cx, self.api, &path, |course| Target {
            is_deleted: course.is_deleted(),
            ..Target::new(list, course.id()).within(target.tenant.as_deref())
        })
        .await?;
        if let Some(next) = next {
            walk.courses.step(&next)?;
            targets.push(Target { link: Some(next), ..target });
        }
        targets.append(&mut walk.targets);
        walk.targets = targets;
        finish(Decoder::new(self.frame), &walk, None, Remarks::default())
    }

    /// The next pages of some short lists that have nothing to do with each other, side by side.
    async fn several(&self, mut walk: Walk) -> Result<Page> {
        let alike = |target: &Target| matches!(target.list, List::Course | List::GradeCourse) && !target.is_chosen;
        let count = walk.targets.iter().take(IN_FLIGHT).take_while(|target| alike(target)).count();
        let targets: Vec<Target> = walk.targets.drain(..count).collect();
        let paths: Vec<String> =
            targets.iter().map(|target| target.page(self.request.window, self.request.page_size)).collect();
        let answers = join_all(paths.iter().map(|path| self.api.get(self.cx, path))).await;
        let mut decoder = Decoder::new(self.frame);
        let mut rest = Vec::new();
        let mut server_time = None;
        let mut remarks = Remarks::default();
        for (mut target, answer) in targets.into_iter().zip(answers) {
            let response = match answer {
                Ok(response) => response,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // Only the grades of deleted courses are known to have no list. Else Canvas keeps no such log, or it
                    // stands elsewhere.
                    if target.list == List::GradeCourse && target.is_deleted {
                        walk.gone.add(&target, &error);
                    } else {
                        walk.lost.add(&target, &error);
                        remarks.gap = Some(self.request.window);
                        if walk.lost.count == 1 {
                            remarks.notes.push(format!("the log of {target} cannot be read ({error})"));
                        }
                    }
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Denied => {
                    walk.denied.add(&target, &error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            server_time = response.server_time();
            let next = self.api.next(&response)?;
            let taken = self.take(&mut decoder, &target, &response, next, &mut Ties::default()).await?;
            remarks.append(taken.remarks);
            if let Some(next) = taken.next {
                if target.link.as_ref() == Some(&next) {
                    return Err(Error::new(ErrorKind::Malformed, "the list links to the page that was just read"));
                }
                target.link = Some(next);
                rest.push(target);
            }
        }
        rest.append(&mut walk.targets);
        walk.targets = rest;
        finish(decoder, &walk, server_time, remarks)
    }

    /// There is nothing left to read.
    fn end(&self, walk: &Walk) -> Result<Page> {
        if walk.denied.count > 0 {
            return Err(Error::new(
                ErrorKind::Denied,
                format!(
                    "{} of the courses cannot be read: {} ({})",
                    walk.denied.count,
                    walk.denied.names(),
                    walk.denied.why.as_deref().unwrap_or_default()
                ),
            ));
        }
        nothing(self.cx)
    }

    /// A page without rows that goes on with other lists.
    pub(crate) fn elsewhere(&self, walk: &Walk, note: String) -> Result<Page> {
        finish(Decoder::new(self.frame), walk, None, Remarks::note(note))
    }
}

/// A page and where it leads.
fn finish(decoder: Decoder<'_>, walk: &Walk, server_time: Option<Time>, mut remarks: Remarks) -> Result<Page> {
    let mut decoded = decoder.finish()?;
    decoded.notes.append(&mut remarks.notes);
    let done = walk.targets.is_empty() && walk.crowd.is_none();
    if done && walk.gone.count > 0 {
        decoded.notes.push(format!("{} deleted courses cannot be read: {}", walk.gone.count, walk.gone.names()));
    }
    if done && walk.lost.count > 1 {
        decoded.notes.push(format!("{} courses have no log that can be read: {}", walk.lost.count, walk.lost.names()));
    }
    // What was denied is an error, after everything else was handed out.
    let next =
        if done && walk.denied.count == 0 { Next::End(EndReason::NoNextLink) } else { Next::More(Cursor::new(walk)?) };
    Ok(Page {
        rows: decoded.rows,
        next,
        frontier: None,
        observed: Observed {
            server_time,
            records: decoded.records,
            gap: remarks.gap,
            notes: decoded.notes,
            ..Observed::default()
        },
        rejected: decoded.rejected,
    })
}

/// What reading a page came to.
pub(crate) enum Outcome {
    /// A page.
    Page(Page),
    /// The first list was named by the question and cannot be relied on; why.
    Elsewhere(Walk, String),
}

/// An answer without rows, for which nothing was asked.
pub(crate) fn nothing(cx: &Context) -> Result<Page> {
    Ok(Page::last(EventBuilder::new(&cx.source_key).finish()?, EndReason::NothingAsked))
}

/// The last instant of a second: rows of later pages may share it.
fn end_of_second(time: Time) -> Time {
    Time::from_micros(time.seconds() * 1_000_000 + 999_999)
}
