//! What may go wrong on the way to an answer, or be done to it by something in front of Canvas.

use std::time::Duration;

use super::Reply;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The budget is spent, whatever the bucket says.
    Throttle,
    /// Another answer comes in place of the right one.
    Answer {
        /// Its status.
        status: u16,
        /// Its media type.
        content_type: &'static str,
        /// Further headers.
        headers: Vec<(&'static str, String)>,
        /// Its body.
        body: String,
    },
    /// The connection breaks in the middle of the body.
    Reset,
    /// Half the document arrives, as if it were all.
    Truncated,
    /// Nothing is said for so long.
    Silence(Duration),
}

impl Fault {
    /// An answer of this status with a page in HTML, as proxies send it.
    pub fn proxy_page(status: u16) -> Self {
        let body = format!("<html><head><title>{status}</title></head><body>proxy</body></html>");
        Self::Answer { status, content_type: "text/html", headers: Vec::new(), body }
    }

    /// An answer of this status in JSON.
    pub fn json(status: u16, body: &str) -> Self {
        let content_type = "application/json; charset=utf-8";
        Self::Answer { status, content_type, headers: Vec::new(), body: body.to_owned() }
    }

    /// What becomes of the right answer.
    pub(super) async fn befall(&self, reply: Reply) -> Reply {
        match self {
            Self::Throttle => reply,
            Self::Answer { status, content_type, headers, body } => {
                let answer = Reply { content_type, ..Reply::json(*status, body.clone()) };
                headers.iter().fold(answer, |answer, (name, value)| answer.header(name, value.clone()))
            }
            Self::Reset => Reply { cut: true, ..reply },
            Self::Truncated => {
                let half = reply.body.floor_char_boundary(reply.body.len() / 2);
                Reply { body: reply.body[..half].to_owned(), ..reply }
            }
            Self::Silence(time) => {
                tokio::time::sleep(*time).await;
                reply
            }
        }
    }
}
