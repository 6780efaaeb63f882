//! Our own keys: `event_key` and `session_key`.
//!
//! A key is the first 16 bytes, in hex, of SHA-256 over a tag and the parts. Each part is preceded by its length as four
//! big-endian bytes, so that two different lists of parts never meet; a missing part is the length `0xFFFFFFFF`.

use sha2::{Digest, Sha256};

/// Distinguishes the two kinds of key, and versions of the scheme.
#[derive(Clone, Copy, Debug)]
pub enum KeyKind {
    /// `events.event_key`
    Event,
    /// `sessions.session_key`
    Session,
}

/// A key as 32 hex digits on the stack.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// Hashes the parts; `source_key` is always the first one, so that renaming a source changes no key.
    pub fn new(kind: KeyKind, source_key: &str, parts: &[Option<&str>]) -> Self {
        let mut hash = Sha256::new();
        hash.update(match kind {
            KeyKind::Event => "fedaudit/event/1",
            KeyKind::Session => "fedaudit/session/1",
        });
        for part in std::iter::once(&Some(source_key)).chain(parts) {
            match part {
                Some(text) => {
                    hash.update(u32::try_from(text.len()).unwrap_or(u32::MAX - 1).to_be_bytes());
                    hash.update(text);
                }
                None => hash.update(u32::MAX.to_be_bytes()),
            }
        }
        let mut hex = [0; 32];
        hex_into(&hash.finalize()[..16], &mut hex);
        Self(hex)
    }

    /// The 32 hex digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// SHA-256 of a text as 64 hex digits.
pub fn sha256_hex(bytes: &[u8]) -> [u8; 64] {
    let mut hex = [0; 64];
    hex_into(&Sha256::digest(bytes), &mut hex);
    hex
}

fn hex_into(bytes: &[u8], hex: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(hex.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[Option<&str>]) -> String {
        Key::new(KeyKind::Event, "nas", parts).as_str().to_owned()
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(key(&[Some("ab"), Some("c")]), key(&[Some("a"), Some("bc")]));
        assert_ne!(key(&[None]), key(&[Some("")]));
        assert_ne!(key(&[]), key(&[None]));
    }

    #[test]
    fn the_scheme_is_fixed() {
        // computed with: printf 'fedaudit/event/1\0\0\0\3nas\0\0\0\1x' | sha256sum
        assert_eq!(key(&[Some("x")]), "405e70c407d0c25bf371d892d4f57efb");
    }
}
