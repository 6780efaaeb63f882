//! Rebuilds sessions from events: a pure function of a set of events, a live list and an instant. The order of the input
//! does not matter, and running it again on more events only refines the rows. The rules are written down in
//! `docs/sessions.md`.

use std::collections::BTreeMap;

use fedaudit_core::key::{Key, KeyKind};
use fedaudit_core::rows::SKEW;
use fedaudit_core::{Action, Confidence, EndCause, Outcome, Pairing, SessionState, Time};

/// What reconstruction needs of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionEvent {
    /// Key of the event.
    pub event_key: String,
    /// Key of its session, where the product names one.
    pub session_key: Option<String>,
    /// When it happened.
    pub time: Time,
    /// When it was recorded.
    pub logged_time: Option<Time>,
    /// The product's running number.
    pub sequence: Option<i64>,
    /// What it was.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// When the session began, where the closing record says so.
    pub began: Option<Time>,
    /// Account of the login itself.
    pub account_id: Option<String>,
    /// Bare user name.
    pub user_name: Option<String>,
    /// Client address.
    pub src_ip: Option<String>,
    /// Client program.
    pub user_agent: Option<String>,
    /// Protocol.
    pub protocol: Option<String>,
    /// Row of the event in whatever the caller keeps of it.
    pub row: usize,
}

/// The product's own list of live sessions.
#[derive(Clone, Debug, Default)]
pub struct LiveList {
    /// When it was read.
    pub seen_at: Time,
    /// Keys of the sessions in it.
    pub keys: std::collections::HashSet<String>,
    /// Whether the events end long before: who is not in the list ended, but how and when was not looked for.
    pub newer_than_events: bool,
}

/// One session as far as the events tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Key of the session.
    pub session_key: String,
    /// When it began.
    pub start: Option<Time>,
    /// When it ended; never invented.
    pub end: Option<Time>,
    /// What is known of its end.
    pub state: SessionState,
    /// Why it ended.
    pub end_reason: Option<EndCause>,
    /// How sure this is.
    pub confidence: Confidence,
    /// The rule that decided.
    pub confidence_reason: String,
    /// The event that opened it.
    pub login: Option<SessionEvent>,
    /// The event that closed it.
    pub logout: Option<SessionEvent>,
    /// Keys of all events joined to it, in order of time.
    pub event_keys: Vec<String>,
    /// What is odd about it.
    pub flags: Vec<String>,
    /// Last sign of life.
    pub last_seen: Option<Time>,
    /// It was over by then: the product was started anew.
    pub ended_before: Option<Time>,
}

/// Rebuilds the sessions of one stream of one source.
///
/// `events` may hold other events of the stream; only those that open, close or restart count.
pub fn rebuild(
    source_key: &str,
    pairing: &Pairing,
    mut events: Vec<SessionEvent>,
    live: Option<&LiveList>,
    as_of: Time,
) -> Vec<Rebuilt> {
    events.sort_by(|a, b| a.event_key.cmp(&b.event_key));
    events.dedup_by(|a, b| a.event_key == b.event_key);
    let restarts: Vec<Time> =
        events.iter().filter(|event| pairing.restarts.contains(&event.action)).map(|event| event.time).collect();
    let mut by_key: BTreeMap<String, Vec<SessionEvent>> = BTreeMap::new();
    let mut by_account: BTreeMap<Scope, Vec<SessionEvent>> = BTreeMap::new();
    for event in events {
        let opens = pairing.opens.contains(&event.action) && event.outcome != Outcome::Failure;
        let closes = pairing.closes.contains(&event.action) && event.outcome != Outcome::Failure;
        if !opens && !closes {
            continue;
        }
        match &event.session_key {
            Some(key) => by_key.entry(key.clone()).or_default().push(event),
            None if pairing.by_account => {
                let scope = match &event.account_id {
                    Some(account) => (Some(account.clone()), None, None),
                    None => (None, event.user_name.clone(), event.src_ip.clone()),
                };
                by_account.entry(scope).or_default().push(event);
            }
            None => {}
        }
    }
    let mut rebuilt = Vec::new();
    for (key, group) in by_key {
        rebuilt.extend(with_key(source_key, pairing, &key, group));
    }
    for group in by_account.into_values() {
        rebuilt.extend(without_key(source_key, pairing, group));
    }
    for session in &mut rebuilt {
        settle(session, pairing, &restarts, live, as_of);
    }
    rebuilt.sort_by(|a, b| (a.start, a.end, &a.session_key).cmp(&(b.start, b.end, &b.session_key)));
    rebuilt
}

/// Whose logins and logouts belong together where no session is named: the account, else user and address.
type Scope = (Option<String>, Option<String>, Option<String>);

impl Rebuilt {
    fn opened(session_key: String, login: SessionEvent) -> Self {
        Self {
            session_key,
            start: Some(login.time),
            end: None,
            state: SessionState::Unknown,
            end_reason: None,
            confidence: Confidence::Low,
            confidence_reason: "no_logout".to_owned(),
            event_keys: vec![login.event_key.clone()],
            last_seen: Some(login.time),
            login: Some(login),
            logout: None,
            flags: Vec::new(),
            ended_before: None,
        }
    }

    fn orphan(session_key: String, logout: SessionEvent) -> Self {
        Self {
            session_key,
            start: None,
            end: Some(logout.time),
            state: SessionState::Closed,
            end_reason: Some(EndCause::Logout),
            confidence: Confidence::Low,
            confidence_reason: "orphan_logout".to_owned(),
            event_keys: vec![logout.event_key.clone()],
            last_seen: Some(logout.time),
            login: None,
            logout: Some(logout),
            flags: vec!["orphan_logout".to_owned()],
            ended_before: None,
        }
    }

    fn is_open(&self) -> bool {
        self.end.is_none() && self.end_reason.is_none()
    }

    fn join(&mut self, event: &SessionEvent) {
        self.event_keys.push(event.event_key.clone());
        self.last_seen = self.last_seen.max(Some(event.time));
    }

    fn close(&mut self, event: SessionEvent, confidence: Confidence, reason: String) {
        self.join(&event);
        self.end = Some(event.time);
        self.state = SessionState::Closed;
        self.end_reason = Some(EndCause::Logout);
        self.confidence = confidence;
        self.confidence_reason = reason;
        if self.start.is_some_and(|start| event.time.micros() < start.micros() - SKEW) {
            self.flag("end_before_start");
            self.confidence = Confidence::Low;
            "conflict".clone_into(&mut self.confidence_reason);
        }
        self.logout = Some(event);
    }

    fn flag(&mut self, flag: &str) {
        if !self.flags.iter().any(|known| known == flag) {
            self.flags.push(flag.to_owned());
        }
    }
}

/// Sessions whose records carry the product's session id.
fn with_key(source_key: &str, pairing: &Pairing, key: &str, mut group: Vec<SessionEvent>) -> Vec<Rebuilt> {
    // At equal times a login comes before the logout of the same session.
    group.sort_by_cached_key(|event| order(event, !pairing.opens.contains(&event.action)));
    let mut sessions: Vec<Rebuilt> = Vec::new();
    let mut starts_left = 0_usize;
    for event in group {
        let opens = pairing.opens.contains(&event.action);
        match sessions.last_mut() {
            Some(session) if opens => {
                let same_user = session.login.as_ref().is_none_or(|login| login.user_name == event.user_name);
                if pairing.nested {
                    starts_left += 1;
                    session.join(&event);
                    // Another share of the same session: it is open again.
                    (session.end, session.end_reason, session.logout) = (None, None, None);
                    session.state = SessionState::Unknown;
                } else if session.login.is_none() {
                    // The logout of this session sorted first, or came from before the window.
                    session.join(&event);
                    session.start = Some(event.time);
                    session.login = Some(event);
                    session.flags.retain(|flag| flag != "orphan_logout");
                    session.confidence = Confidence::High;
                    "id_pair".clone_into(&mut session.confidence_reason);
                } else if same_user {
                    session.join(&event);
                    session.flag("relogin");
                } else {
                    if session.is_open() {
                        session.end = Some(event.time);
                        session.state = SessionState::Closed;
                        session.end_reason = Some(EndCause::Relogin);
                        session.confidence = Confidence::High;
                        "id_pair".clone_into(&mut session.confidence_reason);
                    }
                    let parts = [Some("relogin"), Some(key), Some(event.event_key.as_str())];
                    let key = Key::new(KeyKind::Session, source_key, &parts).as_str().to_owned();
                    sessions.push(Rebuilt::opened(key, event));
                }
            }
            None if opens => {
                starts_left = 1;
                sessions.push(Rebuilt::opened(key.to_owned(), event));
            }
            Some(session) => {
                starts_left = starts_left.saturating_sub(1);
                if session.is_open() && (!pairing.nested || starts_left == 0) {
                    began_elsewhere(session, event.began);
                    session.close(event, Confidence::High, "id_pair".to_owned());
                } else {
                    session.join(&event);
                }
            }
            None => {
                let began = event.began;
                let mut session = Rebuilt::orphan(key.to_owned(), event);
                if began.is_some() {
                    session.start = began;
                    session.flags.clear();
                    session.confidence = Confidence::High;
                    "logout_with_login_time".clone_into(&mut session.confidence_reason);
                }
                sessions.push(session);
            }
        }
    }
    sessions
}

/// The closing record has its own idea of the start: the login's own time wins, a difference is said.
fn began_elsewhere(session: &mut Rebuilt, began: Option<Time>) {
    if let (Some(began), Some(start)) = (began, session.start)
        && (began.micros() - start.micros()).abs() > SKEW
    {
        session.flag("start_conflict");
    }
}

/// Sessions of products that name none: logins and logouts of one account, in order.
fn without_key(source_key: &str, pairing: &Pairing, mut group: Vec<SessionEvent>) -> Vec<Rebuilt> {
    // At equal times the logout comes first: it ends an earlier session, and the login is a new one.
    group.sort_by_cached_key(|event| order(event, pairing.opens.contains(&event.action)));
    let mut sessions: Vec<Rebuilt> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for event in group {
        if pairing.opens.contains(&event.action) {
            let account = event.account_id.as_deref().or(event.user_name.as_deref());
            let key = Key::new(KeyKind::Session, source_key, &[account, Some(&event.event_key)]);
            open.push(sessions.len());
            let mut session = Rebuilt::opened(key.as_str().to_owned(), event);
            if let Some(previous) = sessions.last_mut()
                && previous.login.is_none()
                && previous.end == session.start
            {
                previous.flag("same_second");
                session.flag("same_second");
            }
            sessions.push(session);
            continue;
        }
        // What has been open for longer than any session can be is not open any more.
        if let Some(longest) = pairing.max_session {
            open.retain(|index| sessions[*index].start.is_some_and(|start| start.plus(longest) > event.time));
        }
        let like = |index: &&usize| {
            sessions[**index].login.as_ref().is_some_and(|login| {
                event.src_ip.is_some() && (&login.src_ip, &login.user_agent) == (&event.src_ip, &event.user_agent)
            })
        };
        let alike: Vec<usize> = open.iter().filter(like).copied().collect();
        let candidates = open.len();
        let (chosen, confidence, reason) = match (candidates, alike.as_slice()) {
            (0, _) => {
                let key = Key::new(KeyKind::Session, source_key, &[Some("orphan"), Some(&event.event_key)]);
                sessions.push(Rebuilt::orphan(key.as_str().to_owned(), event));
                continue;
            }
            (1, _) => (open[0], Confidence::Medium, "single_candidate".to_owned()),
            (_, [one]) => (*one, Confidence::Medium, "context_match".to_owned()),
            _ => (open[candidates - 1], Confidence::Low, format!("ambiguous_{candidates}")),
        };
        open.retain(|index| *index != chosen);
        if confidence == Confidence::Low {
            sessions[chosen].flag(&reason);
        }
        sessions[chosen].close(event, confidence, reason);
    }
    sessions
}

/// What became of a session whose end was not seen.
fn settle(session: &mut Rebuilt, pairing: &Pairing, restarts: &[Time], live: Option<&LiveList>, as_of: Time) {
    let Some(start) = session.start.filter(|_| session.is_open()) else { return };
    if let Some(restart) = restarts.iter().filter(|restart| **restart > start).min() {
        session.state = SessionState::Closed;
        session.end_reason = Some(EndCause::Restart);
        session.confidence = Confidence::Low;
        "restart".clone_into(&mut session.confidence_reason);
        session.ended_before = Some(*restart);
        return;
    }
    let protocol = session.login.as_ref().and_then(|login| login.protocol.as_deref());
    let listed = pairing.live_protocols.is_empty()
        || protocol.is_some_and(|protocol| pairing.live_protocols.iter().any(|known| known == protocol));
    if let Some(live) = live.filter(|live| listed && start.micros() < live.seen_at.micros() - SKEW) {
        if live.keys.contains(&session.session_key) {
            session.state = SessionState::Active;
            session.confidence = Confidence::High;
            "live_poll".clone_into(&mut session.confidence_reason);
        } else {
            session.state = SessionState::Closed;
            session.end_reason = (!live.newer_than_events).then_some(EndCause::Vanished);
            session.confidence = Confidence::Medium;
            "vanished".clone_into(&mut session.confidence_reason);
            session.ended_before = Some(live.seen_at);
        }
        return;
    }
    if pairing.max_session.is_some_and(|longest| start.plus(longest) <= as_of) {
        session.state = SessionState::PresumedClosed;
    }
}

type SortKey = (Time, bool, Option<Time>, Option<i64>, String);

/// The kind decides before the recording time and the running number: products record whole seconds, and in one second
/// only the kind tells what came first.
fn order(event: &SessionEvent, later: bool) -> SortKey {
    (event.time, later, event.logged_time, event.sequence, event.event_key.clone())
}

#[cfg(test)]
mod tests;
