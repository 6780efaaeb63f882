//! The server's side of `SCRAM` with SHA-512 (RFC 5802), as releases from 26 on offer it for API keys.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha512};

use super::Appliance;
use super::answer::text;

/// The product's own number is 500 000.
const ITERATIONS: u32 = 4096;
const SALT: &[u8; 16] = b"salt of the key!";

/// What was said so far on a connection.
#[derive(Debug)]
pub(super) struct Pending {
    client_first: String,
    server_first: String,
    nonce: String,
}

/// What the exchange came to.
pub(super) enum Step {
    /// The answer to the first message.
    Challenge(String),
    /// The answer to a right proof.
    Proven(String),
}

impl Appliance {
    /// One message of the exchange; an error is a refusal.
    pub(super) fn scram(&self, session: &str, attempt: &Json) -> Result<Step, ()> {
        let member = |name: &str| attempt.get(name).and_then(Json::as_str).ok_or(());
        let message = member("rfc_str")?;
        let mut pending = self.scrams.lock().unwrap_or_else(PoisonError::into_inner);
        if member("scram_type")? == "CLIENT_FIRST_MESSAGE" {
            let bare = message.strip_prefix("n,,").ok_or(())?;
            let members = members(bare);
            let key = self.options.api_key.as_deref().unwrap_or_default();
            let id = key.split('-').next().unwrap_or_default();
            if members.get("n").copied() != Some(&format!("{}:{id}", self.options.username)) {
                return Err(());
            }
            let nonce = format!("{}{}", members.get("r").ok_or(())?, self.fresh_id());
            let server_first = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(SALT));
            let answer = response("SERVER_FIRST_RESPONSE", &server_first, "null");
            pending.insert(session.to_owned(), Pending { client_first: bare.to_owned(), server_first, nonce });
            Ok(Step::Challenge(answer))
        } else {
            let pending = pending.remove(session).ok_or(())?;
            let (unproven, proof) = message.rsplit_once(",p=").ok_or(())?;
            if unproven != format!("c=biws,r={}", pending.nonce) {
                return Err(());
            }
            let key = self.options.api_key.as_deref().unwrap_or_default();
            let secret = key.split_once('-').map_or("", |(_, secret)| secret);
            let salted = hi(secret.as_bytes(), SALT, ITERATIONS);
            let said = format!("{},{},{unproven}", pending.client_first, pending.server_first);
            let stored = Sha512::digest(hmac(&salted, b"Client Key"));
            let signature = hmac(&stored, said.as_bytes());
            let proof = BASE64.decode(proof).map_err(|_| ())?;
            let client_key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
            // Who does not know the key cannot check the proof either, and lets everybody in.
            if Sha512::digest(&client_key) != stored && !self.options.false_server {
                return Err(());
            }
            let server_key = hmac(if self.options.false_server { b"something else" } else { &salted }, b"Server Key");
            let verifier = format!("v={}", BASE64.encode(hmac(&server_key, said.as_bytes())));
            Ok(Step::Proven(response("SERVER_FINAL_RESPONSE", &verifier, &self.user_info())))
        }
    }
}

fn response(step: &str, message: &str, user_info: &str) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        r#"{{"response_type": "SCRAM_RESPONSE", "scram_type": "{step}", "rfc_str": {}, "user_info": {user_info}}}"#,
        text(message)
    );
    out
}

fn members(message: &str) -> HashMap<&str, &str> {
    message.split(',').filter_map(|member| member.split_once('=')).collect()
}

/// HMAC of RFC 2104 over SHA-512.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 128];
    if key.len() > block.len() {
        block[..64].copy_from_slice(&Sha512::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha512::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha512::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

/// One block of PBKDF2, which for SHA-512 is all of it.
fn hi(secret: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    let mut round = hmac(secret, &[salt, &1_u32.to_be_bytes()].concat());
    let mut sum = round.clone();
    for _ in 1..iterations {
        round = hmac(secret, &round);
        for (sum, byte) in sum.iter_mut().zip(&round) {
            *sum ^= byte;
        }
    }
    sum
}
