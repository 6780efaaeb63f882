//! What a table and a column are. The columns themselves are listed once, in [`crate::rows`]; the Arrow schema, the row
//! builders, `fedaudit schema` and the documentation all come from that list.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// UTF-8 text holding one JSON value.
    Json,
    /// UTC microseconds since 1970.
    Time,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// Three-valued truth: NULL means that the product does not say.
    Boolean,
    /// List of texts.
    List,
}

impl Kind {
    /// The Arrow type.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Boolean => DataType::Boolean,
            Self::List => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        }
    }

    /// The type in words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "text (JSON)",
            Self::Time => "timestamp (µs, UTC)",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Boolean => "boolean",
            Self::List => "list of text",
        }
    }
}

/// Who fills a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The plugin, in its row.
    Row,
    /// Core, from the row: keys, digests, numbers that follow from a word.
    Core,
    /// The engine: where the row came from.
    Engine,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Who fills it.
    pub filled: Filled,
    /// The closed vocabulary of its values; empty where there is none.
    pub words: fn() -> Vec<&'static str>,
    /// What it means.
    pub meaning: &'static str,
    /// Where the value stands in an OCSF event.
    pub ocsf: &'static str,
}

/// One table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns in order.
    pub columns: &'static [Column],
}

impl Table {
    /// The Arrow schema of the table.
    pub fn schema(&self) -> SchemaRef {
        schema_of(self.columns.iter())
    }

    /// The Arrow schema of a page of it: without what the engine fills.
    pub fn page_schema(&self) -> SchemaRef {
        schema_of(self.columns.iter().filter(|column| column.filled != Filled::Engine))
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

fn schema_of<'c>(columns: impl Iterator<Item = &'c Column>) -> SchemaRef {
    let fields: Vec<Field> =
        columns.map(|column| Field::new(column.name, column.kind.arrow(), column.nullable)).collect();
    Arc::new(Schema::new(fields))
}
