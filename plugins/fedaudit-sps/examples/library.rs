//! The plugin as a library that is loaded at run time.

fedaudit_plugin::export_plugin!(fedaudit_sps::Sps);
