//! The header is made of `src/abi.rs`: its definitions, and its comments in C's words.

use std::collections::HashMap;
use std::path::Path;

use cbindgen::{Builder, Config, DocumentationStyle, ExportConfig, ItemType, Language, Style};

/// Before the definitions: what every translation unit needs, and Arrow's own structures.
const BEFORE: &str = "\
#ifndef FEDAUDIT_PLUGIN_H
#define FEDAUDIT_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

/* The Arrow C Data Interface, as its specification gives it. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char *format;
  const char *name;
  const char *metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema **children;
  struct ArrowSchema *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void **buffers;
  struct ArrowArray **children;
  struct ArrowArray *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */";

/// After the definitions: the symbol, which is no item of the crate that defines the interface.
const AFTER: &str = "\
#ifdef __cplusplus
extern \"C\" {
#endif

/* The one function that a plugin exports. */
const struct fedaudit_table *fedaudit_plugin(void);

#ifdef __cplusplus
}
#endif

#endif /* FEDAUDIT_PLUGIN_H */";

/// What Rust calls a type, and what C does.
const TYPES: &[(&str, &str)] = &[
    ("Slice", "fedaudit_slice"),
    ("Bytes", "fedaudit_bytes"),
    ("Host", "fedaudit_host"),
    ("Call", "fedaudit_call"),
    ("Table", "fedaudit_table"),
    ("Start", "fedaudit_start"),
    ("Create", "fedaudit_create"),
    ("Ask", "fedaudit_ask"),
    ("Fetch", "fedaudit_fetch"),
    ("Cancel", "fedaudit_cancel"),
    ("Release", "fedaudit_release"),
    ("FFI_ArrowSchema", "struct ArrowSchema"),
    ("FFI_ArrowArray", "struct ArrowArray"),
];

#[test]
fn the_header_is_that_of_the_definitions() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = own.join("include/fedaudit_plugin.h");
    let made = header(&own.join("src/abi.rs"));
    if std::env::var("FEDAUDIT_GOLDEN").is_ok_and(|mode| mode == "write") {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == kept,
        "{} is not that of abi.rs any more; FEDAUDIT_GOLDEN=write cargo test -p fedaudit-plugin --test library \
         generated rewrites it. It would be:\n{made}",
        path.display()
    );
}

fn header(definitions: &Path) -> String {
    let text = std::fs::read_to_string(definitions).unwrap();
    let export = ExportConfig {
        // No function of this crate names them.
        include: TYPES.iter().map(|&(rust, _)| rust.to_owned()).collect(),
        // A library is told by its symbol; that it has one is said below.
        exclude: vec!["SYMBOL".into(), "Entry".into()],
        prefix: Some("FEDAUDIT_".into()),
        rename: TYPES.iter().map(|&(rust, c)| (rust.to_owned(), c.to_owned())).collect(),
        renaming_overrides_prefixing: true,
        item_types: vec![ItemType::Constants, ItemType::Structs, ItemType::Typedefs],
        ..ExportConfig::default()
    };
    let config = Config {
        language: Language::C,
        style: Style::Tag,
        documentation_style: DocumentationStyle::C99,
        usize_is_size_t: true,
        no_includes: true,
        line_length: 120,
        header: Some(introduction(&text)),
        after_includes: Some(BEFORE.into()),
        trailer: Some(AFTER.into()),
        export,
        ..Config::default()
    };
    let mut made = Vec::new();
    Builder::new().with_src(definitions).with_config(config).generate().unwrap().write(&mut made);
    with_blocks(&in_words_of_c(&String::from_utf8(made).unwrap()))
}

/// The first comment of the definitions is that of the header.
fn introduction(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<String> = lines.map(|line| format!("//{}\n", line.replace("**", ""))).collect();
    format!("{}//\n// Made from the Rust definitions in src/abi.rs; a test compares.\n", lines.concat())
}

/// Links of the comments become names of C.
fn in_words_of_c(header: &str) -> String {
    let types: HashMap<&str, &str> = TYPES.iter().copied().collect();
    let name = |link: &str| match link.split_once("::") {
        Some((structure, field)) => format!("{}.{field}", types[structure]),
        None => types.get(link).map_or_else(|| format!("FEDAUDIT_{link}"), |&c| c.to_owned()),
    };
    let mut parts = header.split("[`");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (link, after) = part.split_once("`]").unwrap();
        text.extend(["`", &name(link), "`", after]);
    }
    text
}

/// Comments that older compilers read as well, and no two empty lines.
fn with_blocks(header: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut source = header.lines().peekable();
    while let Some(line) = source.next() {
        let is_comment = |line: &str| line.trim_start().starts_with("//");
        if !is_comment(line) {
            if !(line.is_empty() && lines.last().is_some_and(String::is_empty)) {
                lines.push(without_option(line));
            }
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut comment = vec![line];
        while let Some(more) = source.next_if(|more| is_comment(more)) {
            comment.push(more);
        }
        let words: Vec<&str> = comment.iter().map(|line| line.trim_start().trim_start_matches('/').trim()).collect();
        if let [one] = words[..] {
            lines.push(format!("{indent}/* {one} */"));
        } else {
            lines.push(format!("{indent}/*"));
            lines.extend(words.iter().map(|words| format!("{indent} * {words}").trim_end().to_owned()));
            lines.push(format!("{indent} */"));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Any pointer to a function may be NULL in C. The generator does not look through the names of their types.
fn without_option(line: &str) -> String {
    match line.split_once("FEDAUDIT_Option<") {
        Some((indent, field)) => format!("{indent}{}", field.replacen('>', "", 1)),
        None => line.trim_end().to_owned(),
    }
}
