//! The list of cases. Numbers are stable: a case that goes leaves a gap.

pub(super) mod described;
mod faults;
mod leaving;
mod logins;
mod paging;
mod pushed;
mod rows;
mod times;

use super::Case;

macro_rules! cases {
    ($($id:ident $module:ident::$name:ident $shows:literal;)*) => {
        /// Every case, in order.
        pub(super) const CASES: &[Case] = &[$(Case {
            id: stringify!($id),
            name: stringify!($name),
            shows: $shows,
            run: |kit| Box::pin($module::$name(kit)),
        }),*];
    };
}

cases! {
    U1 described::streams_are_described "every stream has a name, a time field, columns that exist and blind spots that can be checked";
    U2 described::samples_parse "the samples in the plugin's own documents are valid settings";
    U3 described::unknown_keys_fail "an unknown or misspelt key is a configuration error";
    U4 described::secrets_are_references "a secret in place of its reference is refused and not repeated";
    U5 described::a_missing_secret_is_named "a secret that is not there is a configuration error, and the product is not asked";
    U6 described::plain_http_is_refused "credentials do not travel over plain http to another machine";
    U7 described::the_address_is_an_origin "an address with credentials, a path or another scheme is refused and not repeated";
    U8 described::unknown_streams_are_errors "a stream that does not exist is an error, not an empty answer";

    U10 paging::nothing_is_nothing "a product without records gives no rows, no errors and an end";
    U11 paging::everything_comes_once "every record of every stream comes, once, with its time in UTC, and nothing else";
    U12 paging::page_sizes_do_not_matter "pages of one, few, exactly all and one less than all records give the same rows";
    U13 paging::newest_first_is_the_same "the other direction gives the same rows, and the frontier is never broken";
    U14 paging::ties_over_page_edges "more records in one second than a page holds all come once";
    U15 paging::cursors_go_on_in_a_fresh_source "after every page a serialised cursor goes on in another process";
    U16 paging::a_page_can_be_asked_twice "a page whose answer was lost is asked for again, and nothing is lost";
    U17 paging::streams_at_once "all streams read at once give what each gives alone, with one login";
    U18 paging::windows_at_once "as many windows at once as declared give what one window gives";
    U19 paging::counts_are_true "a count that the product states is the number of records, and brings no rows";
    U20 paging::following_ends "waiting for new rows ends by itself when none come";

    U21 times::bounds_are_half_open "a row at the first instant of a window is in, one at its end belongs to the next";
    U22 times::instants "a window of one microsecond at a record's time holds the record";
    U23 times::windows_add_up "adjacent windows together hold everything";
    U24 times::open_windows "a window without beginning or end reaches as far as the records do";
    U25 times::past_and_future "a window before the first and after the last record holds nothing and ends";
    U26 times::empty_windows "a window that ends before it begins holds nothing and ends";
    U27 times::our_clock_does_not_matter "a clock that is wrong by ten minutes changes no row";

    U30 rows::required_columns_are_filled "words are of the closed vocabularies, keys and digests have their form";
    U31 rows::unknown_is_null "no column holds an empty text, a dash or a made-up zero time";
    U32 rows::raw_is_what_was_sent "raw is byte for byte what the product sent, and its digest is right";
    U33 rows::derived_columns_are_valid "JSON parses, addresses are canonical, ports are ports, names are folded";
    U34 rows::keys_are_stable "keys are unique, the same in every reading, and follow the identity and not the name of the source";
    U35 rows::a_bad_record_is_rejected "a record that cannot be decoded is kept with its bytes and a reason, and the others come";

    U40 pushed::conditions_lose_nothing "a pushed condition returns at least the rows that satisfy it: NULL, case, wildcards, lists";
    U41 pushed::conditions_together "several conditions, a window, small pages and the other direction lose nothing together";
    U42 pushed::exact_means_exact "a column declared exact returns no row more";

    U50 logins::check_tells "check proves the login and tells who answers and what may be read";
    U51 logins::a_wrong_credential_is_refused_once "a wrong credential is said to be wrong and not tried again";
    U52 logins::no_right_is_not_empty "an account without rights is denied, in reading and in check";
    U53 logins::a_lost_login_is_renewed "a login that ended between two pages is made again, and nothing is lost";
    U54 logins::a_lost_login_is_renewed_once "many readers that lose one login make one new one";
    U55 logins::a_refused_renewal_is_an_error "a login that cannot be made again is an error, not an end";
    U56 logins::a_new_credential_is_taken "after close, a credential that was changed in its place is used";

    U60 leaving::no_secret_is_shown "no secret in Debug, errors, logs, notes, cursors, rows and rejected records, in all cases";
    U61 leaving::everything_is_given_back "logins and collectors are given back after reading, after one page, after an error and after check";
    U62 leaving::an_abandoned_fetch_leaves_nothing "a fetch that is dropped half-way can be closed, and reading again gives everything";
    U63 leaving::close_is_harmless "close without login, twice, and before another fetch does no harm";

    U70 faults::throttled_once "429 with Retry-After is waited for, counted, and loses nothing";
    U71 faults::throttled_for_ever "429 for ever is an error within the deadline";
    U72 faults::unavailable_once "500, 502, 503 or 504 at any request loses nothing, or is an error";
    U73 faults::unavailable_for_ever "503 for ever is an error, at the first request and in the middle";
    U74 faults::refused_in_the_middle "401, 403 and 404 in the middle are errors of their kind, not an end";
    U75 faults::cut_answers "an answer that is cut off loses nothing, or is an error";
    U76 faults::pages_for_people "HTML with status 200 is an error, never an empty answer";
    U77 faults::wrong_shapes "JSON of another shape is an error, never an empty answer";
    U78 faults::empty_bodies "an empty body with status 200 is an error, never an empty answer";
    U79 faults::late_answers "an answer after the deadline is a time-out, in time";
    U80 faults::redirects_stay_home "a redirect to another place is an error, and nothing is sent there";
    U81 faults::links_stay_home "a link to another place is not followed, and nothing is sent there";
    U82 faults::compressed_answers "a compressed answer gives the same rows";
    U83 faults::nobody_answers "a product that is not there is an error that says so";
    U84 faults::a_proxy_is_gone_through "a configured proxy is on every way, and is told no login";
}
