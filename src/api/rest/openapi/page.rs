//! The page to try the API: Swagger UI, embedded in the program.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use utoipa_swagger_ui::{Config, serve};

use super::super::body::Segments;
use super::super::negotiation::{Format, negotiate};
use super::super::query::Parameters;
use crate::api::error::Failure;

/// The files of Swagger UI that the page uses.
const FILES: [&str; 5] = [
    "favicon-32x32.png",
    "swagger-initializer.js",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-ui.css",
];

/// Allows nothing from other hosts, and no inline scripts. Swagger UI needs inline styles and data images.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// Disables the default validator, which is a service on the network.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("openapi.json").validator_url("none")));

/// `GET /docs`
pub(in super::super) async fn show(uri: Uri, headers: HeaderMap) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Html])?;
    Parameters::of(&uri, &[])?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    Ok((headers, include_str!("docs.html")).into_response())
}

/// `GET /docs/{file}`
pub(in super::super) async fn file(
    Segments(name): Segments<String>,
    uri: Uri,
) -> Result<Response, Failure> {
    Parameters::of(&uri, &[])?;
    let unknown = || Failure::UnknownRoute(uri.path().to_owned());
    let known = FILES.contains(&&*name).then_some(&*name);
    let found = serve(known.ok_or_else(unknown)?, CONFIG.clone());
    let found = found.ok().flatten().ok_or_else(unknown)?;
    let bytes = match found.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let headers = [
        (header::CONTENT_TYPE, found.content_type),
        (header::CACHE_CONTROL, "max-age=3600".to_owned()),
    ];
    Ok((headers, Body::from(bytes)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_in_the_program_and_nothing_is_fetched() {
        let page = include_str!("docs.html");
        for name in FILES {
            assert!(page.contains(&format!("\"docs/{name}\"")), "{name}");
            let found = serve(name, CONFIG.clone()).expect("it can be read");
            assert!(found.is_some(), "{name}");
        }
        let named = page.matches("=\"docs/").count();
        assert_eq!((named, page.contains("//")), (FILES.len(), false));
        let initializer = serve("swagger-initializer.js", CONFIG.clone());
        let initializer = initializer.ok().flatten().expect("it is there").bytes;
        let text = String::from_utf8_lossy(&initializer);
        assert!(text.contains("\"url\": \"openapi.json\""), "{text}");
        assert!(text.contains("\"validatorUrl\": \"none\"") && !text.contains("//petstore"));
    }
}
