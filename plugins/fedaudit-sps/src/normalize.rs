//! From a decoded session document to rows: one session, or its start and its end as events.

use fedaudit_core::{
    Action, EventBuilder, EventRow, Outcome, SessionBuilder, SessionRow, SessionState, Time, TimeQuality, Window,
};

use crate::record::Record;

/// Appends the session.
pub(crate) fn push_session(builder: &mut SessionBuilder, record: &Record<'_>, version: Option<&str>) {
    let row = SessionRow {
        session_id: Some(&record.key),
        alt_session_id: record.alt_id.as_deref(),
        user_name: record.user.name.as_deref(),
        user_domain: record.user.domain.as_deref(),
        user_uid: record.user.uid.as_deref(),
        user_original: record.user.original.as_deref(),
        user_type: record.user.kind,
        target_user: record.target_user.as_deref(),
        start_time: record.start.time,
        start_time_original: record.start.original.as_deref(),
        end_time: record.end.time,
        end_time_original: record.end.original.as_deref(),
        reported_duration_s: record.duration,
        is_active: record.active,
        state: record.state,
        end_reason: record.end_reason,
        outcome: record.outcome,
        verdict: record.verdict.as_deref(),
        outcome_reason: record.deny_reason.as_deref(),
        auth_method: record.auth_method.as_deref(),
        is_remote: record.is_remote,
        is_privileged: record.is_privileged,
        client_ip: record.client.ip.as_deref(),
        client_port: record.client.port,
        client_host: record.client.host.as_deref(),
        client_kind: record.client.kind,
        client_original: record.client.original.as_deref(),
        server_ip: record.server.ip.as_deref(),
        server_port: record.server.port,
        server_host: record.server.host.as_deref(),
        gateway_ip: record.gateway.ip.as_deref(),
        gateway_port: record.gateway.port,
        protocol: record.protocol.as_deref(),
        policy: record.policy.as_deref(),
        risk_score: record.risk,
        has_recording: record.has_recording,
        recording_ref: record.recording_ref.as_deref(),
        confidence: record.confidence,
        confidence_reason: Some(record.confidence_reason),
        revision: record.revision.unwrap_or(1),
        record_id: Some(&record.key),
        source_node: record.node.as_deref(),
        product_version: version,
        quality_flags: &record.flags,
        unmapped: record.unmapped.as_deref(),
        raw: record.raw,
        ..SessionRow::new()
    };
    builder.push(&[Some(&record.key)], &row);
}

/// Appends the login and, of a session that was let in and has ended, the logout, as far as they lie in the window.
pub(crate) fn push_events(
    builder: &mut EventBuilder,
    record: &Record<'_>,
    window: &Window,
    now: Time,
    version: Option<&str>,
) {
    let start = match (record.start.time, record.created) {
        (Some(time), _) => (time, record.start.quality),
        // Without a start the document's own age is the nearest thing.
        (None, Some(created)) => (created, TimeQuality::Logged),
        (None, None) => (now, TimeQuality::Fetched),
    };
    let terminated = record.end_reason.is_some();
    let login = EventRow {
        time: start.0,
        time_original: record.start.original.as_deref(),
        time_quality: start.1,
        logged_time: record.created,
        event_code: "session_start",
        action: Action::Login,
        outcome: record.outcome,
        // A termination is a fact about the end: the login must read the same before and after it.
        outcome_code: record.verdict.as_deref().filter(|_| !terminated),
        outcome_reason: record.deny_reason.as_deref(),
        ..common(record, version)
    };
    // A time that is not the session's own must not enter the key: it may differ at the next reading.
    push(builder, record, "start", record.start.time, &login, window);
    let Some(end) = record.end.time.filter(|_| record.state != SessionState::Rejected) else { return };
    let logout = EventRow {
        time: end,
        time_original: record.end.original.as_deref(),
        time_quality: record.end.quality,
        event_code: "session_end",
        action: Action::Logout,
        outcome: Outcome::Success,
        outcome_code: record.verdict.as_deref(),
        ..common(record, version)
    };
    push(builder, record, "end", Some(end), &logout, window);
}

fn push(
    builder: &mut EventBuilder,
    record: &Record<'_>,
    part: &str,
    key_time: Option<Time>,
    row: &EventRow<'_>,
    window: &Window,
) {
    if window.contains(row.time) || key_time.is_none() {
        let micros = key_time.map(|time| time.micros().to_string());
        builder.push(&[Some(&record.key), Some(part), micros.as_deref()], &[Some(&record.key)], row);
    }
}

/// What every event of a session says of the session.
pub(crate) fn common<'a>(record: &'a Record<'_>, version: Option<&'a str>) -> EventRow<'a> {
    let reached = record.server.host.as_deref().or(record.server.ip.as_deref());
    EventRow {
        user_name: record.user.name.as_deref(),
        user_domain: record.user.domain.as_deref(),
        user_uid: record.user.uid.as_deref(),
        user_original: record.user.original.as_deref(),
        user_type: record.user.kind,
        target_user: record.target_user.as_deref(),
        src_ip: record.client.ip.as_deref(),
        src_port: record.client.port,
        src_host: record.client.host.as_deref(),
        src_kind: record.client.kind,
        src_original: record.client.original.as_deref(),
        dst_ip: record.server.ip.as_deref(),
        dst_port: record.server.port,
        dst_host: record.server.host.as_deref(),
        protocol: record.protocol.as_deref(),
        auth_method: record.auth_method.as_deref(),
        is_remote: record.is_remote,
        target_type: reached.map(|_| "host"),
        target_name: reached,
        session_id: Some(&record.key),
        correlation_id: record.alt_id.as_deref(),
        policy: record.policy.as_deref(),
        record_id: Some(&record.key),
        source_node: record.node.as_deref(),
        product_version: version,
        quality_flags: &record.flags,
        unmapped: record.unmapped.as_deref(),
        raw: record.raw,
        ..EventRow::new()
    }
}
