//! The `[[source]]` table of an SPS appliance.

use std::time::Duration;

use fedaudit_core::{Error, ErrorKind, Result, Time};
use fedaudit_transport::{Origin, SecretRef, TlsConfig};
use serde::Deserialize;

/// 2000-01-01T12:00:00Z
const NOON: i64 = 946_728_000;

/// A list that hangs below each session, and is a stream of its own when it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Commands and window titles of indexed recordings.
    Events,
    /// Matches of content policies.
    Alerts,
    /// Channels inside a connection.
    Channels,
    /// Who fetched a recording.
    TrailDownloads,
}

impl Detail {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Events, Self::Alerts, Self::Channels, Self::TrailDownloads];

    /// The last part of its path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Alerts => "alerts",
            Self::Channels => "channels",
            Self::TrailDownloads => "trail_downloads",
        }
    }

    /// The stream that it is.
    pub(crate) fn stream(self) -> &'static str {
        match self {
            Self::Events => "sps.events",
            Self::Alerts => "sps.alerts",
            Self::Channels => "sps.channels",
            Self::TrailDownloads => "sps.trail_downloads",
        }
    }
}

/// Configuration of one appliance (or of the search master of a cluster).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of the web interface: `https://sps-1.example`.
    pub url: String,
    /// Whom to trust.
    #[serde(default)]
    pub tls: TlsConfig,
    /// The way through a proxy; what the environment says where none is given.
    #[serde(default)]
    pub proxy: fedaudit_transport::ProxyConfig,
    /// Account that searches; a dedicated local user with a password alone.
    pub username: String,
    /// Where its password is kept.
    pub password: SecretRef,
    /// Login method of the appliance, such as `local`; the appliance's default where none is given.
    pub login_method: Option<String>,
    /// How many hours before a window sessions may have begun that still concern it.
    #[serde(default = "default_look_back_hours")]
    pub look_back_hours: u32,
    /// How accounts are written here, `{}` standing for the bare name: `["{}", "CORP\\{}"]`. Given, a filter on
    /// `user_name` asks for these forms alone; not given, for the bare name and everything that carries a realm.
    #[serde(default)]
    pub user_forms: Vec<String>,
    /// Read a node whose sessions are searchable on the search master only.
    #[serde(default)]
    pub allow_search_minion: bool,
    /// Lists of each session to read as streams of their own. Each costs one request per session, so none is read unless
    /// it is named here.
    #[serde(default)]
    pub details: Vec<Detail>,
    /// Most sessions whose details one question may ask for.
    #[serde(default = "default_details_max_sessions")]
    pub details_max_sessions: usize,
    /// How many days before a window a session may have begun whose recording is fetched in the window.
    #[serde(default = "default_downloads_back_days")]
    pub downloads_back_days: u32,
    /// Offset of the times that the appliance writes without a zone: `Z` or `+02:00`.
    #[serde(default)]
    pub naive_time_zone: Option<String>,
    /// Read through search snapshots where the firmware has them.
    #[serde(default = "yes")]
    pub snapshots: bool,
}

fn default_look_back_hours() -> u32 {
    24
}

fn default_details_max_sessions() -> usize {
    1000
}

fn default_downloads_back_days() -> u32 {
    30
}

fn yes() -> bool {
    true
}

impl Config {
    /// Checks what can be checked without asking the appliance.
    pub(crate) fn origin(&self) -> Result<Origin> {
        let wrong = |text: &str| Err(Error::new(ErrorKind::Config, text.to_owned()));
        let origin = Origin::parse(&self.url)?;
        if !origin.is_tls() {
            return wrong("the password of an SPS account does not travel over plain http")
                .map_err(|error| error.hint("use https://"));
        }
        if self.username.is_empty() || self.username.contains(':') {
            return wrong("username is empty or has a colon, which a Basic login cannot carry");
        }
        if self.user_forms.iter().any(|form| form.matches("{}").count() != 1) {
            return wrong("each of user_forms has {} once, where the bare name stands");
        }
        Ok(origin)
    }

    /// Seconds east of UTC of the times without a zone.
    pub(crate) fn naive_offset(&self) -> Result<i64> {
        let Some(zone) = &self.naive_time_zone else { return Ok(0) };
        // A time of day in that zone tells how far it is from UTC.
        let noon = Time::parse(&format!("2000-01-01T12:00:00{zone}"))
            .filter(|parsed| !parsed.assumed_zone)
            .ok_or_else(|| {
                Error::new(ErrorKind::Config, format!("naive_time_zone '{zone}' is no offset"))
                    .hint("write Z or +02:00")
            })?;
        Ok(NOON - noon.time.seconds())
    }

    /// How long before a window sessions of a detail may have begun.
    pub(crate) fn reach(&self, detail: Detail) -> Duration {
        match detail {
            // Recordings are watched long after they were made.
            Detail::TrailDownloads => {
                self.look_back().max(Duration::from_hours(24 * u64::from(self.downloads_back_days)))
            }
            _ => self.look_back(),
        }
    }

    pub(crate) fn look_back(&self) -> Duration {
        Duration::from_hours(u64::from(self.look_back_hours))
    }
}
