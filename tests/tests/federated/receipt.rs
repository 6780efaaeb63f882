//! A receipt is what its schema says, whatever happened.

use crate::world::{Lab, ask, small};

#[tokio::test(flavor = "multi_thread")]
async fn every_receipt_fits_its_schema() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/receipt.schema.json");
    let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(folder).unwrap()).unwrap();
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
    let mut lab = Lab::start(small(51)).await;
    let wrong = lab.file("wrong.password", "not the password");
    let good = lab.engine();
    lab.table("sps-1").insert("password".to_owned(), format!("file:{}", wrong.display()).into());
    lab.table("vc-1").insert("url".to_owned(), "https://127.0.0.1:9".into());
    for engine in [good, lab.engine()] {
        for sql in [
            "SELECT count(*) FROM events",
            "SELECT * FROM sessions WHERE user_name = 'ana' AND start_time > timestamp '2026-11-10T00:00:00Z'",
            "SELECT * FROM events WHERE action = 'auth.login' AND outcome = 'failure'",
            "SELECT * FROM events WHERE user_name IN ('ana', 'o''x') AND product <> 'canvas'",
            "SELECT * FROM events ORDER BY time DESC LIMIT 3",
            "SELECT * FROM events JOIN sessions USING (session_key) LIMIT 1",
            "SELECT * FROM sources",
            "EXPLAIN SELECT * FROM events",
        ] {
            let receipt = ask(&engine, lab.window(), sql).await.unwrap().receipt;
            let json = serde_json::to_value(&receipt).unwrap();
            let errors: Vec<String> =
                validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{sql}: {errors:#?}\n{json:#}");
            assert_eq!(serde_json::from_value::<fedaudit_core::Receipt>(json).unwrap(), receipt);
            assert_eq!(receipt.sql, sql);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_a_receipt_add_up() {
    let lab = Lab::start(small(52)).await;
    let taken = ask(&lab.engine(), lab.window(), "SELECT event_key FROM events").await.unwrap().whole("all events");
    let rows: u64 = taken.receipt.streams.iter().map(|stream| stream.rows).sum();
    assert_eq!((taken.receipt.rows, taken.rows() as u64), (rows, rows));
    for stream in &taken.receipt.streams {
        assert!(stream.end.is_some() && stream.pages > 0 && stream.rejected == 0, "{stream:#?}");
        assert!(stream.records > 0, "{stream:#?}");
        assert_eq!(stream.asked, lab.window());
    }
    let requests = lab.requests();
    for source in &taken.receipt.sources {
        let heard = requests.iter().filter(|request| request.product == source.product).count() as u64;
        assert!(source.wire.requests > 0 && source.wire.logins <= 1 && source.wire.bytes > 0, "{source:#?}");
        assert!(heard > 0 && source.close_error.is_none(), "{source:#?}");
    }
    assert_eq!(taken.receipt.sources.len(), 4);
}
