//! What is made of the definitions is understood by a C compiler as they are by Rust: sizes, places and numbers.

use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;

use fedaudit_plugin::abi::{self, Bytes, Call, Host, Slice, Table};

#[test]
fn a_c_compiler_agrees_with_rust() {
    let mut program = String::from("#include <fedaudit_plugin.h>\n#include <stddef.h>\n");
    let mut agree = |expression: String, value: usize| {
        writeln!(program, "_Static_assert({expression} == {value}, \"{expression}\");").unwrap();
    };
    macro_rules! structure {
        ($name:literal $rust:ty: $($field:ident)*) => {
            agree(format!("sizeof(struct {})", $name), size_of::<$rust>());
            let mut last = 0;
            $(
                agree(format!("offsetof(struct {}, {})", $name, stringify!($field)), offset_of!($rust, $field));
                last = last.max(offset_of!($rust, $field));
            )*
            // No field is left out at the end.
            assert!(size_of::<$rust>() - last <= 16, "{}", $name);
        };
    }
    structure!("fedaudit_slice" Slice: data length);
    structure!("fedaudit_bytes" Bytes: data length capacity free);
    structure!("fedaudit_host" Host: size max_level log);
    structure!("fedaudit_call" Call: size host source source_key deadline now cancelled count);
    structure!("fedaudit_table" Table: abi_major abi_minor size start create check fetch close cancel release);
    for (name, value) in [
        ("ABI_MAJOR", abi::ABI_MAJOR),
        ("ABI_MINOR", abi::ABI_MINOR),
        ("OK", abi::OK as u32),
        ("FAILED", abi::FAILED as u32),
        ("COUNT_REQUESTS", abi::COUNT_REQUESTS),
        ("COUNT_RETRIES", abi::COUNT_RETRIES),
        ("COUNT_THROTTLED", abi::COUNT_THROTTLED),
        ("COUNT_LOGINS", abi::COUNT_LOGINS),
        ("COUNT_BYTES", abi::COUNT_BYTES),
        ("LOG_ERROR", abi::LOG_ERROR),
        ("LOG_WARN", abi::LOG_WARN),
        ("LOG_INFO", abi::LOG_INFO),
        ("LOG_DEBUG", abi::LOG_DEBUG),
        ("LOG_TRACE", abi::LOG_TRACE),
    ] {
        agree(format!("FEDAUDIT_{name}"), value as usize);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agree.c");
    std::fs::write(&file, program).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    for language in [&["-std=c99", "-pedantic", "-Wno-c11-extensions", "-xc"][..], &["-std=c11", "-xc"]] {
        let mut compiler = Command::new("cc");
        compiler.args(["-Wall", "-Wextra", "-fsyntax-only"]).args(language).arg("-I").arg(&include).arg(&file);
        let output = compiler.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
