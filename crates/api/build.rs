//! Says where the web page is built to, and builds this crate anew when it was: its files have other names then.

use std::path::Path;

fn main() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let web = crates.and_then(Path::parent).unwrap_or(Path::new("/")).join("web");
    let dist = web.join("dist");
    println!("cargo::rustc-env=OPENDMP_PAGE={}", dist.display());
    // A path that is missing would be a change each time.
    println!("cargo::rerun-if-changed={}", if dist.exists() { dist.display() } else { web.display() });
    println!("cargo::rerun-if-changed=build.rs");
}
