//! What goes over the pipes.

use std::io::{self, IoSlice, Read, Write};

use arrow_buffer::Buffer;
use fedaudit_core::{Error, PageRequest, PluginInfo, SourceInfo};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest head and body: more is no page.
const MOST_HEAD: u64 = 64 << 20;
const MOST_BODY: u64 = 1 << 30;

/// From the host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    /// Say what the plugin is.
    Describe,
    /// Make a source; there is one for each child.
    Build { name: String, settings: serde_json::Value },
    /// Make a call.
    Call { id: u64, what: What, source: String, source_key: String, now: i64, deadline: Option<i64> },
    /// Nobody waits for this call any more.
    Cancel { id: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Check,
    Fetch(PageRequest),
    Close,
}

/// From the child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Described(PluginInfo),
    Built(SourceInfo),
    /// There is no plugin or no source, and no further question.
    Refused(Error),
    Count {
        id: u64,
        counter: u32,
        amount: u64,
    },
    /// The answer of a call; a page's rows are the body.
    Done {
        id: u64,
        answer: serde_json::Value,
    },
    Failed {
        id: u64,
        error: Error,
    },
    Log {
        level: u32,
        message: String,
    },
}

/// Writes one frame and flushes it.
pub(super) fn write(pipe: &mut impl Write, head: &impl Serialize, body: &[Buffer]) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    let lengths = [head.len(), body.iter().map(Buffer::len).sum()].map(|length| (length as u64).to_le_bytes());
    let mut pieces: Vec<IoSlice<'_>> = vec![IoSlice::new(lengths.as_flattened()), IoSlice::new(&head)];
    pieces.extend(body.iter().map(|piece| IoSlice::new(piece)));
    let mut pieces = &mut pieces[..];
    while !pieces.is_empty() {
        match pipe.write_vectored(pieces) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut pieces, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    pipe.flush()
}

/// Reads one frame; none at the end.
pub(super) fn read<T: DeserializeOwned>(pipe: &mut impl Read) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut lengths = [0; 16];
    match pipe.read_exact(&mut lengths) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let (head, body) = lengths.split_at(8);
    // Both first: a frame that is none is not waited for.
    let (head, body) = (length(head, MOST_HEAD)?, length(body, MOST_BODY)?);
    let (head, body) = (take(pipe, head)?, take(pipe, body)?);
    Ok(Some((serde_json::from_slice(&head)?, body)))
}

fn length(bytes: &[u8], most: u64) -> io::Result<u64> {
    let length = bytes.try_into().map_or(u64::MAX, u64::from_le_bytes);
    if length > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    Ok(length)
}

fn take(pipe: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    // Zeros of so many bytes are pages that the system makes when they are written to: what does not come costs nothing.
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    pipe.read_exact(&mut bytes)?;
    Ok(bytes)
}
