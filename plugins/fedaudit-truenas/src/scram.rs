//! `SCRAM` with SHA-512 (RFC 5802) for API keys: both sides prove that they know the key, and it never travels.
//!
//! TrueNAS looks the key up by its number, which stands behind the user name: `auditor:7`.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fedaudit_core::{Error, ErrorKind, Result, Secret};

/// Rounds that a server may ask for: fewer would help somebody to guess, more would keep us busy. TrueNAS asks for 500 000.
const ROUNDS: std::ops::RangeInclusive<u32> = 4096..=5_000_000;
/// What says that no channel is bound, and its base64.
const UNBOUND: &str = "n,,";
const UNBOUND_BASE64: &str = "biws";

/// The two parts of an API key.
pub(crate) struct Parts {
    id: u64,
    pub(crate) secret: Secret,
}

impl Parts {
    /// `7-xxxx`
    pub(crate) fn of(key: &Secret) -> Option<Self> {
        let (id, secret) = key.reveal().split_once('-')?;
        Some(Self { id: id.parse().ok()?, secret: Secret::new(secret) })
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The first message.
#[derive(Debug)]
pub(crate) struct Opening {
    bare: String,
    pub(crate) nonce: String,
}

impl Opening {
    /// A new exchange.
    pub(crate) fn new(username: &str, key: &Parts) -> Result<Self> {
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| Error::new(ErrorKind::Internal, "no random numbers"))?;
        let nonce = BASE64.encode(random);
        let name = username.replace('=', "=3D").replace(',', "=2C");
        Ok(Self { bare: format!("n={name}:{},r={nonce}", key.id), nonce })
    }

    /// As it is sent.
    pub(crate) fn message(&self) -> String {
        format!("{UNBOUND}{}", self.bare)
    }

    /// What the server answers to the first message.
    pub(crate) fn read(self, server_first: &str) -> Result<Challenge> {
        let wrong = |text: &str| Error::new(ErrorKind::Malformed, format!("SCRAM: {text}"));
        let member = |name: &str| server_first.split(',').find_map(|member| member.strip_prefix(name));
        let nonce = member("r=").filter(|nonce| nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce));
        let nonce = nonce.ok_or_else(|| wrong("the server did not answer to this login"))?.to_owned();
        let salt = member("s=").and_then(|salt| BASE64.decode(salt).ok()).ok_or_else(|| wrong("no salt"))?;
        let rounds: u32 = member("i=").and_then(|rounds| rounds.parse().ok()).ok_or_else(|| wrong("no rounds"))?;
        let rounds = NonZeroU32::new(rounds)
            .filter(|rounds| ROUNDS.contains(&rounds.get()))
            .ok_or_else(|| wrong("the server asks for an unreasonable number of rounds"))?;
        let said = format!("{},{server_first}", self.bare);
        Ok(Challenge { nonce, salt, rounds, said })
    }
}

/// What the server asks for.
#[derive(Debug)]
pub(crate) struct Challenge {
    pub(crate) nonce: String,
    salt: Vec<u8>,
    pub(crate) rounds: NonZeroU32,
    /// Both messages so far.
    said: String,
}

impl Challenge {
    /// The second message. This takes a while on purpose.
    pub(crate) fn prove(self, secret: &Secret) -> Proof {
        let mut salted = [0; digest::SHA512_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, self.rounds, &self.salt, secret.reveal().as_bytes(), &mut salted);
        let unproven = format!("c={UNBOUND_BASE64},r={}", self.nonce);
        let said = format!("{},{unproven}", self.said);
        let client_key = sign(&salted, b"Client Key");
        let signature = sign(digest::digest(&digest::SHA512, client_key.as_ref()).as_ref(), said.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = hmac::Key::new(hmac::HMAC_SHA512, sign(&salted, b"Server Key").as_ref());
        Proof { message: format!("{unproven},p={}", BASE64.encode(proof)), server_key, said }
    }
}

/// The second message, and what the server has to answer to it.
pub(crate) struct Proof {
    pub(crate) message: String,
    server_key: hmac::Key,
    said: String,
}

impl Proof {
    /// Whether the server knows the key, too.
    pub(crate) fn verify(&self, server_final: &str) -> Result<()> {
        let signature = server_final.split(',').find_map(|member| member.strip_prefix("v="));
        let signature = signature.and_then(|signature| BASE64.decode(signature).ok()).unwrap_or_default();
        hmac::verify(&self.server_key, self.said.as_bytes(), &signature).map_err(|_| {
            Error::new(ErrorKind::Unauthenticated, "the server could not prove that it knows the API key")
                .hint("somebody else may be answering at this address: check url and tls")
        })
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(***)")
    }
}

fn sign(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, key), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_none_are_refused() {
        let key = Parts::of(&Secret::new("7-not-a-secret")).unwrap();
        assert!(Parts::of(&Secret::new("not-a-secret")).is_none());
        let opening = || Opening::new("a=b,c", &key).unwrap();
        assert!(opening().message().starts_with("n,,n=a=3Db=2Cc:7,r="));
        let prove = |change: fn(&str) -> String| {
            let opening = opening();
            let answer = change(&opening.nonce);
            opening.read(&answer).map(|challenge| challenge.prove(&key.secret).verify("v=AAAA").is_err())
        };
        assert!(prove(|nonce| format!("r={nonce}x,s=c2FsdA==,i=4096")).unwrap());
        assert!(prove(|_| "r=other,s=c2FsdA==,i=4096".to_owned()).is_err());
        assert!(prove(|nonce| format!("r={nonce},s=c2FsdA==,i=4096")).is_err());
        assert!(prove(|nonce| format!("r={nonce}x,s=c2FsdA==,i=1")).is_err());
        assert!(prove(|nonce| format!("r={nonce}x,s=c2FsdA==,i=4000000000")).is_err());
        assert!(prove(|nonce| format!("r={nonce}x,s=?,i=4096")).is_err());
    }
}
