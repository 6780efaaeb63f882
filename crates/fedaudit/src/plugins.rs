//! The plugins built into the binary: adding one is one line here.

use std::sync::Arc;

use fedaudit_core::{AuditSource, Error, ErrorKind, Plugin, Result};
use figment::value::Value;

type Build = fn(&str, Value) -> Result<Arc<dyn AuditSource>>;

/// Every built-in plugin with its `type`.
pub(crate) const BUILT_IN: &[(&str, Build)] = &[
    plugin::<fedaudit_truenas::TrueNasPlugin>(),
    plugin::<fedaudit_vsphere::VSphere>(),
    plugin::<fedaudit_sps::Sps>(),
    plugin::<fedaudit_canvas::Canvas>(),
];

const fn plugin<P: Plugin>() -> (&'static str, Build) {
    (P::TYPE, build::<P>)
}

fn build<P: Plugin>(name: &str, table: Value) -> Result<Arc<dyn AuditSource>> {
    let config: P::Config = table.deserialize().map_err(crate::config::wrong)?;
    P::build(name, config).map(Arc::from)
}

/// Builds a source of a type.
pub(crate) fn source(kind: &str, name: &str, table: Value) -> Result<Arc<dyn AuditSource>> {
    let known = BUILT_IN.iter().find(|(known, _)| *known == kind);
    let Some((_, build)) = known else {
        let types: Vec<&str> = BUILT_IN.iter().map(|(known, _)| *known).collect();
        return Err(Error::new(ErrorKind::Config, format!("type '{kind}' is unknown"))
            .hint(format!("known types: {}", types.join(", "))));
    };
    build(name, table)
}
