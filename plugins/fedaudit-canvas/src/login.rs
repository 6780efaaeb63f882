//! The access token: read late from where it is kept, or bought with the refresh grant, once for all concurrent readers.

use std::fmt;
use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Meter, Result, Secret, Time};
use fedaudit_transport::{HttpClient, HttpRequest, HttpResponse, SecretRef, error_for};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::api::encode;
use crate::config::OAuth;

/// An access token is renewed this long before it lapses, so that no page is asked for with a dying one; one that is short
/// of life already, after half of it.
const MARGIN: Duration = Duration::from_mins(1);

/// How the access token is had, and the one in use.
pub(crate) struct Login {
    grant: Grant,
    access: Mutex<Slot>,
}

/// Where an access token comes from.
pub(crate) enum Grant {
    /// It is configured.
    Token(SecretRef),
    /// It is bought.
    Refresh(OAuth),
}

#[derive(Default)]
struct Slot {
    generation: u64,
    access: Option<Access>,
    /// A grant that was refused is not tried again before the source is closed.
    refused: Option<Error>,
}

/// A usable access token; the generation tells whether a refused one was already replaced by somebody else.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) authorization: Secret,
    pub(crate) generation: u64,
    /// From when on it is renewed.
    expires: Option<Time>,
}

#[derive(Deserialize)]
struct Bought {
    access_token: String,
    expires_in: Option<u64>,
}

impl Login {
    pub(crate) fn new(grant: Grant) -> Self {
        Self { grant, access: Mutex::default() }
    }

    /// Whether a refused token can be replaced.
    pub(crate) fn can_renew(&self) -> bool {
        matches!(self.grant, Grant::Refresh(_))
    }

    /// The access token. `refused` is the generation that the server no longer takes. The lock is held while a token is
    /// bought: everybody else waits for that one.
    pub(crate) async fn access(&self, cx: &Context, client: &HttpClient, refused: Option<u64>) -> Result<Access> {
        let mut slot = self.access.lock().await;
        let lapses = |access: &Access| access.expires.is_some_and(|expires| cx.now() >= expires);
        if let Some(access) = &slot.access
            && refused != Some(access.generation)
            && !lapses(access)
        {
            return Ok(access.clone());
        }
        if let Some(error) = &slot.refused {
            return Err(error.clone());
        }
        let bought = match &self.grant {
            Grant::Token(place) => place.resolve().map(|token| (token, None)),
            Grant::Refresh(oauth) => buy(cx, client, oauth).await,
        };
        let (token, expires) = bought.inspect_err(|error| {
            if error.kind() == ErrorKind::Unauthenticated {
                slot.refused = Some(error.clone());
            }
        })?;
        slot.generation += 1;
        let access = Access {
            authorization: Secret::new(format!("Bearer {}", token.reveal())),
            generation: slot.generation,
            expires,
        };
        slot.access = Some(access.clone());
        Ok(access)
    }

    /// Forgets the access token. It is not revoked: Canvas keeps access and refresh token in one record, and revoking the
    /// one would destroy the other. A bought token lapses by itself within the hour.
    pub(crate) async fn forget(&self) {
        let mut slot = self.access.lock().await;
        (slot.access, slot.refused) = (None, None);
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grant = match self.grant {
            Grant::Token(_) => "token",
            Grant::Refresh(_) => "oauth",
        };
        f.debug_struct("Login").field("grant", &grant).finish_non_exhaustive()
    }
}

async fn buy(cx: &Context, client: &HttpClient, oauth: &OAuth) -> Result<(Secret, Option<Time>)> {
    let (client_secret, refresh_token) = (oauth.client_secret.resolve()?, oauth.refresh_token.resolve()?);
    let form = format!(
        "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
        encode(&oauth.client_id),
        encode(client_secret.reveal()),
        encode(refresh_token.reveal()),
    );
    // The grant may be repeated: it changes nothing but which access tokens exist.
    let request = HttpRequest::post("/login/oauth2/token", "application/x-www-form-urlencoded", form)
        .header("accept", "application/json")
        .hiding(client_secret)
        .hiding(refresh_token)
        .idempotent(true);
    Meter::count(&cx.meter.logins);
    let response = client.send(cx, request).await?;
    if response.status != 200 || !response.is_json() {
        return Err(refused(&response));
    }
    let bought: Bought = serde_json::from_slice(&response.body)
        .map_err(|_| Error::new(ErrorKind::Malformed, "the token endpoint's answer holds no access_token"))?;
    let expires = bought.expires_in.map(|seconds| {
        let lasts = Duration::from_secs(seconds);
        cx.now().plus(lasts.saturating_sub(MARGIN).max(lasts / 2))
    });
    Ok((Secret::new(bought.access_token), expires))
}

fn refused(response: &HttpResponse) -> Error {
    match response.status {
        400 | 401 | 403 if response.is_json() => Error::new(
            ErrorKind::Unauthenticated,
            format!("the refresh grant was refused: HTTP {}: {}", response.status, response.text_excerpt()),
        )
        .hint("check client_id and client_secret of the developer key, and that the refresh token was not revoked"),
        _ => error_for(response),
    }
    .at("POST /login/oauth2/token")
}
