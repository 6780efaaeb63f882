//! The server's own filter for a request. Times are inclusive at both ends and every condition may let more through.

use fedaudit_core::{Action, Operator, PageRequest, Predicate, Time};

use crate::catalogue::codes_of;
use crate::transcode::quote;

/// What a collector is made with. Its text form identifies the collector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    pub(crate) begin: Option<Time>,
    pub(crate) end: Option<Time>,
    /// Class names and ids; none for all.
    pub(crate) codes: Option<Vec<String>>,
    /// Accounts in the server's own forms; none for all. Events of the system come along, because some of them name
    /// their account only in an argument.
    pub(crate) users: Option<Vec<String>>,
}

impl Filter {
    /// The filter for a request; `None` if nothing can match.
    pub(crate) fn new(request: &PageRequest, user_forms: &[String]) -> Option<Self> {
        let mut filter = Self { begin: request.window.from, end: request.window.to, ..Self::default() };
        if request.window.is_empty() {
            return None;
        }
        for predicate in request.predicates.iter().filter(|predicate| predicate.operator == Operator::In) {
            let Some(values) = predicate.texts() else { continue };
            match predicate.column.as_str() {
                "action" => filter.only_codes(codes_of_actions(&values)),
                "event_code" => filter.only_codes(Some(values.iter().map(|&code| code.to_owned()).collect())),
                "user_name" if !user_forms.is_empty() => filter.only_users(predicate, user_forms),
                _ => {}
            }
        }
        (filter.codes.as_ref().is_none_or(|codes| !codes.is_empty())).then_some(filter)
    }

    fn only_codes(&mut self, wanted: Option<Vec<String>>) {
        let Some(wanted) = wanted else { return };
        self.codes = Some(match self.codes.take() {
            None => wanted,
            Some(codes) => codes.into_iter().filter(|code| wanted.contains(code)).collect(),
        });
    }

    fn only_users(&mut self, predicate: &Predicate, forms: &[String]) {
        let names = predicate.texts().unwrap_or_default();
        let users = forms.iter().flat_map(|form| names.iter().map(move |name| form.replace("{}", name)));
        self.users = Some(users.collect());
    }

    /// Whether it narrows by more than time.
    pub(crate) fn is_narrow(&self) -> bool {
        self.codes.is_some() || self.users.is_some()
    }

    /// The same without the members that narrow by event class or account, for servers that refuse one of them.
    pub(crate) fn by_time_only(&self) -> Self {
        Self { codes: None, users: None, ..self.clone() }
    }

    /// `EventFilterSpec` in XML: members in schema order, which the server insists on. There is no `maxCount`: it is described
    /// as a page size here and as a limit there.
    pub(crate) fn xml(&self) -> String {
        let mut xml = String::new();
        if self.begin.is_some() || self.end.is_some() {
            xml.push_str("<time>");
            for (name, bound) in [("beginTime", self.begin), ("endTime", self.end)] {
                if let Some(bound) = bound {
                    element(&mut xml, name, &bound.to_string());
                }
            }
            xml.push_str("</time>");
        }
        if let Some(users) = &self.users {
            xml.push_str("<userName><systemUser>true</systemUser>");
            for user in users {
                element(&mut xml, "userList", user);
            }
            xml.push_str("</userName>");
        }
        // What an unset value means differs between documentation and practice.
        xml.push_str("<disableFullMessage>false</disableFullMessage>");
        for code in self.codes.iter().flatten() {
            element(&mut xml, "eventTypeId", code);
        }
        xml
    }

    /// `EventFilterSpec` in VI JSON.
    pub(crate) fn json(&self) -> String {
        let mut json = String::from(r#"{"_typeName":"EventFilterSpec""#);
        if self.begin.is_some() || self.end.is_some() {
            json.push_str(r#","time":{"_typeName":"EventFilterSpecByTime""#);
            for (name, bound) in [("beginTime", self.begin), ("endTime", self.end)] {
                if let Some(bound) = bound {
                    json.extend([",\"", name, "\":\"", &bound.to_string(), "\""]);
                }
            }
            json.push('}');
        }
        if let Some(users) = &self.users {
            json.push_str(r#","userName":{"_typeName":"EventFilterSpecByUsername","systemUser":true,"userList":"#);
            list(&mut json, users);
            json.push('}');
        }
        json.push_str(r#","disableFullMessage":false"#);
        if let Some(codes) = &self.codes {
            json.push_str(r#","eventTypeId":"#);
            list(&mut json, codes);
        }
        json.push('}');
        json
    }
}

/// The names for some actions; `None` if one of them cannot be listed.
fn codes_of_actions(words: &[&str]) -> Option<Vec<String>> {
    let mut codes = Vec::new();
    for action in words.iter().filter_map(|word| Action::from_word(word)) {
        if action == Action::Other {
            return None;
        }
        codes.extend(codes_of(action).map(str::to_owned));
    }
    Some(codes)
}

fn list(json: &mut String, texts: &[String]) {
    json.push('[');
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        quote(json, text);
    }
    json.push(']');
}

/// Writes a leaf element.
pub(crate) fn element(xml: &mut String, name: &str, text: &str) {
    xml.push('<');
    xml.push_str(name);
    xml.push('>');
    xml.push_str(&quick_xml::escape::escape(text));
    xml.push_str("</");
    xml.push_str(name);
    xml.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedaudit_core::Window;

    fn request(predicates: Vec<Predicate>) -> PageRequest {
        let window = Window::new(Time::from_micros(0), Time::from_micros(1_500_000));
        PageRequest { predicates, ..PageRequest::first("vim.events", window) }
    }

    #[test]
    fn conditions_narrow_and_never_lose() {
        let forms = ["CORP\\{}".to_owned(), "{}@corp.example".to_owned()];
        let filter = |predicates| Filter::new(&request(predicates), &forms);
        let by = filter(vec![Predicate::any_of("action", ["service.start"]), Predicate::any_of("user_name", ["a<b"])])
            .unwrap();
        assert_eq!(
            by.xml(),
            "<time><beginTime>1970-01-01T00:00:00Z</beginTime><endTime>1970-01-01T00:00:01.5Z</endTime></time><userName><systemUser>true</systemUser><userList>CORP\\a&lt;b</userList><userList>a&lt;b@corp.example</userList></userName><disableFullMessage>false</disableFullMessage><eventTypeId>ServerStartedSessionEvent</eventTypeId>"
        );
        assert!(serde_json::from_str::<serde_json::Value>(&by.json()).is_ok());
        assert_eq!(filter(vec![Predicate::any_of("action", ["auth.login", "other"])]).unwrap().codes, None);
        assert_eq!(filter(vec![Predicate::any_of("action", ["file.read"])]), None);
        let both = vec![Predicate::any_of("action", ["auth.logout"]), Predicate::any_of("event_code", ["TaskEvent"])];
        assert_eq!(filter(both), None);
        assert_eq!(Filter::new(&request(vec![Predicate::any_of("user_name", ["a"])]), &[]).unwrap().users, None);
    }
}
