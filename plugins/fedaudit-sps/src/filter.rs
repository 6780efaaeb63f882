//! Push-down: our conditions in the appliance's Lucene-like language. The answer only has to be a superset, because the
//! engine filters again; so whatever could lose a row through another spelling is widened, or not pushed at all.

use fedaudit_core::{Operator, Predicate, Value};

use crate::record::is_plain_ipv4;

/// Longer lists are cheaper to filter here than to send.
const MOST_VALUES: usize = 50;
/// Appliances refuse request lines beyond some kilobytes; percent-encoding makes them longer still.
const LONGEST_QUERY: usize = 2500;

/// The conditions as one query, if anything of them can be pushed.
pub(crate) fn query(predicates: &[Predicate], user_forms: &[String]) -> Option<String> {
    let mut room = LONGEST_QUERY;
    // A clause that finds no room is left out: the conditions are a conjunction, so that more rows come, never fewer.
    let fits = |clause: &String| {
        let fits = clause.len() <= room;
        room -= if fits { clause.len() } else { 0 };
        fits
    };
    let clauses: Vec<String> =
        predicates.iter().filter_map(|predicate| clause(predicate, user_forms)).filter(fits).collect();
    (!clauses.is_empty()).then(|| clauses.join(" AND "))
}

fn clause(predicate: &Predicate, user_forms: &[String]) -> Option<String> {
    let values = &predicate.values;
    if predicate.operator != Operator::In || values.is_empty() || values.len() > MOST_VALUES {
        return None;
    }
    if predicate.column == "is_active" {
        let [Value::Bool(active)] = values.as_slice() else { return None };
        return Some(format!("active:{active}"));
    }
    let texts = predicate.texts()?;
    if texts.iter().any(|text| text.is_empty() || text.chars().any(char::is_control)) {
        return None;
    }
    match predicate.column.as_str() {
        "user_name" => user_name(&texts, user_forms),
        // These columns are in upper case, `verdict` with `_` for `-`; which spelling the version writes is open.
        "protocol" => Some(any_of(&["protocol"], &spellings(&texts))),
        "verdict" => Some(any_of(&["verdict"], &spellings(&texts))),
        "policy" => Some(any_of(&["recording.connection_policy"], &owned(&texts))),
        "source_node" => Some(any_of(&["node_id"], &owned(&texts))),
        "client_ip" | "src_ip" => addresses(&texts, &["client.ip", "client.name"]),
        // Where no server was reached, the column holds what the client asked for.
        "server_ip" | "dst_ip" => {
            addresses(&texts, &["server.ip", "server.name", "recording.target.ip", "recording.target.name"])
        }
        "state" if texts.as_slice() == ["active"] => Some("active:true".to_owned()),
        _ => None,
    }
}

/// Accounts. A bare name is compared as it is; one with a realm was folded and cut, so that without the configured
/// forms everything that carries a realm has to be read.
fn user_name(texts: &[&str], forms: &[String]) -> Option<String> {
    const FIELDS: [&str; 2] = ["user.name", "user.gateway_username"];
    // Two encodings of one accented letter are the same name for us and different words for the index.
    if !texts.iter().all(|text| text.is_ascii()) {
        return None;
    }
    if !forms.is_empty() {
        let names: Vec<String> =
            forms.iter().flat_map(|form| texts.iter().map(|text| form.replace("{}", text))).collect();
        return (names.len() <= MOST_VALUES).then(|| any_of(&FIELDS, &names));
    }
    let mut clauses = vec![any_of(&FIELDS, &owned(texts))];
    for field in FIELDS {
        // DOMAIN\name, name@realm, and distinguished names
        clauses.extend([r"*\\*", "*@*", "*=*"].map(|pattern| format!("{field}:{pattern}")));
    }
    clauses.extend(["user.name_domain:*", "user.gateway_username_domain:*"].map(str::to_owned));
    Some(format!("({})", clauses.join(" OR ")))
}

/// Addresses: IPv4 has one spelling; of IPv6 nobody knows which one the appliance keeps.
fn addresses(texts: &[&str], fields: &[&str]) -> Option<String> {
    texts.iter().all(|text| is_plain_ipv4(text)).then(|| any_of(fields, &owned(texts)))
}

/// `(field:"a" OR field:"b")`, values quoted and escaped.
fn any_of(fields: &[&str], values: &[String]) -> String {
    let mut terms = Vec::with_capacity(fields.len() * values.len());
    for field in fields {
        terms.extend(values.iter().map(|value| format!("{field}:{}", quoted(value))));
    }
    if terms.len() == 1 { terms.remove(0) } else { format!("({})", terms.join(" OR ")) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A word in upper, lower and mixed case, with `_` and with `-`.
fn spellings(texts: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for text in texts {
        let lower = text.to_lowercase();
        let mut mixed = lower.clone();
        if let Some(first) = mixed.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        for word in [(*text).to_owned(), lower, mixed] {
            for word in [word.replace('_', "-"), word] {
                if !all.contains(&word) {
                    all.push(word);
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(column: &str, texts: &[&str], forms: &[&str]) -> Option<String> {
        let forms: Vec<String> = forms.iter().map(|form| (*form).to_owned()).collect();
        query(&[Predicate::any_of(column, texts.iter().copied())], &forms)
    }

    #[test]
    fn values_are_quoted_and_escaped() {
        assert_eq!(
            of("policy", &[r#"a" OR x:\y"#], &[]).as_deref(),
            Some(r#"recording.connection_policy:"a\" OR x:\\y""#)
        );
        assert_eq!(
            of("protocol", &["SSH"], &[]).as_deref(),
            Some(r#"(protocol:"SSH" OR protocol:"ssh" OR protocol:"Ssh")"#)
        );
        assert_eq!(
            of("user_name", &["ana"], &["{}", r"CORP\{}"]).as_deref(),
            Some(
                r#"(user.name:"ana" OR user.name:"CORP\\ana" OR user.gateway_username:"ana" OR user.gateway_username:"CORP\\ana")"#
            )
        );
    }

    #[test]
    fn what_could_lose_rows_is_not_pushed() {
        assert_eq!(of("server_ip", &["2001:db8::1"], &[]), None);
        assert_eq!(of("user_name", &["zoë"], &[]), None);
        assert_eq!(of("state", &["active", "closed"], &[]), None);
        assert_eq!(of("user_uid", &["1"], &[]), None);
        let not = Predicate { operator: Operator::NotIn, ..Predicate::any_of("protocol", ["SSH"]) };
        assert_eq!(query(&[not], &[]), None);
    }

    #[test]
    fn names_with_a_realm_are_all_asked_for() {
        let query = of("user_name", &["ana"], &[]).unwrap();
        for part in [r#"user.name:"ana""#, r"user.name:*\\*", "user.gateway_username:*@*", "user.name_domain:*"] {
            assert!(query.contains(part), "{query}");
        }
    }
}
