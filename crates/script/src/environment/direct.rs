//! Packages that are named by where they are, instead of by a version.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::error::Error;

const ARCHIVES: [&str; 8] = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".tar.zst"];

/// Whether installing it would run code of it: it is a folder, an archive of sources or in a version control system,
/// or nothing that is surely none of these.
pub(super) fn is_built(requirement: &str) -> bool {
    let text = requirement.trim();
    // An option, and what the tools replace before they read it.
    if text.starts_with('-') || text.contains("${") {
        return true;
    }
    let head = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let by_address = head.starts_with('.') || head.contains(['@', '/', ':', '\\']);
    if !by_address {
        return ARCHIVES.iter().any(|end| head.ends_with(end));
    }
    let is_name = |text: &str| {
        let name = text.split('[').next().unwrap_or_default().trim();
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let address = match text.split_once('@') {
        Some((name, address)) if is_name(name) => address,
        _ => text,
    };
    !is_wheel(address)
}

fn is_wheel(address: &str) -> bool {
    let address = address.split_whitespace().next().unwrap_or_default();
    let address = address.strip_suffix(';').unwrap_or(address);
    let address = address.split(['#', '?']).next().unwrap_or_default();
    if address.contains(';') || !address.to_ascii_lowercase().ends_with(".whl") {
        return false;
    }
    let path = match address.split_once("://") {
        Some((scheme, path)) => match scheme.to_ascii_lowercase().as_str() {
            "https" | "http" => return true,
            "file" => unquoted(path),
            _ => return false,
        },
        None => address.into(),
    };
    // A folder may be called like a wheel.
    path.is_absolute() && !path.is_dir()
}

/// `%20` becomes a space.
fn unquoted(path: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

pub(super) fn refused(requirement: &str) -> Error {
    Error::Environment {
        message: format!("`{}` is not a wheel: to install it, it would have to be built", requirement.trim()),
        hint: Some(
            "building a package runs its code: name a version of the package index or the address of a wheel (`.whl`), \
             or start the server with `OPENDMP_ALLOW_BUILDS=1`"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wheels_are_not_built() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a folder.whl");
        std::fs::create_dir(&folder).unwrap();
        let quoted = format!("x @ file://{}", folder.display()).replace("a folder", "a%20folder");
        for built in [
            &quoted,
            "x @ file:///srv/folder",
            "x@file:///srv/folder",
            "x [y] @ file:///srv/folder#egg=a.whl",
            "x @ file:///srv/folder #.whl",
            "x @ file:///srv/folder ;.whl",
            "x @ git+https://example.org/x.git",
            "x @ git+https://example.org/x.whl",
            "git+ssh://git@example.org/x@y.whl",
            "x @ https://example.org/x-1.tar.gz",
            "x @ https://example.org/x-1.zip?a.whl",
            "x @ https://example.org/x-1.tar.gz;x.whl",
            "https://example.org/x-1.tar.gz",
            "/srv/folder",
            "./x-1.whl",
            ".",
            "x-1.tar.gz",
            "x @ ${HOME}/a.whl",
            "-e /srv/folder",
            "--no-binary :all:",
            "@ file:///srv/folder",
        ] {
            assert!(is_built(built), "{built}");
        }
        for wheel in [
            "six",
            "six==1.16.0",
            "six [a,b] >=1, <2 ; python_version < '3.99' and sys_platform != 'a/b'",
            "six @ https://example.org/six-1.16.0-py2.py3-none-any.whl#sha256=00",
            "six@https://example.org/six-1.16.0-py2.py3-none-any.whl ; python_version > '3'",
            "six @ file:///srv/wheels/six-1.16.0-py2.py3-none-any.whl",
            "/srv/wheels/six-1.16.0-py2.py3-none-any.whl",
        ] {
            assert!(!is_built(wheel), "{wheel}");
        }
    }
}
