//! Fuzz targets that stand beside the decoders they try, as unit tests.
//!
//! Plain `cargo test` replays the kept corpus of a target and then a number of mutations of it, always the same ones.
//! `cargo bolero` runs the same target under libFuzzer for as long as one likes; `docs/fuzzing.md` has the commands.
//!
//! A target is a function from bytes to [`Depth`] that panics where a property of the decoder does not hold. What it says
//! of the depth is checked as well: inputs that all break at the first byte try nothing.

mod mutation;

#[cfg(fuzzing_libfuzzer)]
#[doc(hidden)]
pub use bolero;

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use mutation::Mutator;

/// How far an input got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// It was refused as a whole.
    Refused,
    /// The inside was reached: there was a value, a row, a record.
    Decoded,
}

impl Depth {
    /// Whether there was anything.
    pub fn reached(anything: bool) -> Self {
        if anything { Self::Decoded } else { Self::Refused }
    }
}

/// Runs a target of this name, whose corpus is in `src/__fuzz__/NAME/corpus` of the crate that it stands in.
#[cfg(not(fuzzing_libfuzzer))]
#[macro_export]
macro_rules! target {
    ($name:literal, $property:expr) => {
        $crate::run($name, ::std::path::Path::new(env!("CARGO_MANIFEST_DIR")), $property)
    };
}

/// Runs a target of this name under libFuzzer.
#[cfg(fuzzing_libfuzzer)]
#[macro_export]
macro_rules! target {
    ($name:literal, $property:expr) => {{
        let property: fn(&[u8]) -> $crate::Depth = $property;
        $crate::bolero::check!(name = $name).for_each(move |input: &[u8]| {
            property(input);
        });
    }};
}

/// Mutations that a target is tried with, unless `FEDAUDIT_FUZZ_INPUTS` says otherwise, and the bytes that they may have
/// in all: large ones are fewer, so that no target takes more than a second.
const INPUTS: u64 = 600;
const BYTES: usize = 600_000;
/// Of how many inputs one has to get inside.
const DEEP: u64 = 20;

/// Replays the corpus, then mutations of it.
#[expect(clippy::print_stdout, reason = "a test says what it did")]
pub fn run(name: &str, package: &Path, property: fn(&[u8]) -> Depth) {
    let folder = package.join("src/__fuzz__").join(name).join("corpus");
    let corpus = corpus(&folder);
    for (file, input) in &corpus {
        let _told = Told { input, of: &|| format!("{name}: {}", folder.join(file).display()) };
        property(input);
    }
    let asked: Option<u64> = number("FEDAUDIT_FUZZ_INPUTS");
    let seed = number("FEDAUDIT_FUZZ_SEED").unwrap_or(1);
    let mutator = Mutator::new(corpus.into_iter().map(|(_, input)| input).collect());
    let (mut tried, mut deep, mut bytes) = (0, 0, 0);
    while tried < asked.unwrap_or(INPUTS) && (asked.is_some() || bytes < BYTES) {
        let input = mutator.input(seed, tried);
        let _told = Told { input: &input, of: &move || format!("{name}: seed {seed}, input {tried}") };
        deep += u64::from(property(&input) == Depth::Decoded);
        tried += 1;
        bytes += input.len();
    }
    assert!(deep * DEEP >= tried, "{name}: only {deep} of {tried} inputs got inside the decoder");
    println!("{name}: {deep} of {tried} inputs got inside, seed {seed}");
}

/// The kept inputs by name.
fn corpus(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut corpus: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.expect("a folder that can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    corpus.sort();
    assert!(!corpus.is_empty(), "{} holds nothing", folder.display());
    corpus
}

fn number<N: FromStr>(variable: &str) -> Option<N> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}='{text}' is no number")))
}

/// Tells which input it was, should the property not hold: a file to be put into the corpus.
struct Told<'t> {
    input: &'t [u8],
    of: &'t dyn Fn() -> String,
}

#[expect(clippy::print_stderr, reason = "a test says why it failed")]
impl Drop for Told<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let file = std::env::temp_dir().join(format!("fedaudit-fuzz-{moment}"));
        let kept = fs::write(&file, self.input).map_or_else(|error| error.to_string(), |()| file.display().to_string());
        eprintln!("the property does not hold for {}\nits bytes: {kept}", (self.of)());
        eprintln!("{}", String::from_utf8_lossy(&self.input[..self.input.len().min(4000)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(inputs: &[&str]) -> std::path::PathBuf {
        let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let package = std::env::temp_dir().join(format!("fedaudit-fuzz-test-{moment}"));
        let folder = package.join("src/__fuzz__/target/corpus");
        fs::create_dir_all(&folder).unwrap();
        for (number, input) in inputs.iter().enumerate() {
            fs::write(folder.join(number.to_string()), input).unwrap();
        }
        package
    }

    fn holds(inputs: &[&str], property: fn(&[u8]) -> Depth) -> bool {
        let package = folder(inputs);
        let outcome = std::panic::catch_unwind(|| run("target", &package, property));
        fs::remove_dir_all(package).unwrap();
        outcome.is_ok()
    }

    #[test]
    fn a_property_that_does_not_hold_fails_the_test() {
        assert!(holds(&["some words", "more words"], |_| Depth::Decoded));
        // In the corpus, and only behind a mutation.
        assert!(!holds(&["some words", "more words"], |input| {
            assert!(!input.starts_with(b"more"));
            Depth::Decoded
        }));
        assert!(!holds(&["some words"], |input| {
            assert_eq!(input.first(), Some(&b's'));
            Depth::Decoded
        }));
    }

    #[test]
    fn inputs_that_never_get_inside_fail_the_test() {
        assert!(!holds(&["words"], |_| Depth::Refused));
        assert!(!holds(&[], |_| Depth::Decoded));
    }
}
