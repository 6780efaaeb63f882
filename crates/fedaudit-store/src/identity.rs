//! Which system answers under which name. What was pinned at first contact holds until somebody confirms a change: rows of
//! two systems must never pass for those of one.

use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use fedaudit_core::{Error, ErrorKind, Result, Time, Window, Windows};
use serde::Serialize;

use crate::keys::text;
use crate::read;
use crate::table::Files;

/// What is pinned for a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Name of the source.
    pub source: String,
    /// Its stable identity.
    pub source_key: String,
    /// Its product.
    pub product: String,
    /// What the product says of itself.
    pub fingerprint: Option<String>,
    /// Version the product reported.
    pub product_version: Option<String>,
    /// Since when.
    pub pinned_at: Time,
    /// Why it was written down.
    pub reason: &'static str,
}

/// All that were pinned, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identities(Vec<Identity>);

impl Identities {
    pub(crate) async fn load(files: &Files) -> Result<Self> {
        let mut all = Vec::new();
        let columns = ["source", "source_key", "product", "fingerprint"];
        read::rows(files, &columns, &Windows::of(Window::ALL), |rows| {
            let [sources, keys, products] = ["source", "source_key", "product"].map(|name| text(&rows, name));
            let (sources, keys, products) = (sources?, keys?, products?);
            let prints = rows.column_by_name("fingerprint").and_then(|column| column.as_string_opt::<i32>());
            let times = rows
                .column_by_name("pinned_at")
                .and_then(|column| column.as_primitive_opt::<arrow_array::types::TimestampMicrosecondType>());
            let (Some(prints), Some(times)) = (prints, times) else {
                return Err(Error::new(ErrorKind::Malformed, "identities without their columns"));
            };
            for row in 0..rows.num_rows() {
                all.push(Identity {
                    source: sources.value(row).to_owned(),
                    source_key: keys.value(row).to_owned(),
                    product: products.value(row).to_owned(),
                    fingerprint: prints.is_valid(row).then(|| prints.value(row).to_owned()),
                    product_version: None,
                    pinned_at: Time::from_micros(times.value(row)),
                    reason: "",
                });
            }
            Ok(())
        })
        .await?;
        all.sort_by_key(|identity| identity.pinned_at);
        Ok(Self(all))
    }

    /// What has to be written down before rows of this source may be stored; nothing if all is as it was. A change that
    /// nobody confirmed is an error.
    pub(crate) fn compare(&self, mut found: Identity, confirmed: bool) -> Result<Option<Identity>> {
        if let Some(last) = self.0.iter().map(|known| known.pinned_at).max() {
            // The last one holds, also where the clock was set back in between.
            found.pinned_at = found.pinned_at.max(last.plus(std::time::Duration::from_micros(1)));
        }
        let of_name = self.0.iter().rev().find(|known| known.source == found.source);
        let of_key = self.0.iter().rev().find(|known| known.source_key == found.source_key);
        let with = |reason| Ok(Some(Identity { reason, ..found.clone() }));
        let changed = |text: String| {
            Err(Error::new(ErrorKind::Config, text).at(&found.source).hint(
                "nothing was stored. If this is right, confirm it with --confirm and the name of the source; if it is another \
                 system, give it another name and another identity in the configuration",
            ))
        };
        if let Some(known) = of_name.filter(|known| known.source_key != found.source_key) {
            if confirmed {
                return with("confirmed");
            }
            return changed(format!(
                "this name stood for {} until now, and stands for {} in the configuration",
                known.source_key, found.source_key
            ));
        }
        let Some(known) = of_key else { return with("first_contact") };
        match (&known.fingerprint, &found.fingerprint) {
            (Some(before), Some(now)) if before != now => {
                if confirmed {
                    return with("confirmed");
                }
                return changed(format!("another system answers: it was {before}, now it is {now}"));
            }
            (None, Some(_)) => return with("fingerprint_seen"),
            _ => {}
        }
        if of_name.is_none() {
            // What is known of the system stays known under its new name.
            let fingerprint = found.fingerprint.clone().or_else(|| known.fingerprint.clone());
            return Ok(Some(Identity { reason: "renamed", fingerprint, ..found }));
        }
        Ok(None)
    }

    /// Names of sources with the identity that each stood for.
    pub(crate) fn names(&self) -> impl Iterator<Item = (String, String)> {
        self.0.iter().map(|identity| (identity.source.clone(), identity.source_key.clone()))
    }

    pub(crate) fn add(&mut self, identity: Identity) {
        self.0.push(identity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str, source_key: &str, fingerprint: Option<&str>) -> Identity {
        Identity {
            source: source.into(),
            source_key: source_key.into(),
            product: "truenas".into(),
            fingerprint: fingerprint.map(Into::into),
            product_version: None,
            pinned_at: Time::EPOCH,
            reason: "",
        }
    }

    #[test]
    fn another_system_is_asked_about() {
        let mut known = Identities::default();
        let mut see = |identity: Identity, confirmed: bool| {
            let change = known.compare(identity, confirmed);
            if let Ok(Some(change)) = &change {
                known.add(change.clone());
            }
            change.map(|change| change.map(|change| change.reason))
        };
        assert_eq!(see(found("nas", "https://nas", None), false).unwrap(), Some("first_contact"));
        assert_eq!(see(found("nas", "https://nas", None), false).unwrap(), None);
        assert_eq!(see(found("nas", "https://nas", Some("a")), false).unwrap(), Some("fingerprint_seen"));
        // A product that says nothing this time is no other product.
        assert_eq!(see(found("nas", "https://nas", None), false).unwrap(), None);
        assert!(see(found("nas", "https://nas", Some("b")), false).is_err());
        assert_eq!(see(found("nas", "https://nas", Some("b")), true).unwrap(), Some("confirmed"));
        assert_eq!(see(found("nas", "https://nas", Some("b")), false).unwrap(), None);
        assert_eq!(see(found("nas-1", "https://nas", None), false).unwrap(), Some("renamed"));
        assert!(see(found("nas-1", "https://nas", Some("c")), false).is_err());
        assert!(see(found("nas-1", "https://new", Some("b")), false).is_err());
        assert_eq!(see(found("nas-1", "https://new", Some("b")), true).unwrap(), Some("confirmed"));
    }
}
