//! The demo: one organisation, its four products as loopback servers, and a folder with what a reader of them needs.

mod live;

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::future::{Ready, ready};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::DATE;
use axum::middleware::map_response;
use axum::response::Response;
use tokio::task::AbortHandle;

use self::live::{At, Live};
use crate::faults::{Faults, Product};
use crate::organisation::Settings;
use crate::records::World;
use crate::request_log::RequestLog;
use crate::serve::{ServerHandle, serve_behind};
use crate::tls::Authority;
use crate::{canvas, sps, truenas, vsphere};

/// Account of the reader on TrueNAS.
pub const TRUENAS_READER: &str = "auditor";
/// Account of the reader on vCenter.
pub const VSPHERE_READER: &str = "reader@vsphere.local";
/// Account of the reader on the gateway.
pub const SPS_READER: &str = "reader";

/// How the products behave.
#[derive(Debug, Clone, Default)]
pub struct DemoOptions {
    /// Added to each answer.
    pub latency: Duration,
    /// Whether the reader's own logins show up among what it reads, as in real products.
    pub list_reader: bool,
    /// What goes wrong in front of them.
    pub faults: Option<Faults>,
    /// How far the products' clocks are behind this machine's, as their answers tell.
    pub behind: Duration,
    /// Time between two logins at each product while they run; none if nothing happens any more.
    pub live: Option<Duration>,
}

/// Four running products. Dropping it stops them.
#[derive(Debug)]
pub struct Demo {
    /// What the products hold, and the truth behind it.
    pub world: Arc<World>,
    /// What they were asked.
    pub log: RequestLog,
    servers: Servers,
    products: Products,
    secrets: Secrets,
    authority: Authority,
    live: Option<AbortHandle>,
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(live) = &self.live {
            live.abort();
        }
    }
}

/// The products behind the servers.
struct Products {
    truenas: truenas::StandIn,
    vsphere: vsphere::StandIn,
    sps: sps::StandIn,
    canvas: canvas::StandIn,
}

impl std::fmt::Debug for Products {
    /// They know their accounts' passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Products(***)")
    }
}

#[derive(Debug)]
struct Servers {
    truenas: ServerHandle,
    vsphere: ServerHandle,
    sps: ServerHandle,
    canvas: ServerHandle,
}

/// New for each start, so that a demo that is left running is no open door.
struct Secrets {
    truenas_key: String,
    vsphere_password: String,
    sps_password: String,
    canvas_token: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(***)")
    }
}

impl Secrets {
    fn new() -> io::Result<Self> {
        Ok(Self {
            truenas_key: format!("1-{}", secret(64)?),
            vsphere_password: secret(24)?,
            sps_password: secret(24)?,
            canvas_token: secret(48)?,
        })
    }

    /// File name and content of each.
    fn files(&self) -> [(&'static str, &str); 4] {
        [
            ("nas-1.key", &self.truenas_key),
            ("vc-1.password", &self.vsphere_password),
            ("sps-1.password", &self.sps_password),
            ("lms.token", &self.canvas_token),
        ]
    }
}

/// Letters and digits from the system's own source of randomness: unlike the world, secrets must not repeat.
fn secret(length: usize) -> io::Result<String> {
    const DIGITS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789abcdefgh";
    let mut bytes = vec![0; length];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes.iter().map(|byte| char::from(DIGITS[usize::from(*byte) % 64])).collect())
}

impl Demo {
    /// Grows the organisation and starts its products.
    pub async fn start(settings: Settings, options: DemoOptions) -> io::Result<Self> {
        let pause = options.live;
        let grown = tokio::task::spawn_blocking(move || {
            let mut world = World::generate(&settings);
            let live = pause.map(|pause| Live::after(&mut world, pause));
            (Arc::new(world), live)
        });
        let (world, live) = grown.await.map_err(io::Error::other)?;
        let mut demo = Self::start_world(world, options).await?;
        if let Some(live) = live {
            let Products { truenas, vsphere, sps, canvas } = &demo.products;
            let at =
                At { truenas: truenas.clone(), vsphere: vsphere.clone(), sps: sps.clone(), canvas: canvas.clone() };
            demo.live = Some(tokio::spawn(live.happen(at)).abort_handle());
        }
        Ok(demo)
    }

    /// Starts the products of a world that is already there.
    pub async fn start_world(world: Arc<World>, options: DemoOptions) -> io::Result<Self> {
        let DemoOptions { latency, list_reader, faults, behind, live: _ } = options;
        let (log, secrets, authority) = (RequestLog::default(), Secrets::new()?, Authority::new()?);
        let truenas = truenas::Options {
            username: TRUENAS_READER.to_owned(),
            api_key: Some(secrets.truenas_key.clone()),
            latency,
            list_reader,
            log: log.clone(),
            ..truenas::Options::default()
        };
        let vsphere = vsphere::Options {
            username: VSPHERE_READER.to_owned(),
            password: secrets.vsphere_password.clone(),
            latency,
            list_reader,
            log: log.clone(),
            ..vsphere::Options::default()
        };
        let sps = sps::Options {
            username: SPS_READER.to_owned(),
            password: secrets.sps_password.clone(),
            latency,
            list_reader,
            log: log.clone(),
            ..sps::Options::default()
        };
        let canvas = canvas::Options {
            token: secrets.canvas_token.clone(),
            latency,
            list_reader,
            log: log.clone(),
            ..canvas::Options::default()
        };
        let products = Products {
            canvas: canvas::StandIn::new(Arc::clone(&world), canvas),
            truenas: truenas::StandIn::new(Arc::clone(&world), truenas),
            vsphere: vsphere::StandIn::new(Arc::clone(&world), vsphere),
            sps: sps::StandIn::new(Arc::clone(&world), sps),
        };
        let front = |product| faults.as_ref().map(|faults| faults.front(product));
        let dated = |router: Router| if behind.is_zero() { router } else { router.layer(map_response(dating(behind))) };
        let servers = Servers {
            truenas: serve_behind(front(Product::TrueNas), dated(products.truenas.router()), &authority).await?,
            vsphere: serve_behind(front(Product::Vsphere), dated(products.vsphere.router()), &authority).await?,
            sps: serve_behind(front(Product::Sps), dated(products.sps.router()), &authority).await?,
            canvas: serve_behind(front(Product::Canvas), dated(products.canvas.router()), &authority).await?,
        };
        Ok(Self { world, log, servers, products, secrets, authority, live: None })
    }

    /// Logins that a product still holds. Canvas knows tokens only.
    pub fn open_logins(&self, product: Product) -> usize {
        match product {
            Product::TrueNas => self.products.truenas.logins(),
            Product::Vsphere => self.products.vsphere.open_logins(),
            Product::Sps => self.products.sps.open_logins(),
            Product::Canvas => 0,
        }
    }

    /// Writes the certificate, the secrets (readable by their owner only) and `fedaudit.toml` into `dir`, and gives the
    /// path of the last.
    pub fn write_config(&self, dir: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("ca.pem"), self.authority.ca_pem())?;
        for (name, content) in self.secrets.files() {
            write_private(&dir.join(name), content)?;
        }
        let path = dir.join("fedaudit.toml");
        fs::write(&path, self.config_toml(dir))?;
        Ok(path)
    }

    /// The configuration that reads the four products with the files in `dir`.
    pub fn config_toml(&self, dir: &Path) -> String {
        let mut toml = String::from("# Written by `fedaudit demo`: four stand-in products on this machine.\n");
        let ca = quoted(&dir.join("ca.pem").to_string_lossy());
        let file = |name: &str| quoted(&format!("file:{}", dir.join(name).display()));
        // Every form in which this world's vCenter writes an account; the reader may then filter by account there.
        let forms = ["CORP\\{}", "VSPHERE.LOCAL\\{}", "{}@CORP.EXAMPLE"].map(quoted).join(", ");
        let sources = [
            (
                ("nas-1", "truenas", &self.servers.truenas),
                format!("username = {}\napi_key = {}\n", quoted(TRUENAS_READER), file("nas-1.key")),
            ),
            (
                ("vc-1", "vsphere", &self.servers.vsphere),
                format!(
                    "username = {}\npassword = {}\nuser_forms = [{forms}]\n",
                    quoted(VSPHERE_READER),
                    file("vc-1.password")
                ),
            ),
            (
                ("sps-1", "sps", &self.servers.sps),
                format!("username = {}\npassword = {}\n", quoted(SPS_READER), file("sps-1.password")),
            ),
            (("lms", "canvas", &self.servers.canvas), format!("token = {}\n", file("lms.token"))),
        ];
        for ((name, kind, server), rest) in sources {
            let url = quoted(&server.origin);
            let _ = write!(
                toml,
                "\n[[source]]\nname = \"{name}\"\ntype = \"{kind}\"\nurl = {url}\n{rest}tls = {{ ca_file = {ca} }}\n"
            );
        }
        toml
    }

    /// Origins by source name, in the order of the configuration.
    pub fn origins(&self) -> [(&'static str, &str); 4] {
        [
            ("nas-1", self.servers.truenas.origin.as_str()),
            ("vc-1", self.servers.vsphere.origin.as_str()),
            ("sps-1", self.servers.sps.origin.as_str()),
            ("lms", self.servers.canvas.origin.as_str()),
        ]
    }
}

/// Gives answers the time of a clock that is behind.
fn dating(behind: Duration) -> impl Fn(Response) -> Ready<Response> + Clone {
    move |mut response: Response| {
        let date = httpdate::fmt_http_date(SystemTime::now() - behind);
        if let Ok(date) = HeaderValue::from_str(&date) {
            response.headers_mut().insert(DATE, date);
        }
        ready(response)
    }
}

/// A TOML basic string; JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The file is made anew, so that an older one's wider permissions do not stay.
fn write_private(path: &Path, content: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_folder_holds_what_a_reader_needs_and_no_one_else_reads_it() {
        let settings = Settings { events: 300, people: 8, ..Settings::new(7, 1_795_317_601_000_000) };
        let demo = Demo::start(settings, DemoOptions::default()).await.unwrap();
        let dir = std::env::temp_dir().join(format!("fedaudit-demo-{}", secret(12).unwrap()));
        let config = demo.write_config(&dir).unwrap();
        // Twice, as when a demo is started again into the same folder.
        assert_eq!(demo.write_config(&dir).unwrap(), config);
        let text = fs::read_to_string(&config).unwrap();
        for (name, origin) in demo.origins() {
            assert!(text.contains(&format!("name = \"{name}\"")) && text.contains(origin));
            assert!(origin.starts_with("https://127.0.0.1:"));
        }
        for (name, content) in demo.secrets.files() {
            assert!(!text.contains(content) && text.contains(name));
            assert!(!format!("{demo:?}").contains(content));
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                assert_eq!(fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
            }
        }
        assert!(fs::read_to_string(dir.join("ca.pem")).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
        fs::remove_dir_all(dir).unwrap();
    }
}
