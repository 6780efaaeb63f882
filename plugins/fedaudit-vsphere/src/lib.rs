//! fedaudit-vsphere
