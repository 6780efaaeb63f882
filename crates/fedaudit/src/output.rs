//! The forms of an answer. Rows are written as they come; only the table for people waits for its rows.

use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::ipc::writer::StreamWriter;
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::{LineDelimited, WriterBuilder as JsonBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches;
use fedaudit_core::{Error, ErrorKind, Receipt, Result};
use fedaudit_engine::arrow::array::{ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions, StringArray};
use fedaudit_engine::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::cli::Format;
use crate::files::Draft;
use crate::terminal::visible;

/// A table for people ends here; what is longer is for programs.
const TABLE_ROWS: usize = 10_000;

type Writer = Box<dyn Write + Send>;

/// Where an answer goes.
#[derive(Debug)]
pub(crate) enum Target {
    /// Standard output.
    Stdout,
    /// A file, which is in its place when the answer is whole.
    File(Draft),
}

impl Target {
    fn open(&self, reader_left: &Arc<AtomicBool>) -> Result<Writer> {
        let inner: Writer = match self {
            Self::Stdout => Box::new(std::io::stdout()),
            Self::File(draft) => Box::new(draft.writer()?),
        };
        Ok(Box::new(BufWriter::new(Watched { inner, reader_left: Arc::clone(reader_left) })))
    }
}

/// Notices a reader that goes away.
struct Watched {
    inner: Writer,
    reader_left: Arc<AtomicBool>,
}

impl Watched {
    fn notice<T>(&self, outcome: std::io::Result<T>) -> std::io::Result<T> {
        outcome.inspect_err(|error| {
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                self.reader_left.store(true, Relaxed);
            }
        })
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let outcome = self.inner.write(bytes);
        self.notice(outcome)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let outcome = self.inner.flush();
        self.notice(outcome)
    }
}

/// Where rows go.
pub(crate) struct Output {
    format: Format,
    form: Form,
    target: Target,
    /// The columns, where they are not called as SQL calls them.
    renamed: Option<SchemaRef>,
    explains: bool,
    reader_left: Arc<AtomicBool>,
}

enum Form {
    Waiting,
    Table { writer: Writer, schema: SchemaRef, rows: Vec<RecordBatch>, kept: usize, more: usize },
    Json { writer: Writer, first: bool },
    Ndjson(Writer),
    Csv(Writer),
    Parquet(Box<ArrowWriter<Writer>>),
    Arrow(Box<StreamWriter<Writer>>),
    Done,
}

impl Output {
    /// An output that writes nothing before the columns are known. A plan is shown as text, not as a table of one cell.
    pub(crate) fn new(format: Format, target: Target, explains: bool) -> Self {
        Self { format, form: Form::Waiting, target, renamed: None, explains, reader_left: Arc::default() }
    }

    /// Whether it is a plan that is shown.
    pub(crate) fn is_plan(&self) -> bool {
        self.explains
    }

    /// Whether the reader of the answer went away.
    pub(crate) fn reader_left(&self) -> bool {
        self.reader_left.load(Relaxed)
    }

    /// Takes the columns.
    pub(crate) fn begin(&mut self, schema: SchemaRef) -> Result<()> {
        let mut writer = self.target.open(&self.reader_left)?;
        self.renamed = distinct(&schema);
        let schema = self.renamed.clone().unwrap_or(schema);
        self.form = match self.format {
            Format::Table => Form::Table { writer, schema, rows: Vec::new(), kept: 0, more: 0 },
            Format::Json => {
                writer.write_all(b"{\"rows\":[").map_err(io)?;
                Form::Json { writer, first: true }
            }
            Format::Ndjson => Form::Ndjson(writer),
            Format::Csv => {
                writer.write_all(&csv(&RecordBatch::new_empty(flat(&schema)), true)?).map_err(io)?;
                Form::Csv(writer)
            }
            Format::Parquet => {
                let level = ZstdLevel::try_new(1).map_err(|error| io(error.to_string()))?;
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let writer =
                    ArrowWriter::try_new(writer, schema, Some(properties)).map_err(|error| io(error.to_string()))?;
                Form::Parquet(Box::new(writer))
            }
            Format::Arrow => Form::Arrow(Box::new(StreamWriter::try_new(writer, &schema).map_err(arrow_error)?)),
        };
        Ok(())
    }

    /// Writes rows.
    pub(crate) fn rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let renamed = match &self.renamed {
            Some(schema) => Some(with_columns(schema, batch.columns().to_vec(), batch.num_rows())?),
            None => None,
        };
        let batch = renamed.as_ref().unwrap_or(batch);
        match &mut self.form {
            Form::Waiting | Form::Done => Err(Error::new(ErrorKind::Internal, "rows before columns")),
            Form::Table { rows, kept, more, .. } => {
                let fits = batch.num_rows().min(TABLE_ROWS - *kept);
                if fits > 0 {
                    rows.push(batch.slice(0, fits));
                }
                *kept += fits;
                *more += batch.num_rows() - fits;
                Ok(())
            }
            Form::Json { writer, first } => {
                for line in json_lines(batch)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let separator: &[u8] = if std::mem::take(first) { b"\n" } else { b",\n" };
                    writer.write_all(separator).and_then(|()| writer.write_all(line)).map_err(io)?;
                }
                Ok(())
            }
            Form::Ndjson(writer) => writer.write_all(&json_lines(batch)?).map_err(io),
            Form::Csv(writer) => writer.write_all(&csv(&flat_rows(batch)?, false)?).map_err(io),
            Form::Parquet(writer) => writer.write(batch).map_err(|error| io(error.to_string())),
            Form::Arrow(writer) => writer.write(batch).map_err(arrow_error),
        }
    }

    /// Writes what comes after the last row, and puts a file in its place.
    pub(crate) fn end(&mut self, receipt: &Receipt) -> Result<()> {
        self.write_end(receipt)?;
        match std::mem::replace(&mut self.target, Target::Stdout) {
            Target::File(draft) => draft.keep(),
            Target::Stdout => Ok(()),
        }
    }

    fn write_end(&mut self, receipt: &Receipt) -> Result<()> {
        match std::mem::replace(&mut self.form, Form::Done) {
            Form::Waiting | Form::Done => Ok(()),
            Form::Table { mut writer, schema, rows, more, .. } => {
                if self.explains {
                    for batch in &rows {
                        for line in batch.column(1).as_string_opt::<i32>().into_iter().flatten().flatten() {
                            for line in line.lines() {
                                writeln!(writer, "{}", visible(line)).map_err(io)?;
                            }
                        }
                    }
                    return writer.flush().map_err(io);
                }
                let rows = if rows.is_empty() { vec![RecordBatch::new_empty(schema)] } else { rows };
                let rows = rows.iter().map(shown).collect::<Result<Vec<_>>>()?;
                let text = pretty_format_batches(&rows).map_err(arrow_error)?;
                writeln!(writer, "{text}").map_err(io)?;
                if more > 0 {
                    writeln!(writer, "… {more} more rows; --format ndjson, csv or parquet gives all of them")
                        .map_err(io)?;
                }
                writer.flush().map_err(io)
            }
            Form::Json { mut writer, .. } => {
                writer.write_all(b"\n],\"receipt\":").map_err(io)?;
                serde_json::to_writer(&mut writer, receipt).map_err(io)?;
                writer.write_all(b"}\n").and_then(|()| writer.flush()).map_err(io)
            }
            Form::Ndjson(mut writer) | Form::Csv(mut writer) => writer.flush().map_err(io),
            Form::Parquet(writer) => {
                let mut writer = writer.into_inner().map_err(|error| io(error.to_string()))?;
                writer.flush().map_err(io)
            }
            Form::Arrow(writer) => writer.into_inner().map_err(arrow_error)?.flush().map_err(io),
        }
    }
}

/// Rows as JSON objects, one per line, NULLs spelled out.
pub(crate) fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut writer: LineDelimitedWriter<_> =
        JsonBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut text);
    writer.write(batch).and_then(|()| writer.finish()).map_err(arrow_error)?;
    drop(writer);
    Ok(text)
}

/// Rows as CSV. The writer of arrow gets a buffer of its own, because it cannot bear a reader that goes away.
fn csv(batch: &RecordBatch, header: bool) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    CsvBuilder::new().with_header(header).build(&mut text).write(batch).map_err(arrow_error)?;
    Ok(text)
}

/// CSV knows no lists: they are written as text.
fn flat(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        kind if kind.is_nested() => Field::new(field.name(), DataType::Utf8, true),
        _ => field.as_ref().clone(),
    });
    Schema::new(fields.collect::<Vec<_>>()).into()
}

fn flat_rows(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = flat(batch.schema_ref());
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        Ok(Arc::new(texts(column)?) as ArrayRef)
    });
    with_columns(&schema, columns.collect::<Result<_>>()?, batch.num_rows())
}

/// Rows as a person may see them: every value as text, without what a terminal obeys.
fn shown(batch: &RecordBatch) -> Result<RecordBatch> {
    let fields = batch.schema_ref().fields().iter();
    let fields: Vec<Field> = fields.map(|field| Field::new(visible(field.name()), DataType::Utf8, true)).collect();
    let columns = batch.columns().iter().map(|column| {
        let texts = texts(column)?;
        Ok(Arc::new(texts.iter().map(|text| text.map(visible)).collect::<StringArray>()) as ArrayRef)
    });
    with_columns(&Schema::new(fields).into(), columns.collect::<Result<_>>()?, batch.num_rows())
}

fn texts(column: &ArrayRef) -> Result<StringArray> {
    let options = FormatOptions::default().with_null("");
    let text = ArrayFormatter::try_new(column, &options).map_err(arrow_error)?;
    Ok((0..column.len()).map(|row| column.is_valid(row).then(|| text.value(row).to_string())).collect())
}

/// The columns with a name each, if two have the same: a join may select `user_name` of both tables, and as keys of a JSON
/// object the second would replace the first. It is called `user_name:1`.
fn distinct(schema: &Schema) -> Option<SchemaRef> {
    let given: HashSet<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    if given.len() == schema.fields().len() {
        return None;
    }
    let mut seen: HashSet<String> = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        let mut name = field.name().clone();
        let mut number = 0;
        while seen.contains(&name) || (number > 0 && given.contains(name.as_str())) {
            number += 1;
            name = format!("{}:{number}", field.name());
        }
        seen.insert(name.clone());
        field.as_ref().clone().with_name(name)
    });
    Some(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()).into())
}

fn with_columns(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(arrow_error)
}

fn io(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, error.to_string()).at("writing the answer")
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn arrow_error(error: arrow::error::ArrowError) -> Error {
    io(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_name_of_its_own() {
        let names = |names: &[&str]| {
            let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
            let distinct = distinct(&Schema::new(fields))?;
            Some(distinct.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(names(&["a", "b"]), None);
        assert_eq!(names(&["a", "b", "a", "a"]).as_deref(), Some("a b a:1 a:2"));
        assert_eq!(names(&["a", "a", "a:1"]).as_deref(), Some("a a:2 a:1"));
    }
}
