//! Account names: `DOMAIN\name`, `name@suffix`, distinguished names, SIDs, numbers and product markers, in one form.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::UserType;

/// A parsed account name. The original is kept by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal<'a> {
    /// Bare name, folded where its realm is case-insensitive.
    pub name: Option<Cow<'a, str>>,
    /// Realm, folded; none for accounts local to the source.
    pub domain: Option<Cow<'a, str>>,
    /// An id in place of a name: a SID or a number.
    pub uid: Option<Cow<'a, str>>,
    /// What the form alone tells about the account.
    pub user_type: UserType,
}

/// Whether names without a realm are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNames {
    /// The product's own accounts distinguish case (Unix).
    KeepCase,
    /// They do not.
    Fold,
}

impl<'a> Principal<'a> {
    /// Reads a name; the first form that fits wins.
    pub fn parse(text: &'a str, bare: BareNames) -> Self {
        let text = text.trim();
        if text.is_empty() || text == "n/a" {
            return Self::default();
        }
        if text.starts_with('.') {
            return Self::marker(text);
        }
        if text.starts_with("S-1-") && text[4..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            return Self { uid: Some(text.into()), ..Self::default() };
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self { uid: Some(text.into()), ..Self::default() };
        }
        if let Some(principal) = Self::distinguished(text) {
            return principal;
        }
        let (prefix, rest) = match text.split_once('\\') {
            Some((domain, rest)) => (Some(domain), rest),
            None => (None, text),
        };
        let (name, domain) = match rest.rsplit_once('@') {
            Some((name, suffix)) if !name.is_empty() && !suffix.is_empty() => (name, Some(suffix)),
            _ => (rest, prefix),
        };
        let folds = domain.is_some() || bare == BareNames::Fold;
        let name = if folds { fold(name) } else { nfc(name) };
        let domain = domain.filter(|domain| !domain.is_empty()).map(fold);
        let user_type = match domain.as_deref() {
            Some("nt authority") => UserType::System,
            _ if name.ends_with('$') => UserType::Service,
            _ => UserType::Unknown,
        };
        Self { name: (!name.is_empty()).then_some(name), domain, uid: None, user_type }
    }

    /// TrueNAS marks what is no account with a leading dot.
    fn marker(text: &'a str) -> Self {
        let (name, user_type) = match text {
            ".TRUENAS_NODE" => (None, UserType::Node),
            _ => match text.strip_prefix(".API_KEY:") {
                Some(key) => (Some(Cow::Borrowed(key)).filter(|key| !key.is_empty()), UserType::Service),
                None => (None, UserType::Unknown),
            },
        };
        Self { name, user_type, ..Self::default() }
    }

    /// `CN=Ana,OU=x,DC=corp,DC=example`
    fn distinguished(text: &str) -> Option<Self> {
        let parts: Vec<(&str, &str)> =
            text.split(',').map(|part| part.trim().split_once('=')).collect::<Option<_>>()?;
        let of = |wanted: &str| {
            parts
                .iter()
                .filter(move |(key, _)| key.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| *value)
                .collect::<Vec<_>>()
        };
        let name = of("CN").into_iter().chain(of("UID")).find(|name| !name.is_empty())?;
        let domain = of("DC").join(".");
        Some(Self {
            name: Some(fold(name).into_owned().into()),
            domain: (!domain.is_empty()).then(|| fold(&domain).into_owned().into()),
            ..Self::default()
        })
    }
}

/// Unicode NFC and lower case, not by locale.
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return text.into();
    }
    // A mark may have a composed form with the small letter alone.
    nfc(&nfc(text).to_lowercase()).into_owned().into()
}

fn nfc(text: &str) -> Cow<'_, str> {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => text.into(),
        _ => text.nfc().collect::<String>().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_of_the_products() {
        for (input, name, domain, uid) in [
            ("", "", "", ""),
            (".UNAUTHENTICATED", "", "", ""),
            (".API_KEY:backup", "backup", "", ""),
            ("S-1-5-21-1-2-3-1104", "", "", "S-1-5-21-1-2-3-1104"),
            ("362", "", "", "362"),
            ("CN=Ana,OU=x,DC=corp,DC=example", "ana", "corp.example", ""),
            ("CN=,UID=Ana,DC=corp", "ana", "corp", ""),
            ("VSPHERE.LOCAL\\Administrator", "administrator", "vsphere.local", ""),
            ("CORP\\ana@corp.example", "ana", "corp.example", ""),
            ("Administrator@VSPHERE.LOCAL", "administrator", "vsphere.local", ""),
            ("NAS1$", "NAS1$", "", ""),
            ("CORP\\NAS1$", "nas1$", "corp", ""),
            ("NT AUTHORITY\\SYSTEM", "system", "nt authority", ""),
            ("root", "root", "", ""),
            ("Root", "Root", "", ""),
        ] {
            let parsed = Principal::parse(input, BareNames::KeepCase);
            assert_eq!(parsed.name.as_deref().unwrap_or(""), name, "{input}");
            assert_eq!(parsed.domain.as_deref().unwrap_or(""), domain, "{input}");
            assert_eq!(parsed.uid.as_deref().unwrap_or(""), uid, "{input}");
        }
        assert_eq!(fold("Y\u{30a}"), "\u{1e99}");
        assert_eq!(Principal::parse(".TRUENAS_NODE", BareNames::Fold).user_type, UserType::Node);
        assert_eq!(Principal::parse("NAS1$", BareNames::Fold).user_type, UserType::Service);
        assert_eq!(Principal::parse("Root", BareNames::Fold).name.as_deref(), Some("root"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = Principal::parse(&text, BareNames::Fold);
        }
    }
}
