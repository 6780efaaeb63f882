//! One WebSocket connection: frames in, answers out, ten calls at work and at most twenty accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value as Json;
use tokio::sync::{Semaphore, mpsc};

use super::Appliance;
use super::answer::Problem;

/// Longest message before and after the login, in characters.
const ANONYMOUS_LENGTH: usize = 8192;
const LENGTH: usize = 65_536;
const AT_WORK: usize = 10;
const ACCEPTED: usize = 20;

pub(super) async fn serve(appliance: Arc<Appliance>, socket: WebSocket, origin: String) {
    let session = appliance.fresh_id();
    let mut cut = appliance.cut.subscribe();
    let (mut sink, mut stream) = socket.split();
    let (answers, mut outgoing) = mpsc::unbounded_channel::<Message>();
    let writer = tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            let last = matches!(message, Message::Close(_));
            if sink.send(message).await.is_err() || last {
                break;
            }
        }
    });
    if appliance.options.forbidden {
        let _ = answers.send(goodbye(1008, "You are not allowed to access this resource"));
        drop(answers);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), writer).await;
        return;
    }
    appliance.open_line(&session, answers.clone());
    let idle = appliance.options.idle.unwrap_or(std::time::Duration::from_hours(24));
    let at_work = Arc::new(Semaphore::new(AT_WORK));
    let accepted = Arc::new(AtomicUsize::new(0));
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            _ = cut.changed() => break,
            () = tokio::time::sleep(idle) => break,
        };
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => {
                let _ = answers.send(goodbye(1003, ""));
                break;
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_)) | Err(_)) | None => break,
        };
        let length = text.chars().count();
        if length > ANONYMOUS_LENGTH && !appliance.readers().contains_key(&session) {
            let _ = answers.send(goodbye(1007, "Anonymous connection max message length is 8 kB"));
            break;
        }
        if length > LENGTH {
            let _ = answers.send(goodbye(1009, "Max message length is 64 kB"));
            break;
        }
        let Some((id, method, params)) = request(&text, &answers) else { continue };
        if accepted.fetch_add(1, Ordering::Relaxed) >= ACCEPTED {
            accepted.fetch_sub(1, Ordering::Relaxed);
            let problem = Problem::protocol(-32000, "Maximum number of concurrent calls (20) has exceeded");
            let _ = answers.send(Message::Text(problem.answer(&id).into()));
            continue;
        }
        let (appliance, session, origin) = (Arc::clone(&appliance), session.clone(), origin.clone());
        let (at_work, accepted, answers) = (Arc::clone(&at_work), Arc::clone(&accepted), answers.clone());
        tokio::spawn(async move {
            let permit = at_work.acquire().await;
            let answer = appliance.call(&session, &origin, &id, &method, &params).await;
            drop(permit);
            accepted.fetch_sub(1, Ordering::Relaxed);
            let _ = answers.send(Message::Text(answer.into()));
        });
    }
    drop(answers);
    // The end of the connection is the end of the session.
    appliance.logout(&session);
    appliance.close_line(&session);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), writer).await;
}

/// Reads a request; answers what is none.
fn request(text: &str, answers: &mpsc::UnboundedSender<Message>) -> Option<(String, String, Json)> {
    let refuse = |problem: Problem, id: &str| {
        let _ = answers.send(Message::Text(problem.answer(id).into()));
        None
    };
    let message: Json = match serde_json::from_str(text) {
        Ok(message) => message,
        Err(_) => return refuse(Problem::protocol(-32700, "Parse error"), "null"),
    };
    let Some(members) = message.as_object() else {
        let text = if message.is_array() { "Batch messages are not supported at this time" } else { "Parse error" };
        return refuse(Problem::protocol(-32700, text), "null");
    };
    let id = match members.get("id") {
        // A call without an id is carried out and never answered; no reader sends one.
        None => return None,
        Some(id) => id.to_string(),
    };
    let params = members.get("params").cloned().unwrap_or_else(|| Json::Array(Vec::new()));
    match (members.get("jsonrpc").and_then(Json::as_str), members.get("method").and_then(Json::as_str)) {
        (Some("2.0"), Some(method)) if params.is_array() => Some((id, method.to_owned(), params)),
        _ => refuse(Problem::protocol(-32600, "Invalid request"), &id),
    }
}

fn goodbye(code: u16, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}
