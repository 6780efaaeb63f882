//! Logins and logouts of the learning platform. Its log has no session ids: what it says of a session is an inference,
//! made here once, straight from the rule, so that the inference of the code under test can be judged by it.

use std::collections::HashMap;

use super::people::{CANVAS_ROOT_ACCOUNT, Client, Staff, guess, stranger};
use super::{Act, DAY, Growth, Product, SECOND};
use crate::random::Random;
use crate::records::{Canvas, CanvasEvent, CanvasLogin, CanvasPageView, CanvasUser};

const CANVAS: Product = Product::Canvas;

/// What a page view tells of a request; none if the request has no stored page view.
type View = Option<(String, &'static str)>;

/// One login as it really went.
#[derive(Debug, Clone)]
struct Visit {
    staff: usize,
    /// Seconds.
    start: i64,
    /// When the user clicked "log out"; none if they never did.
    logout: Option<i64>,
    /// When the session was really over.
    really: i64,
    login_view: View,
    logout_view: View,
}

/// Grows about `budget` rows.
pub(super) fn grow(growth: &mut Growth, random: &mut Random, budget: usize) -> Canvas {
    let mut visits: Vec<Vec<Visit>> = vec![Vec::new(); growth.staff.len()];
    let mut expected = 0;
    while expected < budget {
        if random.chance(growth.failure_rate) {
            failed_login(growth, random);
        }
        let visit = visit(growth, random);
        expected += 1 + usize::from(visit.logout.is_some());
        visits[visit.staff].push(visit);
    }
    let mut canvas = Canvas {
        root_account_id: CANVAS_ROOT_ACCOUNT,
        root_account_name: "Corp Example Academy".to_owned(),
        root_account_uuid: random.token(40),
        events: Vec::with_capacity(expected),
        logins: Vec::new(),
        users: Vec::new(),
        page_views: HashMap::new(),
    };
    for (index, visits) in visits.iter_mut().enumerate() {
        let staff = growth.staff[index].clone();
        enrol(&mut canvas, &staff);
        visits.sort_by_key(|visit| visit.start);
        record(growth, random, &mut canvas, &staff, visits);
    }
    canvas.events.sort_unstable_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    canvas
}

fn user_id(staff: &Staff) -> i64 {
    4400 + staff.index as i64
}

fn login_id(staff: &Staff) -> i64 {
    9100 + staff.index as i64
}

fn enrol(canvas: &mut Canvas, staff: &Staff) {
    canvas.logins.push(CanvasLogin {
        id: login_id(staff),
        user_id: user_id(staff),
        account_id: CANVAS_ROOT_ACCOUNT,
        unique_id: staff.canvas_login(),
    });
    canvas.users.push(CanvasUser { id: user_id(staff), name: staff.display_name(), login_id: staff.canvas_login() });
}

/// The platform records no failed login at all.
fn failed_login(growth: &mut Growth, random: &mut Random) {
    let at = growth.calendar.second(random) * SECOND;
    let staff = growth.anyone(random);
    let (user, ip) = if random.chance(0.4) {
        (guess(random), stranger(random))
    } else {
        (staff.name.as_str(), staff.client(random).ip.as_str())
    };
    growth.missed(CANVAS, at, Act::new("auth.login", user).from(ip).failed(true));
}

fn view(random: &mut Random, client: &Client) -> View {
    random.chance(0.7).then(|| (client.ip.clone(), client.agent))
}

fn visit(growth: &Growth, random: &mut Random) -> Visit {
    // Everyone learns alike; the others favour the first of the staff.
    let staff = &growth.staff[random.index(growth.staff.len())];
    let client = staff.client(random).clone();
    let start = growth.calendar.open_end(random);
    let length = random.range(120, 5 * 3600);
    let latest = growth.calendar.to / SECOND - 1;
    let logout = Some(start + length).filter(|end| *end <= latest && random.chance(0.55));
    let login_view = view(random, &client);
    let logout_view = view(random, &client);
    // Without a click the session lives on until it has been idle for long enough.
    let really = logout.unwrap_or(start + length + 3 * 3600);
    Visit { staff: staff.index, start, logout, really, login_view, logout_view }
}

/// Writes the rows of one login's visits, and what they tell of its sessions.
fn record(growth: &mut Growth, random: &mut Random, canvas: &mut Canvas, staff: &Staff, visits: &mut [Visit]) {
    let ends = pair(visits);
    for (visit, end) in visits.iter().zip(ends) {
        push(growth, random, canvas, staff, ("login", "auth.login"), visit.start, visit.login_view.as_ref());
        if let Some(at) = visit.logout {
            push(growth, random, canvas, staff, ("logout", "auth.logout"), at, visit.logout_view.as_ref());
        }
        let start = visit.start * SECOND;
        let (state, end) = match end {
            Some(end) => ("closed", Some(end * SECOND)),
            None => (growth.open_state(start), None),
        };
        growth.session(CANVAS, (None, &staff.name), start, (state, end), Some(visit.really * SECOND));
    }
}

fn push(
    growth: &mut Growth,
    random: &mut Random,
    canvas: &mut Canvas,
    staff: &Staff,
    (event_type, action): (&'static str, &'static str),
    created_at: i64,
    view: Option<&(String, &'static str)>,
) {
    let page_view = view.map(|(remote_ip, user_agent)| {
        let id = random.uuid();
        let view = CanvasPageView { id: id.clone(), remote_ip: remote_ip.clone(), user_agent };
        canvas.page_views.insert(id.clone(), view);
        id
    });
    let ip = view.map(|(ip, _)| ip.as_str());
    growth.saw(CANVAS, created_at * SECOND, Act { ip, ..Act::new(action, &staff.name) });
    canvas.events.push(CanvasEvent {
        id: random.uuid(),
        created_at,
        event_type,
        login_id: login_id(staff),
        account_id: CANVAS_ROOT_ACCOUNT,
        user_id: user_id(staff),
        page_view,
    });
}

/// Says for each visit (by start) when the log makes it end. A logout that reasonable readings of the rule would give to
/// different sessions is taken back: that user just closed the browser.
///
/// The rule: a logout closes the one open session whose login agrees with it in address and client program; if none or
/// several do, the session that was opened last. Readings differ in whether sessions older than a day are still open, and
/// in whether two unknown contexts agree.
fn pair(visits: &mut [Visit]) -> Vec<Option<i64>> {
    let mut ends = vec![None; visits.len()];
    let mut open: Vec<usize> = Vec::new();
    let mut logouts: Vec<(i64, usize)> =
        visits.iter().enumerate().filter_map(|(index, visit)| visit.logout.map(|at| (at, index))).collect();
    logouts.sort_unstable();
    let mut next = 0;
    for (at, index) in logouts {
        // In one second the logout comes first: whoever logs in anew has logged out before.
        while next < visits.len() && visits[next].start < at {
            open.push(next);
            next += 1;
        }
        let context = visits[index].logout_view.clone();
        let read = |old_counts: bool, unknown_agrees: bool| {
            let candidates =
                || open.iter().copied().filter(|visit| old_counts || at - visits[*visit].start < DAY / SECOND);
            let agrees = |visit: &usize| (unknown_agrees || context.is_some()) && visits[*visit].login_view == context;
            let mut matching = candidates().filter(agrees);
            match (matching.next(), matching.next()) {
                (Some(only), None) => Some(only),
                _ => candidates().next_back(),
            }
        };
        let closes = read(true, false);
        let readings = [read(true, true), read(false, false), read(false, true)];
        match closes {
            Some(closes) if readings.iter().all(|reading| *reading == Some(closes)) => {
                open.retain(|visit| *visit != closes);
                ends[closes] = Some(at);
            }
            _ => {
                visits[index].logout = None;
            }
        }
    }
    ends
}
