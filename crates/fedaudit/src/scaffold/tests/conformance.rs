//! The suite that every source passes: by the plugin as Rust code, and by the library that fedaudit loads.

#[path = "../stand_in/mod.rs"]
mod stand_in;

use demo_src::DemoSrc;
use fedaudit_core::Time;
use fedaudit_plugin::subject;
use fedaudit_testkit::conformance::{Subject, Suite};

const SETTINGS: &str = r#"
url = "{url}"
token = "file:{secret}"
tls = { ca_file = "{ca}" }
"#;

fn suite(subject: Subject) -> Suite {
    let now = Time::from_seconds(1_790_000_000).unwrap_or_default();
    Suite::new(subject, SETTINGS, move |condition| Ok(stand_in::product(condition, now)))
        .sample(include_str!("../README.md"))
}

#[tokio::test]
async fn the_source_keeps_the_contract() {
    suite(Subject::of::<DemoSrc>()).run().await;
}

#[tokio::test]
async fn the_library_keeps_the_contract() {
    let library = subject::built("demo_src").expect("cargo builds it before the tests");
    suite(subject::loaded(&library).expect("a library that can be loaded")).run().await;
}
