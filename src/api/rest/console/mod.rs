//! The console: pages for people, embedded in the program. They are clients of `/v1` like any other and know nothing more.
//!
//! `GET /` answers a client that names `text/html` with the console, and all others with the list of routes. The route of a page
//! is the fragment of its address, so every page is this one document and a proxy may serve it below another path.
//!
//! The files have no build step: plain modules, style sheets and one vendored library. The policy allows nothing else.

mod files;

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::body::Segments;
use super::query::Parameters;
use crate::api::error::Failure;
use files::{FILES, File};

/// Everything from this node; no inline script or style, no frame, and no text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; font-src 'self'; \
                      img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'";

/// The document, with a hint for every module: without it a browser would find them one import after another.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let mut hints = String::new();
    for file in FILES.iter().filter(|file| file.is_module()) {
        writeln!(
            hints,
            "<link rel=\"modulepreload\" href=\"console/{}\">",
            file.name
        )
        .expect("a string takes all that is written to it");
    }
    include_str!("static/index.html").replace("{modules}\n", &hints)
});

/// The console, for `GET /`.
pub(super) fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, PAGE.as_str()).into_response()
}

/// `GET /console/{file}` and `GET /console/{folder}/{file}`. A browser asks again each time and gets 304 as long as the program
/// is the same, so an upgrade never mixes files of two versions.
pub(super) async fn file(
    Segments(segments): Segments<Vec<String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    Parameters::of(&uri, &[])?;
    let name = segments.join("/");
    let found = FILES.iter().position(|file| file.name == name);
    let index = found.ok_or_else(|| Failure::UnknownRoute(uri.path().to_owned()))?;
    let (file, etag) = (&FILES[index], &ETAGS[index]);
    let given = headers.get(header::IF_NONE_MATCH);
    let is_known = given.is_some_and(|given| given.as_bytes() == etag.as_bytes());
    let answer = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Bytes::from_static(file.content).into_response(),
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(file.media_type()),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, etag.clone()),
    ];
    Ok((headers, answer).into_response())
}

static ETAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| FILES.iter().map(etag).collect());

fn etag(file: &File) -> HeaderValue {
    let hash = hex::encode(&Sha256::digest(file.content)[..16]);
    HeaderValue::try_from(format!("\"{hash}\"")).expect("hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn text(file: &File) -> &'static str {
        std::str::from_utf8(file.content).expect("sources are UTF-8")
    }

    // Without this a module can be written and never served.
    #[test]
    fn every_file_of_the_directory_is_served() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/rest/console/static");
        let mut directories = vec![PathBuf::from(root)];
        let mut found = 0;
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).expect("it can be read") {
                let path = entry.expect("it can be read").path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let name = path.strip_prefix(root).expect("it lies there");
                let name = name.to_str().expect("UTF-8").replace('\\', "/");
                let is_served = FILES.iter().any(|file| file.name == name);
                assert!(is_served || name == "index.html", "{name}: add it to FILES");
                found += 1;
            }
        }
        assert!(found > 30, "they are where they are looked for");
    }

    // What a relative path in a file names.
    fn resolved(from: &str, path: &str) -> String {
        let mut segments: Vec<&str> = from.split('/').collect();
        segments.pop();
        for segment in path.split('/') {
            match segment {
                "." => {}
                ".." => assert!(segments.pop().is_some(), "{path} leaves the console"),
                name => segments.push(name),
            }
        }
        segments.join("/")
    }

    #[test]
    fn what_the_page_the_modules_and_the_style_sheets_name_is_there() {
        let is_served = |name: &str| FILES.iter().any(|file| file.name == name);
        for named in PAGE.split("=\"console/").skip(1) {
            let name = named.split('"').next().unwrap_or_default();
            assert!(is_served(name), "{name} of the page");
        }
        let mut found = 0;
        for file in FILES.iter().filter(|file| !file.is_vendored()) {
            let before = match file.is_module() {
                true => " from '",
                false => "url('",
            };
            for named in text(file).split(before).skip(1) {
                let path = named.split('\'').next().unwrap_or_default();
                let name = resolved(file.name, path);
                assert!(is_served(&name), "{name} of {}", file.name);
                found += 1;
            }
        }
        assert!(found > 100, "imports are where they are looked for");
        assert!(!PAGE.contains("{modules}"));
    }

    // The policy would refuse all of this in the browser; here it is found without one.
    #[test]
    fn nothing_is_inline_evaluated_or_from_another_host() {
        let own = FILES.iter().filter(|file| !file.is_vendored());
        for (name, text) in own
            .filter(|file| file.media_type().starts_with("text/"))
            .map(|file| (file.name, text(file)))
            .chain([("index.html", PAGE.as_str())])
        {
            for refused in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "eval(",
                "new Function",
                "style=",
                "https://",
                "@import",
            ] {
                assert!(!text.contains(refused), "{refused} in {name}");
            }
        }
        assert_eq!(PAGE.matches("<script").count(), 2, "both have a source");
        assert_eq!(PAGE.matches("<script src=").count(), 2);
    }
}
