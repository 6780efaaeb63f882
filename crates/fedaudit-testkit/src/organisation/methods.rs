//! The audited methods of the storage appliance that its administrators and its robots call.

/// A call: method, parameters (`#` stands for a number), description, action.
pub(super) type Method = (&'static str, &'static str, &'static str, &'static str);

/// What people call.
#[rustfmt::skip]
pub(super) const METHODS: [Method; 36] = [
    ("pool.dataset.update", r#"["tank/projects-#",{"compression":"ZSTD"}]"#, "Pool Dataset Update tank/projects-#", "object.update"),
    ("pool.dataset.create", r#"[{"name":"tank/team-#","type":"FILESYSTEM"}]"#, "Pool Dataset Create tank/team-#", "object.create"),
    ("pool.dataset.delete", r#"["tank/old-#",{"recursive":true}]"#, "Pool Dataset Delete tank/old-#", "object.delete"),
    ("pool.snapshot.create", r#"[{"dataset":"tank/projects","name":"manual-#"}]"#, "Snapshot Create tank/projects@manual-#", "object.create"),
    ("pool.snapshot.delete", r#"["tank/projects@manual-#"]"#, "Snapshot Delete tank/projects@manual-#", "object.delete"),
    ("sharing.smb.create", r#"[{"path":"/mnt/tank/team-#","name":"team-#"}]"#, "SMB Share Create team-#", "object.create"),
    ("sharing.smb.update", r#"[#,{"audit":{"enable":true}}]"#, "SMB Share Update #", "object.update"),
    ("sharing.smb.delete", "[#]", "SMB Share Delete #", "object.delete"),
    ("sharing.nfs.create", r#"[{"path":"/mnt/tank/nfs-#"}]"#, "NFS Share Create /mnt/tank/nfs-#", "object.create"),
    ("sharing.nfs.update", r#"[#,{"ro":true}]"#, "NFS Share Update #", "object.update"),
    ("vm.update", r#"[#,{"memory":4096}]"#, "VM Update #", "object.update"),
    ("app.create", r#"[{"app_name":"wiki-#","catalog_app":"wiki"}]"#, "App Create wiki-#", "object.create"),
    ("service.restart", r#"["cifs"]"#, "Service Restart cifs", "service.restart"),
    ("service.start", r#"["ssh"]"#, "Service Start ssh", "service.start"),
    ("service.stop", r#"["ssh"]"#, "Service Stop ssh", "service.stop"),
    ("user.create", r#"[{"username":"temp#","full_name":"Temp #","group_create":true,"password":"********"}]"#, "Create user temp#", "account.create"),
    ("user.update", r##"[#,{"full_name":"Renamed \"#\""}]"##, "Update user #", "account.update"),
    ("user.update", r#"[#,{"locked":true}]"#, "Update user #", "account.lock"),
    ("user.update", r#"[#,{"locked":false}]"#, "Update user #", "account.unlock"),
    ("user.update", r#"[#,{"password":"********"}]"#, "Update user #", "account.password_reset"),
    ("user.delete", r#"[#,{"delete_group":true}]"#, "Delete user #", "account.delete"),
    ("user.set_password", r#"[{"username":"temp#","new_password":"********"}]"#, "Set password temp#", "account.password_reset"),
    ("user.renew_2fa_secret", r#"["temp#",{"otp_digits":6}]"#, "Renew two-factor secret temp#", "account.mfa_enable"),
    ("user.unset_2fa_secret", r#"["temp#"]"#, "Unset two-factor secret temp#", "account.mfa_disable"),
    ("group.create", r#"[{"name":"team-#","smb":true}]"#, "Create group team-#", "group.create"),
    ("group.update", r#"[#,{"users":[71,72]}]"#, "Update group #", "group.update"),
    ("group.delete", "[#]", "Delete group #", "group.delete"),
    ("privilege.update", r#"[#,{"roles":["READONLY_ADMIN"]}]"#, "Update privilege #", "role.update"),
    ("privilege.create", r#"[{"name":"auditors-#","roles":["SYSTEM_AUDIT_READ"]}]"#, "Create privilege auditors-#", "role.create"),
    ("api_key.create", r#"[{"name":"robot-#","username":"svc-backup"}]"#, "Create API key robot-#", "credential.create"),
    ("api_key.delete", "[#]", "Delete API key #", "credential.delete"),
    ("audit.update", r#"[{"retention":30}]"#, "Update Audit Configuration", "log.config"),
    ("audit.export", r#"[{"services":["SMB"],"export_format":"CSV"}]"#, "Export Audit Data", "log.export"),
    ("audit.download_report", r##"[{"report_name":"#.csv"}]"##, "Download Audit Report", "log.read"),
    ("cronjob.create", r#"[{"command":"/root/rotate-#.sh","user":"root"}]"#, "Cron Job Create", "config.create"),
    ("system.general.update", r#"[{"timezone":"Etc/UTC"}]"#, "System General Update", "config.update"),
];

/// What robots call.
pub(super) const ROBOT_METHODS: [Method; 4] = [METHODS[3], METHODS[4], METHODS[0], METHODS[32]];
