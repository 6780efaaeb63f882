//! Words for people. What products and those who log in to them wrote is shown with its control characters spelled out:
//! the user name of a failed login is the attacker's text. Somebody who stops listening does not stop the program.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal as _, Write as _, stderr, stdout};

use fedaudit_core::{Error, Result};

/// Says a line on stderr.
pub(crate) fn say(line: &str) {
    let _ = writeln!(stderr(), "{}", visible(line));
}

/// Says a line of the program's own on stderr, emphasised where somebody looks.
pub(crate) fn emphasise(line: &str) {
    if stderr().is_terminal() {
        let _ = writeln!(stderr(), "\x1b[1m{}\x1b[0m", visible(line));
    } else {
        say(line);
    }
}

/// Prints lines on stdout. A reader that has enough may go away.
pub(crate) fn print<'l>(lines: impl IntoIterator<Item = &'l str>) -> Result<()> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&visible(line));
        text.push('\n');
    }
    let mut stdout = stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::new(fedaudit_core::ErrorKind::Internal, format!("writing: {error}")))
        }
        _ => Ok(()),
    }
}

/// The text with everything spelled out that a terminal obeys or does not show: line ends, escape sequences, changes of
/// direction, invisible characters.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if is_hidden(c) => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor_or_hides() {
        assert_eq!(visible("Zoë Müller, 山田 \\n"), "Zoë Müller, 山田 \\n");
        assert_eq!(visible("a\x1b[2Jb\r\n\tc\u{9b}d"), "a\\u{1b}[2Jb\\r\\n\\tc\\u{9b}d");
        assert_eq!(visible("\u{202e}nimda\u{2066}\u{200b}"), "\\u{202e}nimda\\u{2066}\\u{200b}");
    }
}
