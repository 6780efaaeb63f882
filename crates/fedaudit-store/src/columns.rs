//! The tables that the store adds to `events` and `sessions`: `coverage`, `rejected`, `amendments`, `identities`.

use fedaudit_core::columns::{Column, Filled, Kind, Table};

const fn column(name: &'static str, kind: Kind, nullable: bool, meaning: &'static str) -> Column {
    Column { name, kind, nullable, filled: Filled::Engine, words: Vec::new, meaning, ocsf: "" }
}

const fn always(name: &'static str, kind: Kind, meaning: &'static str) -> Column {
    column(name, kind, false, meaning)
}

const fn perhaps(name: &'static str, kind: Kind, meaning: &'static str) -> Column {
    column(name, kind, true, meaning)
}

/// What was read, and what of it is certain. One row per window that was read to its end; counts stand in the first row of
/// a fetch, so that they can be added up.
pub static COVERAGE: Table = Table {
    name: "coverage",
    columns: &[
        always("source", Kind::Text, "name of the source when it was read"),
        always("stream", Kind::Text, "feed of the product"),
        always("table_name", Kind::Text, "the table that the rows went to"),
        always("source_key", Kind::Text, "stable identity of the source"),
        always("product", Kind::Text, "product of the source"),
        always("fetch_id", Kind::Text, "the fetch; its rows carry the same"),
        always("part", Kind::Int32, "number of this window within the fetch, from 0"),
        always("status", Kind::Text, "'complete', 'empty', 'partial', 'denied', 'failed', 'expired'"),
        perhaps("asked_from", Kind::Time, "begin of the window that was asked; NULL: as far back as there is anything"),
        perhaps("asked_to", Kind::Time, "its end, outside"),
        perhaps("covered_from", Kind::Time, "begin of a window that was read to its end; NULL: nothing was"),
        perhaps("covered_to", Kind::Time, "its end, outside"),
        perhaps("sealed_to", Kind::Time, "up to here nothing late is expected any more; later rows are amendments"),
        always("complete", Kind::Boolean, "whether everything asked for was read"),
        always("rows_returned", Kind::Int64, "rows inside the window"),
        always("rows_new", Kind::Int64, "of them stored"),
        always("rows_duplicate", Kind::Int64, "of them stored before, or sent twice"),
        always("rows_rejected", Kind::Int64, "records that could not be decoded, see 'rejected'"),
        always("rows_late", Kind::Int64, "of the new ones: written by the product after their window was sealed"),
        always("rows_edited", Kind::Int64, "stored before with other values: a finding, see 'amendments'"),
        perhaps("server_count", Kind::Int64, "the product's own count, if it states one"),
        always("pages", Kind::Int64, "pages read"),
        perhaps("end_reason", Kind::Text, "why reading ended"),
        perhaps("retention_floor", Kind::Time, "the product kept nothing older"),
        always("lateness_s", Kind::Int64, "how long after the fact a row may still appear, in seconds"),
        perhaps("clock_offset_ms", Kind::Int64, "the product's clock minus ours"),
        always("clock_setbacks", Kind::Int64, "how often our clock had been found set back when reading began"),
        perhaps("error_kind", Kind::Text, "kind of the error that ended reading"),
        perhaps("error_text", Kind::Text, "its text"),
        perhaps("notes", Kind::List, "what else is to be known"),
        always("plugin", Kind::Text, "plugin that read it"),
        always("plugin_version", Kind::Text, "version of that plugin"),
        always("as_of", Kind::Time, "when reading began, by our clock"),
        always("fetched_at", Kind::Time, "when it ended"),
    ],
};

/// Records that could not be decoded, each with its bytes.
pub static REJECTED: Table = Table {
    name: "rejected",
    columns: &[
        always("rejected_key", Kind::Text, "our key of the record, 32 hex digits: source, stream and bytes"),
        always("source", Kind::Text, "name of the source when it was read"),
        always("stream", Kind::Text, "feed of the product"),
        always("source_key", Kind::Text, "stable identity of the source"),
        always("product", Kind::Text, "product of the source"),
        perhaps("asked_from", Kind::Time, "begin of the window that was asked"),
        perhaps("asked_to", Kind::Time, "its end, outside"),
        always("reason", Kind::Text, "why, and where in the record"),
        always("raw", Kind::Text, "the bytes as received, lossily decoded where they are no UTF-8"),
        always("plugin", Kind::Text, "plugin that could not decode it"),
        always("plugin_version", Kind::Text, "version of that plugin"),
        always("fetched_at", Kind::Time, "when we got it first"),
        always("fetch_id", Kind::Text, "the fetch that brought it first"),
    ],
};

/// What changed at a product after its window was sealed or its record was stored.
pub static AMENDMENTS: Table = Table {
    name: "amendments",
    columns: &[
        always("amendment_key", Kind::Text, "our key of the finding, 32 hex digits"),
        always(
            "kind",
            Kind::Text,
            "'late': appeared after its window was sealed; 'edited': stored before with other values",
        ),
        always("source", Kind::Text, "name of the source when it was read"),
        always("stream", Kind::Text, "feed of the product"),
        always("source_key", Kind::Text, "stable identity of the source"),
        always("key", Kind::Text, "'event_key' of the row concerned"),
        always("time", Kind::Time, "time of the row as it is now"),
        perhaps("changed", Kind::List, "columns whose values differ from the stored row"),
        perhaps("stored_sha256", Kind::Text, "digest of the record that was stored first, and stays"),
        always("found_sha256", Kind::Text, "digest of the record as it is now"),
        always("raw", Kind::Json, "the record as it is now"),
        perhaps("stored_fetched_at", Kind::Time, "when the stored record was read"),
        always("fetched_at", Kind::Time, "when this was found"),
        always("fetch_id", Kind::Text, "the fetch that found it"),
    ],
};

/// Which system answered under which name. The last row of a source is the one that holds.
pub static IDENTITIES: Table = Table {
    name: "identities",
    columns: &[
        always("source", Kind::Text, "name of the source"),
        always("source_key", Kind::Text, "its stable identity, the first part of every key"),
        always("product", Kind::Text, "product of the source"),
        perhaps("fingerprint", Kind::Text, "what the product says of itself; NULL where it says nothing"),
        perhaps("product_version", Kind::Text, "version the product reported"),
        always("pinned_at", Kind::Time, "since when"),
        always("reason", Kind::Text, "'first_contact', 'renamed', 'fingerprint_seen', 'confirmed'"),
    ],
};
