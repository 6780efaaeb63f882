//! The access token: read from where it is kept, or bought with the refresh grant, once for all concurrent readers.

use std::fmt;
use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Result, Secret, Time};
use fedaudit_transport::{Attempt, HttpClient, HttpRequest, HttpResponse, Login, SecretRef, error_for};
use serde::Deserialize;

use crate::api::encode;
use crate::config::OAuth;

/// An access token is renewed this long before it lapses, so that no page is asked for with a dying one; one that is short
/// of life already, after half of it.
const MARGIN: Duration = Duration::from_mins(1);

/// Where the access token comes from.
pub(crate) enum Access {
    /// It is configured. It is read for each request: there is no login that could be shared or lost.
    Token(SecretRef),
    /// It is bought.
    Refresh(Box<OAuth>, Login<Bought>),
}

/// A bought access token.
pub(crate) struct Bought {
    token: Secret,
    /// From when on it is renewed.
    expires: Option<Time>,
}

impl Access {
    /// Makes a call with the value of the authorization header. A bought token is renewed when it is about to lapse or when
    /// Canvas no longer takes it; the call is then made once more.
    pub(crate) async fn with<T, C>(&self, cx: &Context, client: &HttpClient, call: impl Fn(Secret) -> C) -> Result<T>
    where
        C: Future<Output = Result<Attempt<T>>>,
    {
        let bearer = |token: &Secret| Secret::new(format!("Bearer {}", token.reveal()));
        match self {
            Self::Token(place) => match call(bearer(&place.resolve()?)).await? {
                Attempt::Done(answer) => Ok(answer),
                Attempt::Lost(error) => Err(error),
            },
            Self::Refresh(oauth, login) => {
                login.forget_if(|bought| bought.expires.is_some_and(|expires| cx.now() >= expires)).await;
                login.with(cx, || buy(cx, client, oauth), |bought| call(bearer(&bought.token))).await
            }
        }
    }

    /// Forgets a bought token. It is not revoked: Canvas keeps access and refresh token in one record, and revoking the one
    /// would destroy the other. It lapses by itself within the hour.
    pub(crate) async fn forget(&self) {
        if let Self::Refresh(_, login) = self {
            login.take().await;
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::Refresh(..) => "Refresh",
        })
    }
}

async fn buy(cx: &Context, client: &HttpClient, oauth: &OAuth) -> Result<Bought> {
    #[derive(Deserialize)]
    struct Sale {
        access_token: String,
        expires_in: Option<u64>,
    }
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
    let response = client.send(cx, request).await?;
    if response.status != 200 || !response.is_json() {
        return Err(refused(&response));
    }
    let sale: Sale = serde_json::from_slice(&response.body)
        .map_err(|_| Error::new(ErrorKind::Malformed, "the token endpoint's answer holds no access_token"))?;
    let expires = sale.expires_in.map(|seconds| {
        let lasts = Duration::from_secs(seconds);
        cx.now().plus(lasts.saturating_sub(MARGIN).max(lasts / 2))
    });
    Ok(Bought { token: Secret::new(sale.access_token), expires })
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
