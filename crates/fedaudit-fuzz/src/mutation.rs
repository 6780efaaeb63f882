//! Changes to kept inputs. Bytes made up at random hardly ever get past a decoder's first brace; most changes here put
//! one whole word in place of another, so that the form holds and the meaning does not.

use std::ops::Range;

/// Words that decoders have trouble with, for JSON, XML, links, times and addresses alike.
const WORDS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1.5",
    "1e999",
    "-1",
    "60",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1970-01-01T00:00:00Z",
    "2016-12-31T23:59:60Z",
    "2026-02-30T00:00:00",
    "2262-04-11T00:00:00Z",
    "9999-12-31T23:59:59.999999999+23:59",
    "{}",
    "[]",
    "{\"a\":1}",
    "[[[[[[[[",
    "\"\"",
    "\\\"",
    "\\\\",
    "\\n",
    "\\u0000",
    "\\u0022",
    "\\ud800",
    "\\ud83d\\ude00",
    "\u{0}",
    "\u{feff}",
    "\u{fffd}",
    "ü",
    "😀",
    "&amp;",
    "&#0;",
    "&#x1F980;",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<a>",
    "</a>",
    "/>",
    " xsi:nil=\"true\"",
    "\r\n",
    "::1",
    "fe80::1%eth0",
    "192.0.2.7:443",
    "CORP\\ana",
    "%2F",
    "//",
    "https://",
    "@",
    ",",
    ":",
    "=",
];

/// Makes inputs out of kept ones.
pub(crate) struct Mutator {
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    pub(crate) fn new(corpus: Vec<Vec<u8>>) -> Self {
        Self { corpus }
    }

    /// The input of this number: it depends on nothing else but the seed and the corpus.
    pub(crate) fn input(&self, seed: u64, number: u64) -> Vec<u8> {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let mut input = self.any(&mut random).to_vec();
        // A short one hardly survives several.
        for _ in 0..=random.below(1 + (input.len() / 100).min(2)) {
            self.change(&mut input, &mut random);
        }
        input
    }

    fn any(&self, random: &mut Random) -> &[u8] {
        &self.corpus[random.below(self.corpus.len())]
    }

    fn change(&self, input: &mut Vec<u8>, random: &mut Random) {
        let at = random.below(input.len() + 1);
        match random.below(16) {
            0..=4 => {
                let place = word(input, at);
                input.splice(place, random.word().bytes());
            }
            5..=8 => {
                // A word of the same kind of document, which may mean something in this place.
                let other = self.any(random);
                let found = other[word(other, random.below(other.len() + 1))].to_vec();
                input.splice(word(input, at), found);
            }
            9 => drop(input.splice(at..at, random.word().bytes())),
            10 => {
                let end = input.len().min(at + random.below(24));
                input.drain(at..end);
            }
            11 => {
                let end = input.len().min(at + random.below(200));
                let piece = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            12 => {
                let other = self.any(random);
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            13 => input.truncate(at),
            14 => drop(input.splice(at..at, [b"\"{}[],:<>/=&;\\"[random.below(14)]])),
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.bits() as u8;
                }
            }
        }
    }
}

/// The word at a place, or the next one; at the end none.
fn word(input: &[u8], at: usize) -> Range<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+.".contains(byte);
    let at = at + input[at..].iter().position(is_part).unwrap_or(0);
    let start = at - input[..at].iter().rev().take_while(|byte| is_part(byte)).count();
    let end = at + input[at..].iter().take_while(|byte| is_part(byte)).count();
    start..end
}

/// splitmix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.bits()) * limit as u128) >> 64) as usize
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        let mutator = || Mutator::new(vec![br#"{"a": [1, "two"]}"#.to_vec(), b"<x>3</x>".to_vec()]);
        let inputs = |seed| (0..200).map(|number| mutator().input(seed, number)).collect::<Vec<_>>();
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        let mut different = inputs(1);
        different.sort();
        different.dedup();
        assert!(different.len() > 100, "{}", different.len());
    }

    #[test]
    fn words_are_found_whole() {
        let text = br#"{"user_name": 2026-01-01}"#;
        assert_eq!(&text[word(text, 4)], b"user_name");
        assert_eq!(&text[word(text, 0)], b"user_name");
        assert_eq!(&text[word(text, text.len() - 1)], b"2026-01-01");
        assert_eq!(word(text, text.len()), text.len()..text.len());
    }
}
