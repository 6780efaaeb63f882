//! The routes of the authentication log: whose rows answer, and to whom.

use std::sync::atomic::Ordering;

use super::directory::READER_ID;
use super::listing::List;
use super::{Asked, Reply, Server};

impl Server {
    pub(super) fn audit(&self, asked: &Asked<'_>, kind: &str, id: &str) -> Reply {
        // The object is looked up before the right: a missing one is 404 to everybody.
        let (kind, id, list) = match kind {
            "logins" if self.options.only_pseudonyms => return Reply::not_found(),
            "logins" | "pseudonyms" => match self.login_number(id) {
                Some(id) => (kind, id, self.listings.of_login(id)),
                None => return Reply::not_found(),
            },
            "users" => match self.user_number(id) {
                Some(id) => (kind, id, self.listings.of_user(id)),
                None => return Reply::not_found(),
            },
            "accounts" => match self.root_account_number(id) {
                Some(id) => (kind, id, List::All),
                None => return Reply::not_found(),
            },
            _ => return Reply::not_found(),
        };
        let own = kind == "users" && id == READER_ID;
        if !self.options.may_view && !own {
            return self.denied();
        }

        let paging = self.paging(asked);
        // A merged list loses a row between two pages: the bookmark is that of the row after the page.
        let lost = usize::from(kind == "users" && self.options.merged_user_lists);
        let hidden = if asked.number == 1 { self.options.arrivals } else { 0 };
        let events = &self.world.canvas.events;
        let place = |position: usize| (self.listings.time(position, events), self.listings.row_number(position));
        let shown_until = self.shown_until.load(Ordering::Relaxed);
        let is_to_come = |position: usize| self.listings.time(position, events) > shown_until;
        let skips = |position: usize| position < hidden || is_to_come(position) || paging.skips(place(position));
        let stops = |position: usize| paging.stops(self.listings.time(position, events));
        let (mut rows, mut more) = self.listings.page(list, paging.size + lost, skips, stops);
        let mut next = rows.last().map(|position| self.bookmark(place(*position), lost > 0)).filter(|_| more);
        rows.truncate(paging.size);
        if paging.is_gap && !rows.is_empty() {
            rows.clear();
            more = true;
            next = Some(format!("{}~", if paging.is_first() { "bookmark:" } else { paging.bookmark }));
        }
        if self.options.endless {
            more = true;
            next = Some("bookmark:gone".to_owned());
        }

        let path = format!("authentication/{kind}/{id}");
        let links = self.links(asked, &path, &paging, next.as_deref().filter(|_| more));
        let mut reply = Reply::json(200, self.document(&rows, asked)).header("link", links);
        reply.records = rows.len() as u64;
        reply
    }
}
