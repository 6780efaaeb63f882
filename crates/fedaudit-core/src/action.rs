//! The closed vocabulary of `action` and its OCSF class and activity.
//!
//! `action` is the authority, `class_uid` and `activity_id` follow from it, so that another OCSF version touches this
//! table only. Numbers are OCSF 1.8.0: <https://schema.ocsf.io/1.8.0/>.

use serde::{Deserialize, Serialize};

macro_rules! actions {
    ($($variant:ident = $word:literal, $class:literal / $activity:literal;)*) => {
        /// What was done: `thing.verb`, lower case.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "the words document themselves")]
        pub enum Action {
            $(#[serde(rename = $word)] $variant,)*
            /// Anything that is not listed; never dropped.
            #[default]
            #[serde(rename = "other")]
            Other,
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)* Self::Other];

            /// The word as it stands in `events.action`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other => "other",
                }
            }

            /// OCSF class and activity.
            pub fn ocsf(self) -> (i32, i32) {
                match self {
                    $(Self::$variant => ($class, $activity),)*
                    Self::Other => (0, 99),
                }
            }
        }
    };
}

actions! {
    Login = "auth.login", 3002/1;
    Logout = "auth.logout", 3002/2;
    Switch = "auth.switch", 3002/7;
    ExecRun = "exec.run", 1007/1;
    SessionTerminate = "session.terminate", 3002/2;
    AccountCreate = "account.create", 3001/1;
    AccountEnable = "account.enable", 3001/2;
    AccountDisable = "account.disable", 3001/5;
    AccountDelete = "account.delete", 3001/6;
    AccountLock = "account.lock", 3001/9;
    AccountUnlock = "account.unlock", 3001/12;
    AccountPasswordChange = "account.password_change", 3001/3;
    AccountPasswordReset = "account.password_reset", 3001/4;
    AccountMfaEnable = "account.mfa_enable", 3001/10;
    AccountMfaDisable = "account.mfa_disable", 3001/11;
    AccountUpdate = "account.update", 3004/3;
    CredentialCreate = "credential.create", 3004/1;
    CredentialDelete = "credential.delete", 3004/4;
    PrivGrant = "priv.grant", 3005/1;
    PrivRevoke = "priv.revoke", 3005/2;
    RoleCreate = "role.create", 3004/1;
    RoleUpdate = "role.update", 3004/3;
    RoleDelete = "role.delete", 3004/4;
    RoleAssign = "role.assign", 3005/1;
    RoleUnassign = "role.unassign", 3005/2;
    GroupCreate = "group.create", 3006/6;
    GroupDelete = "group.delete", 3006/5;
    GroupAddUser = "group.add_user", 3006/3;
    GroupRemoveUser = "group.remove_user", 3006/4;
    GroupUpdate = "group.update", 3006/99;
    LogExport = "log.export", 1008/3;
    LogClear = "log.clear", 1008/1;
    LogStart = "log.start", 1008/6;
    LogStop = "log.stop", 1008/7;
    LogRotate = "log.rotate", 1008/5;
    LogRead = "log.read", 6003/2;
    LogConfig = "log.config", 6003/3;
    FileOpen = "file.open", 4006/2;
    FileCreate = "file.create", 4006/3;
    FileOverwrite = "file.overwrite", 4006/5;
    FileSupersede = "file.supersede", 4006/1;
    FileRead = "file.read", 1001/2;
    FileWrite = "file.write", 1001/3;
    FileRename = "file.rename", 1001/5;
    FileDelete = "file.delete", 1001/4;
    FileSetAttr = "file.set_attr", 1001/6;
    FileSetAcl = "file.set_acl", 1001/7;
    FileClose = "file.close", 1001/99;
    ShareConnect = "share.connect", 4006/99;
    ShareDisconnect = "share.disconnect", 4006/99;
    ServiceStart = "service.start", 6002/3;
    ServiceStop = "service.stop", 6002/4;
    ServiceRestart = "service.restart", 6002/5;
    SystemStart = "system.start", 6002/3;
    SystemStop = "system.stop", 6002/4;
    SystemReboot = "system.reboot", 6002/5;
    ConfigCreate = "config.create", 6003/1;
    ConfigRead = "config.read", 6003/2;
    ConfigUpdate = "config.update", 6003/3;
    ConfigDelete = "config.delete", 6003/4;
    ConfigCall = "config.call", 6003/99;
    ObjectCreate = "object.create", 6003/1;
    ObjectDelete = "object.delete", 6003/4;
    ObjectUpdate = "object.update", 6003/3;
}

impl Action {
    /// The action for a word of the table.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_round_trip() {
        for action in Action::ALL {
            assert_eq!(Action::from_word(action.as_str()), Some(*action));
        }
    }
}
