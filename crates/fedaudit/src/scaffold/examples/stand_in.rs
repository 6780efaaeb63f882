//! Serves the stand-in on this machine until Ctrl-C, and writes a configuration that asks it: see the README.

#[path = "../stand_in/mod.rs"]
mod stand_in;

use std::error::Error;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fedaudit_core::Time;
use fedaudit_testkit::conformance::Condition;
use fedaudit_testkit::{Authority, serve};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
    let product = stand_in::product(Condition::Healthy, Time::from_seconds(now).unwrap_or_default());
    let authority = Authority::new()?;
    let server = serve(product.router.unwrap_or_default(), &authority).await?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/stand-in");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("ca.pem"), authority.ca_pem())?;
    std::fs::write(folder.join("token"), stand_in::TOKEN)?;
    let config = format!(
        r#"[plugins]
libraries = ["target/release/libdemo_src.so"]

[[source]]
name = "demo-src-1"
type = "demo-src"
url = "{}"
token = "file:target/stand-in/token"
tls = {{ ca_file = "target/stand-in/ca.pem" }}
"#,
        server.origin
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("stand-in.toml");
    std::fs::write(&path, config)?;
    println!("{} answers; {} asks it. Ctrl-C ends it.", server.origin, path.display());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
