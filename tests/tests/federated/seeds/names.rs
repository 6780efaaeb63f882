//! Reads the names out of the documents: from samples, from headings, from tables, each document in its own way.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::table::Seed;

/// What a document names.
#[derive(Default)]
pub(super) struct Names {
    /// Names with their paths.
    pub(super) fields: BTreeSet<String>,
    /// Names that the prose uses without a path.
    pub(super) documented: BTreeSet<String>,
    /// Text that nothing in the table accounts for.
    pub(super) leftovers: Vec<String>,
}

/// The names of a document.
pub(super) fn of(seed: &Seed, text: &str, model: impl Fn() -> String) -> Names {
    match &seed.file[..3] {
        "000" => described(seed, text, &model()),
        "001" => headings(seed, text),
        "002" => sample(text),
        "003" => list_and_table(text),
        "004" => commented(text),
        other => panic!("no way to read document {other}"),
    }
}

/// A document of sentences: the data model gives the names, and the table's sentences have to use up the text.
fn described(seed: &Seed, text: &str, model: &str) -> Names {
    let mut sentences: Vec<&str> = seed.entries.iter().filter_map(|entry| entry.describes.as_deref()).collect();
    sentences.extend(seed.boilerplate.iter().map(String::as_str));
    sentences.sort_by_key(|sentence| std::cmp::Reverse(sentence.len()));
    let mut rest = text.to_owned();
    for sentence in &sentences {
        assert!(text.contains(sentence), "the document does not say: {sentence}");
        rest = rest.replace(sentence, "\n");
    }
    let leftovers = rest.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();

    let section = |from: &str, to: &str| -> Vec<String> {
        let lines = model.lines().skip_while(|line| !line.starts_with(from)).skip(1);
        lines.take_while(|line| !line.starts_with(to)).map(str::to_owned).collect()
    };
    let mut names = BTreeSet::new();
    for (lines, parent) in [
        (section("### 3.1 ", "#### "), ""),
        (section("#### 3.1.1 ", "#### "), "credentials_data."),
        (section("#### 3.1.2 ", "### "), ""),
    ] {
        for row in lines.iter().filter(|line| line.starts_with("| ")) {
            let first = row.trim_start_matches("| ").split(" | ").next().unwrap_or_default();
            let bare =
                first.split('_').all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase()));
            if bare {
                names.insert(first.to_owned());
            }
            let mut before = String::new();
            for name in first.split('`').skip(1).step_by(2) {
                let name = name.trim_end_matches('…');
                let name = match name.strip_prefix('.') {
                    Some(last) => format!("{before}.{last}"),
                    None => name.to_owned(),
                };
                before = name.rsplit_once('.').map_or(String::new(), |(before, _)| before.to_owned());
                names.insert(format!("{parent}{name}"));
            }
        }
    }
    Names { fields: names, leftovers, ..Names::default() }
}

/// A document of headings: short lines that stand alone. Values of an enumeration are bullets.
fn headings(seed: &Seed, text: &str) -> Names {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_empty = |at: Option<usize>| at.and_then(|at| lines.get(at)).is_none_or(|line| line.is_empty());
    let mut names = BTreeSet::new();
    for (at, line) in lines.iter().enumerate() {
        let words = line.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' ' || byte == b'-');
        if !line.is_empty() && words && is_empty(at.checked_sub(1)) && is_empty(Some(at + 1)) {
            names.insert((*line).to_owned());
        }
        names.extend(line.strip_prefix("• ").map(|value| value.trim_matches('"').to_owned()));
        names.extend(
            line.strip_prefix("Required roles: ").into_iter().flat_map(|roles| roles.split(", ")).map(str::to_owned),
        );
    }
    for boilerplate in &seed.boilerplate {
        assert!(names.remove(boilerplate), "the document does not say: {boilerplate}");
    }
    Names { fields: names, ..Names::default() }
}

/// A JSON sample, followed by a list of members, each after its type and before a word on whether it is optional.
fn sample(text: &str) -> Names {
    let mut found = Names::default();
    for (_, value) in objects(text) {
        paths(&value, "", &mut found.fields);
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    found.documented = lines
        .windows(2)
        .filter(|pair| matches!(pair[1], "Optional" | "Required"))
        .map(|pair| pair[0].to_owned())
        .collect();
    assert!(!found.documented.is_empty());
    found
}

/// Samples of a list and of a document, snippets of single members, and a table of elements.
fn list_and_table(text: &str) -> Names {
    let mut found = Names::default();
    for (member, value) in objects(text) {
        let parent = match member {
            Some(member) => format!("body.{member}."),
            None if value.get("items").is_some() => "list.".to_owned(),
            None => String::new(),
        };
        if !parent.is_empty() && parent != "list." {
            found.fields.insert(parent.trim_end_matches('.').to_owned());
        }
        paths(&value, &parent, &mut found.fields);
    }
    found.documented = text
        .lines()
        .filter_map(|line| line.split_once(" | "))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .collect();
    assert!(found.documented.len() > 30);
    found
}

/// A sample with comments, routes, and bullets of parameters.
fn commented(text: &str) -> Names {
    let bare: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |text, line| text + line + "\n");
    let mut found = Names::default();
    for (_, value) in objects(&bare) {
        paths(&value, "", &mut found.fields);
    }
    for line in text.lines().map(str::trim) {
        found.fields.extend(line.strip_prefix("• ").map(|name| format!("?{name}")));
        if let Some(route) = line.strip_prefix("GET ") {
            found.fields.insert(line.to_owned());
            found.fields.extend(route.split('/').filter(|part| part.starts_with(':')).map(str::to_owned));
        }
    }
    found
}

/// Every JSON object in a text, with the name of the member that it is written as, if any.
fn objects(text: &str) -> Vec<(Option<String>, Json)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].find('{').map(|next| at + next) {
        let mut stream = serde_json::Deserializer::from_str(&text[next..]).into_iter::<Json>();
        match stream.next() {
            Some(Ok(value)) => {
                let before = text[..next].trim_end().strip_suffix(':').and_then(|before| before.strip_suffix('"'));
                found.push((before.and_then(|before| Some(before.rsplit_once('"')?.1.to_owned())), value));
                at = next + stream.byte_offset();
            }
            _ => at = next + 1,
        }
    }
    assert!(!found.is_empty(), "no sample in the document");
    found
}

/// Member names with their paths, and the parameters of links.
fn paths(value: &Json, parent: &str, names: &mut BTreeSet<String>) {
    match value {
        Json::Object(members) => {
            for (name, value) in members {
                let path = format!("{parent}{name}");
                match value {
                    Json::Array(items) if items.iter().any(Json::is_object) => {
                        for item in items {
                            paths(item, &format!("{path}[]."), names);
                        }
                        names.insert(format!("{path}[]"));
                    }
                    _ => {
                        paths(value, &format!("{path}."), names);
                        names.insert(path);
                    }
                }
            }
        }
        Json::String(text) => {
            let query = text.split_once('?').map_or("", |(_, query)| query);
            let parameters = query.split('&').filter_map(|pair| pair.split_once('='));
            names.extend(parameters.map(|(name, _)| format!("?{name}")));
        }
        _ => {}
    }
}
