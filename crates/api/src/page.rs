//! The web page: files that `web/` was built to, in the binary (in a debug build: on disk, where it was built).
//!
//! Every address that is no file and no route is the page's own, and gets its one document, in which each answer has a
//! nonce of its own for the styles that the page makes. A build without Node has no files; then a page says how to make
//! them.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::ask::Problem;

/// What the build of `web/` made.
#[derive(RustEmbed)]
#[folder = "$OPENDMP_PAGE"]
#[allow_missing = true]
struct Files;

/// The page's one document.
const DOCUMENT: &str = "index.html";

/// What stands in it for the nonce.
const NONCE: &str = "__CSP_NONCE__";

/// Files whose names have a hash of their content.
const HASHED: &str = "assets/";

/// Whether a browser goes to a page, rather than a program or a page's code asking for something.
pub(crate) fn is_wanted(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let of_api = ["/api/", "/dl/", "/metrics", "/healthz", "/livez", "/readyz", "/assets/"];
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    (method == Method::GET || method == Method::HEAD)
        && accepts.contains("text/html")
        && !of_api.iter().any(|prefix| path.starts_with(prefix))
}

/// A file of the page, its document, or `None` where neither is meant.
pub(crate) fn answer(method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let name = path.trim_start_matches('/');
    if name != DOCUMENT
        && let Some(file) = Files::get(name)
    {
        let media = mime_guess::from_path(name).first_or_octet_stream();
        let kept = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
        // The build packed scripts and styles.
        let packed = takes_gzip(headers).then(|| Files::get(&format!("{name}.gz"))).flatten();
        let is_packed = packed.is_some();
        let mut response = packed.unwrap_or(file).data.into_owned().into_response();
        let headers = response.headers_mut();
        if is_packed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_str(media.as_ref()).unwrap_or(HeaderValue::from_static("application/octet-stream")),
        );
        return Some(response);
    }
    is_wanted(method, path, headers).then(document)
}

/// Whether who asks can read what is packed (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let given = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = given.flat_map(|value| value.split(',')).map(|coding| coding.split(';').map(str::trim));
    let none =
        |weight: &str| weight.strip_prefix("q=").is_some_and(|weight| weight.trim_matches(['0', '.']).is_empty());
    codings.any(|mut coding| coding.next() == Some("gzip") && !coding.any(none))
}

fn document() -> Response {
    match Files::get(DOCUMENT) {
        Some(file) => html(StatusCode::OK, &String::from_utf8_lossy(&file.data)),
        None => html(StatusCode::OK, &plain(UNBUILT)),
    }
}

/// The page for those who have no token yet, or a wrong one.
pub(crate) fn sign_in(wrong: bool) -> Response {
    let why = if wrong {
        "<p role=alert>This is not the token of this server, or a link that was used or is older than ten minutes.</p>"
    } else {
        ""
    };
    html(StatusCode::UNAUTHORIZED, &plain(&SIGN_IN.replace("<!-- why -->", why)))
}

fn html(status: StatusCode, text: &str) -> Response {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data: blob:; \
         font-src 'self'; connect-src 'self'; frame-src 'self' blob:; worker-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'"
    );
    let Ok(policy) = HeaderValue::from_str(&policy) else {
        return Problem::new(500, "no-policy", "the page can't be protected").into_response();
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, text.replace(NONCE, &nonce)).into_response()
}

/// A page that needs no build.
fn plain(body: &str) -> String {
    PLAIN.replace("<!-- body -->", body)
}

const PLAIN: &str = "<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content='width=device-width'>
<title>OpenDMP</title>
<style nonce=__CSP_NONCE__>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 38rem; margin: 15vh auto; padding: 0 1rem }
code, input { font-family: ui-monospace, monospace; font-size: .95em }
input { width: 100%; box-sizing: border-box; padding: .5rem; margin: .25rem 0 .75rem }
button { padding: .5rem 1rem; font: inherit }
</style>
<main>
<h1>OpenDMP</h1>
<!-- body -->
</main>
</html>
";

const UNBUILT: &str = "<p>This build has no web page in it. The server works all the same: the command line and the \
<a href='/api/v1/status'>API</a> are there.</p>
<p>To have the page, with <a href='https://nodejs.org'>Node</a> 20 or newer in the folder of the sources:</p>
<pre><code>cargo xtask web
cargo build --release</code></pre>
<p>then start the server anew.</p>
";

const SIGN_IN: &str = "<!-- why -->
<p>On the machine of the server, <code>opendmp token --link</code> makes a link that opens this page, once. Or paste the \
access token here: it is in the file <code>access-token</code> of the data directory.</p>
<form method=get action='/'>
<label for=token>Access token</label>
<input id=token name=token type=password autocomplete=current-password autofocus required>
<button>Go on</button>
</form>
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_browsers_that_go_somewhere_get_the_page() {
        let html = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("text/html,*/*;q=0.8"))]);
        for path in ["/", "/flows/penguins", "/datasets"] {
            assert!(is_wanted(&Method::GET, path, &html), "{path}");
            assert!(!is_wanted(&Method::GET, path, &HeaderMap::new()), "{path}");
            assert!(!is_wanted(&Method::POST, path, &html), "{path}");
        }
        for path in ["/api/v1/flows", "/metrics", "/assets/gone.js", "/dl/x"] {
            assert!(!is_wanted(&Method::GET, path, &html), "{path}");
        }
    }

    #[test]
    fn who_takes_gzip_says_so() {
        let takes = |text: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(text))]))
        };
        assert!(takes("gzip, deflate, br, zstd") && takes("br;q=1.0, gzip;q=0.8") && takes("gzip"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes("gzip; q=0.000, br") && !takes("identity"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn each_document_has_its_own_nonce() {
        let nonce = || {
            let response = sign_in(false);
            let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
            policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned()
        };
        assert_ne!(nonce(), nonce());
        assert_eq!(nonce().len(), 32);
    }
}
