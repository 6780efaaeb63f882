//! The columns of `events` and `sessions`, the borrowed rows that plugins fill, and the builders that turn rows into
//! Arrow arrays.
//!
//! A line of a table below reads: who fills it, name, type, whether it is always present, meaning, OCSF path.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::{
    BooleanBuilder, Int32Builder, Int64Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::SchemaRef;

use crate::columns::{Column, Filled, Kind, Table};
use crate::key::{Key, KeyKind, sha256_hex};
use crate::words::{AddressKind, Confidence, EndCause, Outcome, SessionState, TimeQuality, UserType};
use crate::{Action, Error, ErrorKind, Result, Time};

macro_rules! kind {
    (text) => {
        Kind::Text
    };
    (json) => {
        Kind::Json
    };
    (time) => {
        Kind::Time
    };
    (int32) => {
        Kind::Int32
    };
    (int64) => {
        Kind::Int64
    };
    (boolean) => {
        Kind::Boolean
    };
    (list) => {
        Kind::List
    };
    (word) => {
        Kind::Text
    };
}

macro_rules! vocabulary {
    (word($word:ident)) => {
        || $word::ALL.iter().map(|word| word.as_str()).collect()
    };
    ($kind:ident) => {
        Vec::new
    };
}

macro_rules! filled {
    (row) => {
        Filled::Row
    };
    (core) => {
        Filled::Core
    };
    (engine) => {
        Filled::Engine
    };
}

macro_rules! field {
    ($a:lifetime text required) => { &$a str };
    ($a:lifetime text optional) => { Option<&$a str> };
    ($a:lifetime json $null:ident) => { field!($a text $null) };
    ($a:lifetime time required) => { Time };
    ($a:lifetime time optional) => { Option<Time> };
    ($a:lifetime int32 required) => { i32 };
    ($a:lifetime int32 optional) => { Option<i32> };
    ($a:lifetime int64 required) => { i64 };
    ($a:lifetime int64 optional) => { Option<i64> };
    ($a:lifetime boolean required) => { bool };
    ($a:lifetime boolean optional) => { Option<bool> };
    ($a:lifetime list optional) => { &$a [&$a str] };
    ($a:lifetime word($word:ident) required) => { $word };
    ($a:lifetime word($word:ident) optional) => { Option<$word> };
}

macro_rules! cells {
    (text) => { StringBuilder };
    (json) => { StringBuilder };
    (word) => { StringBuilder };
    (time) => { TimestampMicrosecondBuilder };
    (int32) => { Int32Builder };
    (int64) => { Int64Builder };
    (boolean) => { BooleanBuilder };
    (list) => { ListBuilder<StringBuilder> };
}

macro_rules! cell {
    (word($word:ident) required, $value:expr) => {
        Some($value.as_str())
    };
    (word($word:ident) optional, $value:expr) => {
        $value.map($word::as_str)
    };
    (list optional, $value:expr) => {
        (!$value.is_empty()).then_some($value)
    };
    ($kind:ident required, $value:expr) => {
        Some($value)
    };
    ($kind:ident optional, $value:expr) => {
        $value
    };
}

/// Lists a table once; everything else is derived.
macro_rules! table {
    (
        $(#[$meta:meta])* $table:ident = $name:literal, $(#[$rowmeta:meta])* $row:ident, $columns:ident;
        $($who:ident $column:ident: $kind:ident $(($word:ident))? $null:ident, $meaning:literal, $ocsf:literal;)*
    ) => {
        $(#[$meta])*
        pub static $table: Table = Table {
            name: $name,
            columns: &[$(Column {
                name: stringify!($column),
                kind: kind!($kind),
                nullable: matches!(stringify!($null).as_bytes(), b"optional"),
                filled: filled!($who),
                words: vocabulary!($kind $(($word))?),
                meaning: $meaning,
                ocsf: $ocsf,
            }),*],
        };
        table!(@split $table, $(#[$rowmeta])* $row, $columns; [] [];
            $($who $column: $kind $(($word))? $null, $meaning;)*);
    };
    // Sorts the lines into those of the row and those of a page.
    (@split $table:ident, $(#[$m:meta])* $row:ident, $columns:ident; [$($rows:tt)*] [$($page:tt)*];
        row $column:ident: $kind:ident $(($word:ident))? $null:ident, $meaning:literal; $($rest:tt)*) => {
        table!(@split $table, $(#[$m])* $row, $columns; [$($rows)* $column [$kind $(($word))? $null] $meaning;]
            [$($page)* $column $kind;]; $($rest)*);
    };
    (@split $table:ident, $(#[$m:meta])* $row:ident, $columns:ident; [$($rows:tt)*] [$($page:tt)*];
        core $column:ident: $kind:ident $null:ident, $meaning:literal; $($rest:tt)*) => {
        table!(@split $table, $(#[$m])* $row, $columns; [$($rows)*] [$($page)* $column $kind;]; $($rest)*);
    };
    (@split $table:ident, $(#[$m:meta])* $row:ident, $columns:ident; [$($rows:tt)*] [$($page:tt)*];
        engine $column:ident: $kind:ident $null:ident, $meaning:literal; $($rest:tt)*) => {
        table!(@split $table, $(#[$m])* $row, $columns; [$($rows)*] [$($page)*]; $($rest)*);
    };
    (@split $table:ident, $(#[$rowmeta:meta])* $row:ident, $columns:ident;
        [$($column:ident [$($type:tt)*] $meaning:literal;)*] [$($cell:ident $kind:ident;)*];) => {
        $(#[$rowmeta])*
        #[derive(Clone, Debug)]
        pub struct $row<'a> {
            $(#[doc = $meaning] pub $column: field!('a $($type)*),)*
        }

        #[derive(Debug, Default)]
        struct $columns {
            rows: usize,
            $($cell: Lazy<cells!($kind)>,)*
        }

        impl $columns {
            fn expect(&mut self, rows: usize) {
                $((self.$cell.rows, self.$cell.bytes) = (rows, rows * BYTES_EXPECTED);)*
            }

            fn push_row(&mut self, row: &$row<'_>) {
                $(self.$column.push(cell!($($type)*, row.$column));)*
                self.rows += 1;
            }

            fn finish(&mut self) -> Result<RecordBatch> {
                static PAGE: LazyLock<SchemaRef> = LazyLock::new(|| $table.page_schema());
                let rows = std::mem::take(&mut self.rows);
                let arrays = vec![$(self.$cell.finish(rows, kind!($kind))),*];
                RecordBatch::try_new(Arc::clone(&PAGE), arrays)
                    .map_err(|error| Error::new(ErrorKind::Internal, format!("page of rows: {error}")))
            }
        }
    };
}

table! {
    /// One row per audit record of a product.
    EVENTS = "events",
    /// One audit record, borrowed from the page it was decoded from.
    EventRow, EventColumns;
    core event_key: text required, "our key of the record, 32 hex digits", "metadata.uid";
    row time: time required, "when it happened; falls back to logged, then fetched time ('time_quality' tells)", "time, time_dt";
    row time_original: text optional, "the product's own text or number, verbatim", "metadata.original_time";
    row time_quality: word(TimeQuality) required, "'exact', 'seconds', 'assumed_zone', 'logged', 'fetched', 'clamped'", "metadata.debug";
    row logged_time: time optional, "when the product stored the record", "metadata.logged_time";
    engine source: text required, "name of the configured source instance, e.g. 'nas-1'", "metadata.reporter.name";
    engine product: text required, "product of the source: 'truenas', 'vsphere', 'sps', 'canvas'", "metadata.product.name";
    engine stream: text required, "feed of the product that brought it", "metadata.log_name";
    row event_code: text required, "the product's own event name", "metadata.event_code";
    row action: word(Action) required, "what was done, a word of the closed vocabulary", "activity_name";
    row outcome: word(Outcome) required, "'success', 'failure', 'unknown'", "status_id";
    row outcome_code: text optional, "product code (NTSTATUS name, verdict)", "status_code";
    row outcome_reason: text optional, "the product's text on the cause", "status_detail";
    row severity_id: int32 required, "OCSF severity; default 1", "severity_id";
    core class_uid: int32 required, "derived from 'action'", "class_uid, category_uid";
    core activity_id: int32 required, "derived from 'action'", "activity_id, type_uid";
    row message: text optional, "human text of the product", "message";
    engine person: text optional, "canonical person id from the identity map", "enrichments[]";
    row user_name: text optional, "account that acted or tried to log on: bare name, folded", "actor.user.name; in 3002 user.name";
    row user_domain: text optional, "realm of the account, folded; NULL for local accounts", "user.domain";
    row user_uid: text optional, "product's id of the account holder", "user.uid";
    row user_original: text optional, "account as the product wrote it", "unmapped.user_original";
    row user_type: word(UserType) required, "'human', 'admin', 'service', 'system', 'node', 'unknown'", "user.type_id";
    row account_id: text optional, "product's id of the login or API key", "user.account.uid, session.credential_uid";
    row target_user: text optional, "account acted upon, or account used on the far server", "user.name in 3001/3005/3007; else unmapped.target_user";
    row src_ip: text optional, "client address, canonical text", "src_endpoint.ip";
    row src_port: int32 optional, "client port", "src_endpoint.port";
    row src_host: text optional, "client name, lower case", "src_endpoint.hostname";
    row src_kind: word(AddressKind) required, "'ip', 'host', 'unix_socket', 'loopback', 'proxy', 'none', 'unparsed'", "src_endpoint.type";
    row src_original: text optional, "verbatim", "unmapped.src_original";
    row user_agent: text optional, "client program", "http_request.user_agent";
    row dst_ip: text optional, "server address", "dst_endpoint.ip";
    row dst_port: int32 optional, "server port", "dst_endpoint.port";
    row dst_host: text optional, "server name", "dst_endpoint.hostname";
    row service: text optional, "logical service: 'MIDDLEWARE', 'SMB', 'vCenter', …", "service.name";
    row protocol: text optional, "'SSH', 'RDP', 'WEBSOCKET', 'REST', … upper case", "connection_info.protocol_name, else unmapped.protocol";
    row auth_method: text optional, "how the account proved itself: password, password+otp, api_key, token, …", "auth_protocol (id 99) and auth_factors[]";
    row is_mfa: boolean optional, "more than one factor was presented", "is_mfa";
    row is_remote: boolean optional, "came over a network", "is_remote";
    row secure_transport: boolean optional, "whether the product calls the transport secure", "negated is_cleartext";
    row operation: text optional, "API method or command line", "api.operation, process.cmd_line";
    row target_type: text optional, "'file', 'share', 'vm', 'host', 'account', 'dataset', …", "resources[0].type";
    row target_name: text optional, "name of the target", "file.path, resources[0].name";
    row target_uid: text optional, "product id of the target", "resources[0].uid";
    row resources: json optional, "all objects referred to: list of '{type,name,uid}'", "resources[]";
    row session_id: text optional, "the product's session id", "session.uid, actor.session.uid";
    core session_key: text optional, "our key of the session, 32 hex digits", "unmapped.session_key";
    row correlation_id: text optional, "product's chain or request id", "metadata.correlation_uid";
    row sequence: int64 optional, "product's running number", "metadata.sequence";
    row policy: text optional, "rule that decided", "policy.name";
    row record_id: text optional, "product's id of this record", "metadata.original_event_uid";
    row source_node: text optional, "cluster node or controller that recorded it", "metadata.loggers[0].name";
    engine source_key: text required, "stable identity of the instance; survives renaming the source", "metadata.reporter.uid";
    row product_version: text optional, "version the product reports of itself", "metadata.product.version";
    row tenant: text optional, "organisation or root account inside the product", "metadata.tenant_uid";
    engine plugin: text required, "plugin that read it", "metadata.transformation_info_list[0].name";
    engine plugin_version: text required, "version of that plugin", "metadata.transformation_info_list[0].uid";
    engine fetched_at: time required, "when we got it", "metadata.processed_time";
    engine fetch_id: text required, "the fetch that brought it", "metadata.labels[]";
    row quality_flags: list optional, "e.g. 'ip_unparsed', 'dup_id', 'future_time'", "metadata.debug";
    row unmapped: json optional, "fields of the record without a column", "unmapped";
    row raw: json required, "the complete record as received, byte for byte, known secrets replaced; a SOAP record in its VI JSON form; of a rebuilt session the list of its event keys", "raw_data";
    core raw_sha256: text required, "SHA-256 of 'raw', hex", "raw_data_hash (algorithm 3), raw_data_size";
}

table! {
    /// One row per session as best known now.
    SESSIONS = "sessions",
    /// One session, borrowed from the page it was decoded from.
    SessionRow, SessionColumns;
    core session_key: text required, "our key of the session, 32 hex digits", "metadata.uid";
    engine source: text required, "source instance", "metadata.reporter.name";
    engine product: text required, "product of the source: 'truenas', 'vsphere', 'sps', 'canvas'", "metadata.product.name";
    engine stream: text required, "feed of the product that brought it", "metadata.log_name";
    row session_id: text optional, "product's session id; NULL for Canvas", "session.uid";
    row alt_session_id: text optional, "second id (TrueNAS 'login_id', SPS 'recording.session_id')", "session.uid_alt";
    engine person: text optional, "from the identity map", "enrichments[]";
    row user_name: text optional, "session owner, folded", "user.name";
    row user_domain: text optional, "realm of the account, folded; NULL for local accounts", "user.domain";
    row user_uid: text optional, "product's id of the account holder", "user.uid";
    row user_original: text optional, "account as the product wrote it", "unmapped.user_original";
    row user_type: word(UserType) required, "as in 'events'", "user.type_id";
    row account_id: text optional, "product's id of the login or API key", "user.account.uid, session.credential_uid";
    row target_user: text optional, "account used on the server behind a gateway", "unmapped.target_user";
    row start_time: time optional, "NULL only for an orphan logout", "start_time, session.created_time";
    row start_time_original: text optional, "the product's own text of the start", "metadata.original_time";
    row end_time: time optional, "NULL while active or when unknown; never invented", "end_time";
    row end_time_original: text optional, "the product's own text of the end", "unmapped.end_time_original";
    core duration_s: int64 optional, "whole seconds from start to end; NULL where one is unknown or they are reversed", "duration / 1000";
    row reported_duration_s: int64 optional, "the product's own figure", "unmapped";
    row last_seen_at: time optional, "last poll or event that showed it alive", "unmapped.last_seen_at";
    row last_activity_at: time optional, "last user action the product states (vSphere 'lastActiveTime')", "unmapped.last_activity_at";
    row is_active: boolean optional, "true, false, NULL = cannot be known", "unmapped.is_active";
    row state: word(SessionState) required, "'active', 'closed', 'presumed_closed', 'rejected', 'unknown'", "activity_id 1 if active, else 2";
    row end_reason: word(EndCause) optional, "'logout', 'timeout', 'terminated', 'disconnect', 'relogin', 'vanished', 'restart'", "session.expiration_reason";
    row outcome: word(Outcome) required, "'success', 'failure', 'unknown'", "status_id";
    row verdict: text optional, "product verdict, upper case, '-' to '_'", "status_code";
    row outcome_reason: text optional, "the product's text on the cause", "status_detail";
    row auth_method: text optional, "how the account proved itself: password, password+otp, api_key, token, …", "auth_protocol, auth_factors[]";
    row auth_root_method: text optional, "for tokens: method of the outermost non-token parent", "unmapped.auth_root_method";
    row is_mfa: boolean optional, "more than one factor was presented", "is_mfa, session.is_mfa";
    row is_remote: boolean optional, "came over a network", "is_remote, session.is_remote";
    row is_internal: boolean optional, "a session of the product with itself", "unmapped.is_internal";
    row is_privileged: boolean optional, "admin or gateway-recorded session, by rule", "unmapped.is_privileged";
    row secure_transport: boolean optional, "whether the product calls the transport secure", "negated is_cleartext";
    row client_ip: text optional, "client address, canonical text", "src_endpoint.ip";
    row client_port: int32 optional, "client port", "src_endpoint.port";
    row client_host: text optional, "client name, lower case", "src_endpoint.hostname";
    row client_kind: word(AddressKind) required, "what the client field really held, as 'events.src_kind'", "src_endpoint.type";
    row client_original: text optional, "client as the product wrote it", "unmapped.client_original";
    row user_agent: text optional, "client program", "http_request.user_agent";
    row server_ip: text optional, "the machine reached", "dst_endpoint.ip";
    row server_port: int32 optional, "port of the machine reached", "dst_endpoint.port";
    row server_host: text optional, "name of the machine reached", "dst_endpoint.hostname";
    row gateway_ip: text optional, "address of the proxy's own side (SPS)", "unmapped.gateway_ip";
    row gateway_port: int32 optional, "port of the gateway's own side", "unmapped.gateway_port";
    row protocol: text optional, "'SSH', 'RDP', 'WEBSOCKET', 'SMB', 'HTTPS', …", "service.name";
    row policy: text optional, "connection policy", "policy.name, policy.uid";
    row call_count: int64 optional, "API calls made in it", "session.count (nearest; also in unmapped)";
    row risk_score: int32 optional, "0–100 if the product scores sessions", "risk_score";
    row has_recording: boolean optional, "a replayable trail exists", "unmapped.has_recording";
    row recording_ref: text optional, "link to it", "unmapped.recording_ref";
    row derived: boolean required, "true if built from events, false if the product lists sessions", "unmapped.derived";
    row confidence: word(Confidence) required, "'high', 'medium' or 'low'", "confidence_id";
    row confidence_reason: text optional, "rule that set the confidence", "unmapped.confidence_reason";
    row login_event_key: text optional, "'events.event_key' of the login it was built from", "unmapped";
    row logout_event_key: text optional, "'events.event_key' of the logout it was built from", "unmapped";
    row event_count: int64 optional, "events joined to it", "count";
    row revision: int64 required, "SPS 'revision', else our counter", "unmapped.revision";
    row record_id: text optional, "product's record key", "metadata.original_event_uid";
    row source_node: text optional, "cluster node or controller that recorded it", "metadata.loggers[0].name";
    engine source_key: text required, "stable identity of the instance; survives renaming the source", "metadata.reporter.uid";
    row product_version: text optional, "version the product reports of itself", "metadata.product.version";
    row tenant: text optional, "organisation or root account inside the product", "metadata.tenant_uid";
    engine plugin: text required, "plugin that read it", "metadata.transformation_info_list[0].name";
    engine plugin_version: text required, "version of that plugin", "metadata.transformation_info_list[0].uid";
    engine fetched_at: time required, "last fetch that changed or confirmed the row", "metadata.processed_time";
    engine fetch_id: text required, "the fetch that brought it", "metadata.labels[]";
    row quality_flags: list optional, "e.g. 'end_before_start', 'relogin', 'orphan_logout'", "metadata.debug";
    row unmapped: json optional, "fields of the record without a column", "unmapped";
    row raw: json required, "the complete record as received, byte for byte, known secrets replaced; a SOAP record in its VI JSON form; of a rebuilt session the list of its event keys", "raw_data";
    core raw_sha256: text required, "SHA-256 of 'raw', hex", "raw_data_hash";
}

impl EventRow<'_> {
    /// A row that says nothing yet.
    pub const fn new() -> Self {
        Self {
            time: Time::EPOCH,
            time_original: None,
            time_quality: TimeQuality::Exact,
            logged_time: None,
            event_code: "",
            action: Action::Other,
            outcome: Outcome::Unknown,
            outcome_code: None,
            outcome_reason: None,
            severity_id: 1,
            message: None,
            user_name: None,
            user_domain: None,
            user_uid: None,
            user_original: None,
            user_type: UserType::Unknown,
            account_id: None,
            target_user: None,
            src_ip: None,
            src_port: None,
            src_host: None,
            src_kind: AddressKind::None,
            src_original: None,
            user_agent: None,
            dst_ip: None,
            dst_port: None,
            dst_host: None,
            service: None,
            protocol: None,
            auth_method: None,
            is_mfa: None,
            is_remote: None,
            secure_transport: None,
            operation: None,
            target_type: None,
            target_name: None,
            target_uid: None,
            resources: None,
            session_id: None,
            correlation_id: None,
            sequence: None,
            policy: None,
            record_id: None,
            source_node: None,
            product_version: None,
            tenant: None,
            quality_flags: &[],
            unmapped: None,
            raw: "",
        }
    }
}

impl Default for EventRow<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl SessionRow<'_> {
    /// A row that says nothing yet.
    pub const fn new() -> Self {
        Self {
            session_id: None,
            alt_session_id: None,
            user_name: None,
            user_domain: None,
            user_uid: None,
            user_original: None,
            user_type: UserType::Unknown,
            account_id: None,
            target_user: None,
            start_time: None,
            start_time_original: None,
            end_time: None,
            end_time_original: None,
            reported_duration_s: None,
            last_seen_at: None,
            last_activity_at: None,
            is_active: None,
            state: SessionState::Unknown,
            end_reason: None,
            outcome: Outcome::Unknown,
            verdict: None,
            outcome_reason: None,
            auth_method: None,
            auth_root_method: None,
            is_mfa: None,
            is_remote: None,
            is_internal: None,
            is_privileged: None,
            secure_transport: None,
            client_ip: None,
            client_port: None,
            client_host: None,
            client_kind: AddressKind::None,
            client_original: None,
            user_agent: None,
            server_ip: None,
            server_port: None,
            server_host: None,
            gateway_ip: None,
            gateway_port: None,
            protocol: None,
            policy: None,
            call_count: None,
            risk_score: None,
            has_recording: None,
            recording_ref: None,
            derived: false,
            confidence: Confidence::Medium,
            confidence_reason: None,
            login_event_key: None,
            logout_event_key: None,
            event_count: None,
            revision: 1,
            record_id: None,
            source_node: None,
            product_version: None,
            tenant: None,
            quality_flags: &[],
            unmapped: None,
            raw: "",
        }
    }
}

impl Default for SessionRow<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// Collects event rows into one page.
#[derive(Debug)]
pub struct EventBuilder {
    source_key: String,
    columns: EventColumns,
}

impl EventBuilder {
    /// A builder for rows of the source with this identity.
    pub fn new(source_key: &str) -> Self {
        Self { source_key: source_key.to_owned(), columns: EventColumns::default() }
    }

    /// The same for a page of known size: so many rows, so many bytes of raw records.
    pub fn sized(source_key: &str, rows: usize, raw_bytes: usize) -> Self {
        let mut builder = Self::new(source_key);
        builder.columns.expect(rows);
        builder.columns.raw.bytes = raw_bytes;
        builder.columns.unmapped.bytes = raw_bytes;
        // Keys and digests are longer than most texts, and of one length.
        builder.columns.event_key.bytes = rows * 32;
        builder.columns.session_key.bytes = rows * 32;
        builder.columns.raw_sha256.bytes = rows * 64;
        builder
    }

    /// Appends a row. `key` are the parts of its `event_key`, `session` those of the session it belongs to, both without
    /// the source; a row that belongs to no session has no parts.
    pub fn push(&mut self, key: &[Option<&str>], session: &[Option<&str>], row: &EventRow<'_>) {
        let (class_uid, activity_id) = row.action.ocsf();
        let session_key = (!session.is_empty()).then(|| Key::new(KeyKind::Session, &self.source_key, session));
        let columns = &mut self.columns;
        columns.event_key.push(Some(Key::new(KeyKind::Event, &self.source_key, key).as_str()));
        columns.class_uid.push(Some(class_uid));
        columns.activity_id.push(Some(activity_id));
        columns.session_key.push(session_key.as_ref().map(Key::as_str));
        columns.raw_sha256.push(Some(digest_text(&sha256_hex(row.raw.as_bytes()))));
        columns.push_row(row);
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.columns.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows as one batch of [`EVENTS`]' page schema; the builder is empty afterwards.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        self.columns.finish()
    }
}

/// Collects session rows into one page.
#[derive(Debug)]
pub struct SessionBuilder {
    source_key: String,
    columns: SessionColumns,
}

impl SessionBuilder {
    /// A builder for rows of the source with this identity.
    pub fn new(source_key: &str) -> Self {
        Self { source_key: source_key.to_owned(), columns: SessionColumns::default() }
    }

    /// The same for a page of known size: so many rows, so many bytes of raw records.
    pub fn sized(source_key: &str, rows: usize, raw_bytes: usize) -> Self {
        let mut builder = Self::new(source_key);
        builder.columns.expect(rows);
        builder.columns.raw.bytes = raw_bytes;
        builder.columns.unmapped.bytes = raw_bytes / 2;
        builder.columns.session_key.bytes = rows * 32;
        builder.columns.raw_sha256.bytes = rows * 64;
        builder
    }

    /// Appends a row. `key` are the parts of its `session_key`, without the source.
    pub fn push(&mut self, key: &[Option<&str>], row: &SessionRow<'_>) {
        self.push_keyed(Key::new(KeyKind::Session, &self.source_key, key).as_str(), row);
    }

    /// Appends a row whose key is known already, as when it is rebuilt from events.
    pub fn push_keyed(&mut self, session_key: &str, row: &SessionRow<'_>) {
        let columns = &mut self.columns;
        columns.session_key.push(Some(session_key));
        columns.duration_s.push(duration_s(row.start_time, row.end_time));
        columns.raw_sha256.push(Some(digest_text(&sha256_hex(row.raw.as_bytes()))));
        columns.push_row(row);
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.columns.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows as one batch of [`SESSIONS`]' page schema; the builder is empty afterwards.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        self.columns.finish()
    }
}

/// Whole seconds from start to end. Ends up to [`SKEW`] before the start are the granularity of clocks: zero.
pub fn duration_s(start: Option<Time>, end: Option<Time>) -> Option<i64> {
    let micros = end?.micros() - start?.micros();
    match micros {
        0.. => Some(micros / 1_000_000),
        _ if micros >= -SKEW => Some(0),
        _ => None,
    }
}

/// How far two times of one source may be reversed by granularity alone, in microseconds.
pub const SKEW: i64 = 2_000_000;

fn digest_text(digest: &[u8; 64]) -> &str {
    std::str::from_utf8(digest).unwrap_or_default()
}

/// Bytes of a text for which room is made in a page of known size.
const BYTES_EXPECTED: usize = 24;

/// A column that costs one addition per NULL: most columns of most products stay empty.
#[derive(Debug, Default)]
struct Lazy<B> {
    pending_nulls: usize,
    cells: Option<B>,
    rows: usize,
    bytes: usize,
}

trait Cells: Default {
    type Value<'v>;
    fn sized(rows: usize, bytes: usize) -> Self;
    fn nulls(&mut self, count: usize);
    fn value(&mut self, value: Self::Value<'_>);
    fn array(&mut self) -> ArrayRef;
}

impl<B: Cells> Lazy<B> {
    fn push(&mut self, value: Option<B::Value<'_>>) {
        match value {
            None => self.pending_nulls += 1,
            Some(value) => {
                let cells = self.cells.get_or_insert_with(|| B::sized(self.rows, self.bytes));
                if self.pending_nulls > 0 {
                    cells.nulls(std::mem::take(&mut self.pending_nulls));
                }
                cells.value(value);
            }
        }
    }

    fn finish(&mut self, rows: usize, kind: Kind) -> ArrayRef {
        let nulls = std::mem::take(&mut self.pending_nulls);
        match self.cells.take() {
            None => new_null_array(&kind.arrow(), rows),
            Some(mut cells) => {
                cells.nulls(nulls);
                cells.array()
            }
        }
    }
}

macro_rules! cells_impl {
    ($builder:ty, $value:ty, |$rows:ident, $bytes:ident| $sized:expr, |$b:ident, $v:ident| $append:expr, |$f:ident| $finish:expr) => {
        impl Cells for $builder {
            type Value<'v> = $value;
            fn sized($rows: usize, $bytes: usize) -> Self {
                $sized
            }
            fn nulls(&mut self, count: usize) {
                self.append_nulls(count);
            }
            fn value(&mut self, value: Self::Value<'_>) {
                let ($b, $v) = (self, value);
                $append;
            }
            fn array(&mut self) -> ArrayRef {
                let $f = self;
                Arc::new($finish)
            }
        }
    };
}

cells_impl!(StringBuilder, &'v str, |rows, bytes| Self::with_capacity(rows, bytes), |b, v| b.append_value(v), |b| b
    .finish());
cells_impl!(Int32Builder, i32, |rows, _bytes| Self::with_capacity(rows), |b, v| b.append_value(v), |b| b.finish());
cells_impl!(Int64Builder, i64, |rows, _bytes| Self::with_capacity(rows), |b, v| b.append_value(v), |b| b.finish());
cells_impl!(BooleanBuilder, bool, |rows, _bytes| Self::with_capacity(rows), |b, v| b.append_value(v), |b| b.finish());
cells_impl!(
    TimestampMicrosecondBuilder,
    Time,
    |rows, _bytes| Self::with_capacity(rows),
    |b, v| b.append_value(v.micros()),
    |b| b.finish().with_timezone("UTC")
);

impl Cells for ListBuilder<StringBuilder> {
    type Value<'v> = &'v [&'v str];
    fn sized(rows: usize, _bytes: usize) -> Self {
        Self::with_capacity(StringBuilder::new(), rows)
    }
    fn nulls(&mut self, count: usize) {
        for _ in 0..count {
            self.append_null();
        }
    }
    fn value(&mut self, value: Self::Value<'_>) {
        for item in value {
            self.values().append_value(item);
        }
        self.append(true);
    }
    fn array(&mut self) -> ArrayRef {
        Arc::new(self.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array;

    #[test]
    fn a_page_has_every_column_but_the_engines() {
        let mut builder = EventBuilder::new("nas");
        builder.push(&[Some("a")], &[], &EventRow { raw: "{}", quality_flags: &["redacted"], ..EventRow::new() });
        builder.push(&[Some("b")], &[Some("s")], &EventRow { raw: "{}", src_port: Some(7), ..EventRow::new() });
        let page = builder.finish().unwrap();
        assert_eq!(page.num_rows(), 2);
        assert!(page.column_by_name("source").is_none());
        assert_eq!(page.column_by_name("src_port").unwrap().null_count(), 1);
        assert_eq!(page.column_by_name("session_key").unwrap().null_count(), 1);
        assert_eq!(page.column_by_name("quality_flags").unwrap().null_count(), 1);
        assert!(builder.is_empty());
        assert_eq!(builder.finish().unwrap().num_rows(), 0);
    }

    #[test]
    fn durations_of_reversed_sessions_are_unknown() {
        let at = |s: i64| Some(Time::from_micros(s * 1_000_000));
        assert_eq!(duration_s(at(10), at(70)), Some(60));
        assert_eq!(duration_s(at(10), at(9)), Some(0));
        assert_eq!(duration_s(at(10), at(5)), None);
        assert_eq!(duration_s(at(10), None), None);
    }
}
