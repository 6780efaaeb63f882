//! What a source says of itself, and what its settings may say.

use fedaudit_core::{ErrorKind, PageRequest, PluginInfo, SourceInfo, StreamKind, Window};

use crate::conformance::product::Condition;
use crate::conformance::reading;
use crate::conformance::{Kit, Outcome, Trouble, ensure, table};

pub(super) async fn streams_are_described(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    let info = source.info();
    ensure!(bench.front.requests() == 0, "building a source asked the product something");
    ensure!(
        !bench.is_served || bench.settings().contains(&info.origin),
        "the origin {} is not that of the settings",
        info.origin
    );
    sound(info, kit.plugin)?;
    for stream in &info.streams {
        let name = &stream.name;
        let told = bench.product.truths.iter().any(|truth| truth.stream == *name);
        let known = told || kit.untold.iter().any(|(stream, _)| stream == name);
        ensure!(known, "{name} is declared, and the subject tells no truth about it");
    }
    for truth in &bench.product.truths {
        ensure!(info.stream(&truth.stream).is_some(), "{} is served, and not declared", truth.stream);
    }
    Ok(())
}

/// What every description has to say, whatever the product.
pub(in crate::conformance) fn sound(info: &SourceInfo, plugin: &PluginInfo) -> Outcome {
    ensure!(!info.product.is_empty() && !info.plugin.is_empty(), "no product or plugin name");
    ensure!(!info.plugin_version.is_empty(), "no plugin version");
    let said = &plugin.version;
    ensure!(info.plugin_version == *said, "its sources are of version {}, the plugin {said}", info.plugin_version);
    ensure!(!info.streams.is_empty(), "no streams");
    for stream in &info.streams {
        let name = &stream.name;
        ensure!(!name.is_empty() && !stream.time_field.is_empty(), "{name}: no name or time field");
        ensure!(info.streams.iter().filter(|other| other.name == *name).count() == 1, "{name} twice");
        ensure!(stream.parallel_windows >= 1, "{name}: no window may be read");
        ensure!(!stream.granularity.is_zero(), "{name}: times without granularity");
        ensure!(plugin.streams.contains(name), "the plugin does not list its stream {name}");
        let table = reading::table(stream.kind);
        for pushable in &stream.pushable {
            ensure!(table.column(&pushable.column).is_some(), "{name}: pushes {}, no column", pushable.column);
            ensure!(!pushable.operators.is_empty(), "{name}: pushes {} with no operator", pushable.column);
        }
        for spot in &stream.blind_spots {
            ensure!(!spot.reason.is_empty(), "{name}: a blind spot without reason");
            for predicate in &spot.predicates {
                ensure!(table.column(&predicate.column).is_some(), "{name}: blind for {}, no column", predicate.column);
                ensure!(!predicate.values.is_empty(), "{name}: blind for no value of {}", predicate.column);
            }
        }
        let live = stream.pairing.as_ref().and_then(|pairing| pairing.live_stream.as_ref());
        if let Some(live) = live {
            let kind = info.stream(live).map(|stream| stream.kind);
            ensure!(kind == Some(StreamKind::Sessions), "{name}: its live list {live} is no stream of sessions");
        }
    }
    let written = serde_json::to_string(info).map_err(|error| Trouble::Broken(error.to_string()))?;
    let read: SourceInfo = serde_json::from_str(&written).map_err(|error| Trouble::Broken(error.to_string()))?;
    ensure!(format!("{read:?}") == format!("{info:?}"), "the description is not the same after writing and reading");
    Ok(())
}

pub(super) async fn samples_parse(kit: &Kit<'_>) -> Outcome {
    let mut seen = 0;
    for document in kit.samples {
        for block in document.split("```toml").skip(1).filter_map(|rest| rest.split("```").next()) {
            let read = table(block)?;
            for source in read.get("source").and_then(|sources| sources.as_array()).into_iter().flatten() {
                let mut settings = source.as_table().cloned().unwrap_or_default();
                if settings.remove("type").and_then(|kind| kind.as_str().map(str::to_owned)).as_deref()
                    != Some(kit.plugin.kind.as_str())
                {
                    continue;
                }
                settings.remove("name");
                settings.remove("identity");
                match kit.build_table(settings) {
                    Ok(_) => {}
                    // The files that a sample names are the reader's own.
                    Err(error) if error.to_string().contains("ca_file") => {}
                    Err(error) => return Err(Trouble::Broken(format!("sample: {error:?}"))),
                }
                seen += 1;
            }
        }
    }
    if seen == 0 {
        return Err(Trouble::Skip("no document with a sample was handed in".to_owned()));
    }
    Ok(())
}

pub(super) async fn unknown_keys_fail(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let good = table(&bench.settings())?;
    bench.source()?;
    let must_fail = |settings: &toml::Table, what: String| match kit.build_table(settings.clone()) {
        Ok(_) => Err(Trouble::Broken(format!("{what} is accepted"))),
        Err(error) if error.kind() == ErrorKind::Config => Ok(()),
        Err(error) => Err(Trouble::Broken(format!("{what} gives {error:?}"))),
    };
    let mut more = good.clone();
    more.insert("unknown_key".into(), 1.into());
    must_fail(&more, "unknown_key".into())?;
    for (key, value) in &good {
        let mut misspelt = good.clone();
        misspelt.insert(format!("{key}x"), value.clone());
        must_fail(&misspelt, format!("{key}x"))?;
        if let Some(inner) = value.as_table() {
            let mut inner = inner.clone();
            inner.insert("unknown_key".into(), 1.into());
            let mut nested = good.clone();
            nested.insert(key.clone(), inner.into());
            must_fail(&nested, format!("{key}.unknown_key"))?;
        }
    }
    Ok(())
}

pub(super) async fn secrets_are_references(kit: &Kit<'_>) -> Outcome {
    const WRITTEN_OUT: &str = "correct-horse-battery";
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    kit.secrets.learn(WRITTEN_OUT);
    let reference = kit.settings.lines().find(|line| line.contains("{secret}")).unwrap_or_default();
    ensure!(!reference.is_empty(), "the settings of the subject name no {{secret}}");
    let settings = kit.settings.replace("file:{secret}", WRITTEN_OUT);
    let settings = settings.replace("{url}", bench.origin()).replace("tls = { ca_file = \"{ca}\" }", "");
    match kit.build(&settings) {
        Ok(_) => Err(Trouble::Broken("a secret written into the settings is accepted".to_owned())),
        Err(error) => {
            ensure!(error.kind() == ErrorKind::Config, "a secret in the settings gives {error:?}");
            kit.secrets.look_at_error(&error);
            let shown = format!("{error:?}");
            ensure!(!shown.contains(WRITTEN_OUT), "the error repeats the secret");
            Ok(())
        }
    }
}

pub(super) async fn a_missing_secret_is_named(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    let settings = bench.settings().replace("/credential\"", "/no-such-file\"");
    let stream = &bench.filled()?[0].stream;
    let outcome = match kit.build(&settings) {
        Ok(source) => source.fetch(&bench.cx, &PageRequest::first(stream, Window::ALL)).await.map(|_| ()),
        Err(error) => Err(error),
    };
    let Err(error) = outcome else {
        return Err(Trouble::Broken("a source without its secret reads".to_owned()));
    };
    ensure!(error.kind() == ErrorKind::Config, "{error:?} is no configuration error");
    ensure!(error.to_string().contains("no-such-file"), "{error} does not name the place of the secret");
    Ok(())
}

pub(super) async fn plain_http_is_refused(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    match kit.build(&bench.settings_at("http://product.example")) {
        Ok(_) => Err(Trouble::Broken("credentials would travel over plain http".to_owned())),
        Err(error) if error.kind() == ErrorKind::Config => Ok(()),
        Err(error) => Err(Trouble::Broken(format!("plain http gives {error:?}"))),
    }
}

pub(super) async fn the_address_is_an_origin(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench_on_the_wire(Condition::Healthy).await?;
    kit.secrets.learn("not-a-secret-word");
    for address in [
        "https://reader:not-a-secret-word@product.example",
        "https://product.example/api",
        "https://product.example/?x=1",
        "ftp://product.example",
        "product.example",
        "",
    ] {
        match kit.build(&bench.settings_at(address)) {
            Ok(_) => return Err(Trouble::Broken(format!("'{address}' is taken for an address"))),
            Err(error) => {
                kit.secrets.look_at_error(&error);
                ensure!(error.kind() == ErrorKind::Config, "'{address}' gives {error:?}");
                ensure!(
                    !error.to_string().contains("not-a-secret-word"),
                    "the error repeats the address's credentials"
                );
            }
        }
    }
    Ok(())
}

pub(super) async fn unknown_streams_are_errors(kit: &Kit<'_>) -> Outcome {
    let bench = kit.bench(Condition::Healthy).await?;
    let source = bench.source()?;
    for name in ["no.such.stream", ""] {
        let outcome = source.fetch(&bench.cx, &PageRequest::first(name, Window::ALL)).await;
        ensure!(outcome.is_err(), "stream '{name}' gives an answer");
    }
    source.close(&bench.cx).await?;
    Ok(())
}
