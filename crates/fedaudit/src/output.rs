//! The forms of an answer. Rows are written as they come; only the table for people waits for its rows.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::ipc::writer::StreamWriter;
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::{LineDelimited, WriterBuilder as JsonBuilder};
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use fedaudit_core::{Error, ErrorKind, Receipt, Result};
use fedaudit_engine::arrow::array::{AsArray as _, RecordBatch};
use fedaudit_engine::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::cli::Format;

/// A table for people ends here; what is longer is for programs.
const TABLE_ROWS: usize = 10_000;

type Writer = Box<dyn Write + Send>;

/// Where an answer goes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Standard output.
    Stdout,
    /// A file, made when the question turned out to be one.
    File(PathBuf),
}

impl Target {
    fn open(&self, reader_left: &Arc<AtomicBool>) -> Result<Writer> {
        let inner: Writer = match self {
            Self::Stdout => Box::new(std::io::stdout()),
            Self::File(path) => Box::new(File::create(path).map_err(|error| crate::query::file_error(path, &error))?),
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
    form: Form,
    explains: bool,
    reader_left: Arc<AtomicBool>,
}

enum Form {
    Waiting(Format, Target),
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
        Self { form: Form::Waiting(format, target), explains, reader_left: Arc::default() }
    }

    /// Whether the reader of the answer went away.
    pub(crate) fn reader_left(&self) -> bool {
        self.reader_left.load(Relaxed)
    }

    /// Takes the columns.
    pub(crate) fn begin(&mut self, schema: SchemaRef) -> Result<()> {
        let Form::Waiting(format, target) = std::mem::replace(&mut self.form, Form::Done) else { return Ok(()) };
        let mut writer = target.open(&self.reader_left)?;
        self.form = match format {
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
        match &mut self.form {
            Form::Waiting(..) | Form::Done => Err(Error::new(ErrorKind::Internal, "rows before columns")),
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
                for line in lines(batch)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let separator: &[u8] = if std::mem::take(first) { b"\n" } else { b",\n" };
                    writer.write_all(separator).and_then(|()| writer.write_all(line)).map_err(io)?;
                }
                Ok(())
            }
            Form::Ndjson(writer) => writer.write_all(&lines(batch)?).map_err(io),
            Form::Csv(writer) => writer.write_all(&csv(&flat_rows(batch)?, false)?).map_err(io),
            Form::Parquet(writer) => writer.write(batch).map_err(|error| io(error.to_string())),
            Form::Arrow(writer) => writer.write(batch).map_err(arrow_error),
        }
    }

    /// Writes what comes after the last row.
    pub(crate) fn end(&mut self, receipt: &Receipt) -> Result<()> {
        match std::mem::replace(&mut self.form, Form::Done) {
            Form::Waiting(..) | Form::Done => Ok(()),
            Form::Table { mut writer, schema, rows, more, .. } => {
                if self.explains {
                    for batch in &rows {
                        for line in batch.column(1).as_string_opt::<i32>().into_iter().flatten().flatten() {
                            writeln!(writer, "{line}").map_err(io)?;
                        }
                    }
                    return writer.flush().map_err(io);
                }
                let rows = if rows.is_empty() { vec![RecordBatch::new_empty(schema)] } else { rows };
                let options = FormatOptions::default().with_display_error(true).with_null("");
                let text = pretty_format_batches_with_options(&rows, &options).map_err(arrow_error)?;
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
fn lines(batch: &RecordBatch) -> Result<Vec<u8>> {
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
            return Ok(std::sync::Arc::clone(column));
        }
        let options = FormatOptions::default().with_null("");
        let text = arrow::util::display::ArrayFormatter::try_new(column, &options)?;
        let values = (0..column.len()).map(|row| column.is_valid(row).then(|| text.value(row).to_string()));
        Ok(std::sync::Arc::new(values.collect::<arrow::array::StringArray>()) as arrow::array::ArrayRef)
    });
    RecordBatch::try_new(
        std::sync::Arc::clone(&schema),
        columns.collect::<Result<_, arrow::error::ArrowError>>().map_err(arrow_error)?,
    )
    .map_err(arrow_error)
}

fn io(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, error.to_string()).at("writing the answer")
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn arrow_error(error: arrow::error::ArrowError) -> Error {
    io(error.to_string())
}
