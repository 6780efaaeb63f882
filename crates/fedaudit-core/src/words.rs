//! The small closed vocabularies of the tables besides `action`.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vmeta])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every word of this vocabulary.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word as it stands in the tables.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// The variant for a word of the tables.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }
    };
}

words! {
    /// How an action ended.
    Outcome {
        /// It was carried out.
        Success = "success",
        /// It was refused or failed.
        Failure = "failure",
        /// The product does not say.
        #[default] Unknown = "unknown",
    }
}

words! {
    /// How far `time` can be trusted.
    TimeQuality {
        /// As the product recorded it, finer than a second.
        #[default] Exact = "exact",
        /// The product records whole seconds.
        Seconds = "seconds",
        /// The product gave no zone; the configured one was assumed.
        AssumedZone = "assumed_zone",
        /// The event time was unusable; this is when the product stored the record.
        Logged = "logged",
        /// No usable time in the record; this is when it was fetched.
        Fetched = "fetched",
        /// Moved to the nearest value that can be stored.
        Clamped = "clamped",
    }
}

words! {
    /// What kind of account acted.
    UserType {
        /// A person.
        Human = "human",
        /// A person with administrative rights, where the product says so.
        Admin = "admin",
        /// A program.
        Service = "service",
        /// The product itself.
        System = "system",
        /// Another node of the product.
        Node = "node",
        /// The product does not say.
        #[default] Unknown = "unknown",
    }
}

words! {
    /// What an address field really held.
    AddressKind {
        /// An IP address.
        Ip = "ip",
        /// A host name.
        Host = "host",
        /// A local socket.
        UnixSocket = "unix_socket",
        /// A loopback address.
        Loopback = "loopback",
        /// The first of a forwarded list.
        Proxy = "proxy",
        /// Nothing.
        #[default] None = "none",
        /// Something that is none of these.
        Unparsed = "unparsed",
    }
}

words! {
    /// What is known of a session's end.
    SessionState {
        /// The product says that it is live.
        Active = "active",
        /// Its end was seen, or the product's live list no longer has it.
        Closed = "closed",
        /// Older than any session of this product can be; its end was not seen.
        PresumedClosed = "presumed_closed",
        /// It was refused at the start.
        Rejected = "rejected",
        /// No end seen, and no live list to ask.
        #[default] Unknown = "unknown",
    }
}

words! {
    /// Why a session ended.
    EndCause {
        /// The user logged out.
        #[default] Logout = "logout",
        /// The product ended it for lack of activity or age.
        Timeout = "timeout",
        /// An operator or a rule ended it.
        Terminated = "terminated",
        /// The connection closed.
        Disconnect = "disconnect",
        /// Another user logged in on the same connection.
        Relogin = "relogin",
        /// The product's live list no longer has it.
        Vanished = "vanished",
        /// The product was restarted.
        Restart = "restart",
    }
}

words! {
    /// How sure a session row is.
    Confidence {
        /// The product states it, or two records with one id agree.
        High = "high",
        /// One bound is inferred.
        #[default] Medium = "medium",
        /// Several readings are possible.
        Low = "low",
    }
}
