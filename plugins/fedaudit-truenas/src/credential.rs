//! Credentials as TrueNAS describes them, in audit records and in the list of sessions: a kind, data that depend on the
//! kind, and for tokens the credential that made them, to any depth.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::redact::{Cut, MASK};
use crate::wire::{Loose, Scalar};

/// Levels of tokens that are followed.
const DEPTH: usize = 16;

/// A credential.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Credential<'a> {
    #[serde(borrow)]
    credentials: Scalar<'a>,
    #[serde(borrow)]
    credentials_data: Loose<Data<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow)]
    username: Scalar<'a>,
    #[serde(borrow)]
    login_id: Scalar<'a>,
    #[serde(borrow)]
    login_at: Option<&'a RawValue>,
    #[serde(borrow)]
    api_key: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    parent: Loose<Box<Credential<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ApiKey<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
}

/// What a credential tells about a login.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proof<'a> {
    pub(crate) username: Option<Cow<'a, str>>,
    pub(crate) login_id: Option<Cow<'a, str>>,
    pub(crate) login_at: Option<&'a RawValue>,
    pub(crate) key_id: Option<Cow<'a, str>>,
    pub(crate) method: Option<Cow<'a, str>>,
    /// For tokens: how the login behind them was made.
    pub(crate) root_method: Option<Cow<'a, str>>,
    pub(crate) is_mfa: Option<bool>,
    /// None: the address decides.
    pub(crate) is_remote: Option<bool>,
    pub(crate) is_node: bool,
    /// The chain of tokens was longer than is followed.
    pub(crate) too_deep: bool,
}

impl<'a> Credential<'a> {
    /// Reads the credential and its chain of parents; presented secrets become cuts.
    pub(crate) fn proof(self, cuts: &mut Vec<Cut>) -> Proof<'a> {
        let kind = self.credentials.some();
        let (method, is_mfa, is_remote) = kind_words(kind.as_deref());
        let mut proof = Proof {
            method: method
                .map_or_else(|| kind.as_deref().map(|kind| kind.to_ascii_lowercase().into()), |word| Some(word.into())),
            is_mfa,
            is_remote,
            is_node: matches!(kind.as_deref(), Some("TRUENAS_NODE" | "TRUE_NAS_NODE")),
            ..Proof::default()
        };
        let mut parent = self.credentials_data.0.and_then(|data| proof.take(data, cuts));
        let is_token = kind.as_deref() == Some("TOKEN");
        for level in 0.. {
            let Some(credential) = parent else { break };
            if level == DEPTH {
                proof.too_deep = true;
                break;
            }
            let kind = credential.credentials.some();
            if is_token && kind.as_deref() != Some("TOKEN") {
                let (method, is_mfa, _) = kind_words(kind.as_deref());
                proof.root_method = method.map(Cow::Borrowed);
                proof.is_mfa = is_mfa;
            }
            parent = credential.credentials_data.0.and_then(|data| proof.take(data, cuts));
        }
        proof
    }
}

impl<'a> Proof<'a> {
    /// Fills what is not known yet; the outer level wins.
    fn take(&mut self, data: Data<'a>, cuts: &mut Vec<Cut>) -> Option<Box<Credential<'a>>> {
        let fill = |slot: &mut Option<Cow<'a, str>>, value: Scalar<'a>| {
            if slot.is_none() {
                *slot = value.some();
            }
        };
        fill(&mut self.username, data.username);
        fill(&mut self.login_id, data.login_id);
        self.login_at = self.login_at.or(data.login_at);
        if let Some(token) = data.token.filter(|token| token.get() != "null") {
            cuts.push(Cut::new(token.get(), MASK));
        }
        match data.api_key.map(RawValue::get) {
            // A failed login carries the key as it was presented.
            Some(key) if key.starts_with('"') && key != "\"<INVALID>\"" => cuts.push(Cut::new(key, MASK)),
            Some(key) if key.starts_with('{') => {
                fill(&mut self.key_id, serde_json::from_str::<ApiKey<'a>>(key).unwrap_or_default().id);
            }
            _ => {}
        }
        data.parent.0
    }
}

/// The word for a kind, whether it means several factors, and whether it came over a network.
fn kind_words(kind: Option<&str>) -> (Option<&'static str>, Option<bool>, Option<bool>) {
    match kind {
        Some("UNIX_SOCKET") => (Some("local_socket"), None, Some(false)),
        Some("LOGIN_PASSWORD") => (Some("password"), Some(false), Some(true)),
        Some("LOGIN_TWOFACTOR") => (Some("password+otp"), Some(true), Some(true)),
        Some("LOGIN_ONETIME_PASSWORD") => (Some("one_time_password"), Some(false), Some(true)),
        Some("API_KEY") => (Some("api_key"), Some(false), Some(true)),
        Some("TOKEN") => (Some("token"), None, None),
        Some("TRUENAS_NODE" | "TRUE_NAS_NODE") => (Some("node"), None, Some(true)),
        _ => (None, None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(json: &str) -> (Proof<'_>, usize) {
        let mut cuts = Vec::new();
        (serde_json::from_str::<Credential<'_>>(json).unwrap().proof(&mut cuts), cuts.len())
    }

    #[test]
    fn a_token_shows_the_login_behind_it() {
        let (proof, cuts) = proof(
            r#"{"credentials":"TOKEN","credentials_data":{"login_id":"l3","username":null,"parent":{"credentials":"TOKEN",
            "credentials_data":{"login_id":"l2","username":null,"parent":{"credentials":"LOGIN_TWOFACTOR","credentials_data":
            {"username":"ana","login_id":"l1","login_at":{"$date":1795317601000}}}}}}}"#,
        );
        assert_eq!(proof.method.as_deref(), Some("token"));
        assert_eq!(proof.root_method.as_deref(), Some("password+otp"));
        assert_eq!((proof.is_mfa, proof.is_remote), (Some(true), None));
        assert_eq!((proof.username.as_deref(), proof.login_id.as_deref()), (Some("ana"), Some("l3")));
        assert_eq!(cuts, 0);
    }

    #[test]
    fn presented_secrets_are_cut() {
        assert_eq!(proof(r#"{"credentials":"API_KEY","credentials_data":{"api_key":"4-Kx"}}"#).1, 1);
        assert_eq!(proof(r#"{"credentials":"API_KEY","credentials_data":{"api_key":"<INVALID>"}}"#).1, 0);
        assert_eq!(proof(r#"{"credentials":"TOKEN","credentials_data":{"token":"t"}}"#).1, 1);
        let (key, cuts) =
            proof(r#"{"credentials":"API_KEY","credentials_data":{"username":"a","api_key":{"id":7,"name":"siem"}}}"#);
        assert_eq!((key.key_id.as_deref(), cuts), (Some("7"), 0));
    }

    #[test]
    fn a_bottomless_chain_ends() {
        let mut json = r#"{"credentials":"API_KEY","credentials_data":{}}"#.to_owned();
        for _ in 0..30 {
            json = format!(r#"{{"credentials":"TOKEN","credentials_data":{{"parent":{json}}}}}"#);
        }
        assert!(proof(&json).0.too_deep);
    }
}
