//! Protection of people whose browser reaches a node: a web page of another origin can neither send operations nor read
//! answers.
//!
//! - A browser adds `Origin` to each request that is not GET or HEAD, and newer ones add `Sec-Fetch-Site` to all. An
//!   unsafe request from another origin is refused. A page cannot remove these headers, and a form is a POST, so a
//!   request without them does not come from a page. Nothing here allows cross-origin reads (no CORS).
//! - Reads cost work and hold places, also for a page that may not see the answer. A page of another origin may link to an
//!   answer, and load none (the resource isolation policy of Fetch Metadata). The backup has one place, so it may not
//!   link to that either.
//! - DNS rebinding makes a foreign name point to this node. The page then has the node's origin, but the browser still
//!   sends the foreign name in `Host`, which the REST port refuses.
//!
//! gRPC clients may name any authority, so the gRPC port does not check it. Browsers cannot call it: they use HTTP/2 only
//! over TLS, where the certificate has no foreign name.

mod headers;
mod names;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tonic::Status;

use super::denied::Denied;
use super::error::Failure;
use super::unread;
pub(super) use names::Names;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// In requests that a browser makes before a person opens their page.
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
/// The path of the answer of which there is one at once.
const BACKUP: &str = "/v1/backup";

/// Around all routes of the REST port.
pub(super) async fn on_rest(State(names): State<Names>, request: Request, next: Next) -> Response {
    let admitted = check_names(&request, &names).and_then(|()| check_origin(&request));
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(denied) => {
            unread::discard(request).await;
            Failure::from(denied).into_response()
        }
    };
    headers::secure(response.headers_mut());
    response
}

/// Around all services of the gRPC port.
pub(super) async fn on_grpc(request: Request, next: Next) -> Response {
    let mut response = match check_origin(&request) {
        Ok(()) => next.run(request).await,
        // What a gRPC client can read.
        Err(denied)
            if request.version() == Version::HTTP_2 && headers::is_grpc(request.headers()) =>
        {
            Status::from(Failure::from(denied)).into_http()
        }
        Err(denied) => Failure::from(denied).into_response(),
    };
    if !headers::is_grpc(response.headers()) {
        headers::secure(response.headers_mut());
    }
    response
}

// Every name in the request must be known: a proxy may look at another one than this node. A request of HTTP/1.0 may
// have none; browsers always send one.
fn check_names(request: &Request, names: &Names) -> Result<(), Denied> {
    let hosts = request.headers().get_all(header::HOST).iter();
    let hosts = hosts.map(|host| host.to_str().unwrap_or("?"));
    let named = request.uri().authority().map(Authority::as_str);
    match hosts.chain(named).find(|host| !names.has(host)) {
        Some(unknown) => Err(Denied::UnknownHost(unknown.to_owned())),
        None => Ok(()),
    }
}

fn check_origin(request: &Request) -> Result<(), Denied> {
    let headers = request.headers();
    if may_be_foreign(request) || !is_foreign(headers, request.uri()) {
        return Ok(());
    }
    let origin = headers.get(header::ORIGIN);
    let origin = origin.and_then(|origin| origin.to_str().ok());
    Err(Denied::ForeignOrigin(origin.unwrap_or("null").to_owned()))
}

// Whether a page of another origin may send the request. A browser that adds no `Sec-Fetch-Site` does not tell a link from
// what a page loads.
fn may_be_foreign(request: &Request) -> bool {
    let headers = request.headers();
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    match *request.method() {
        Method::OPTIONS => true,
        Method::GET | Method::HEAD if request.uri().path() == BACKUP => false,
        Method::GET | Method::HEAD => {
            let is_link = is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document");
            // A page can have its links fetched that nobody follows; the browser fetches them again once they are followed.
            let is_followed = !headers.contains_key(SEC_PURPOSE);
            is_link && is_followed || !headers.contains_key(SEC_FETCH_SITE)
        }
        _ => false,
    }
}

fn is_foreign(headers: &HeaderMap, uri: &Uri) -> bool {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = uri.authority().map(Authority::as_str).or(host);
    let mut origins = headers.get_all(header::ORIGIN).iter();
    sites.any(|site| site != "same-origin" && site != "none")
        || origins.any(|origin| {
            let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
            let own = origin.zip(host).is_some_and(|((scheme, authority), host)| {
                let theirs = with_port(authority, scheme);
                theirs.is_some() && theirs == with_port(host, scheme)
            });
            !own
        })
}

// Both sides of the comparison leave out the default port of the scheme that the browser used.
fn with_port(authority: &str, scheme: &str) -> Option<(String, u16)> {
    let parsed: Authority = authority.parse().ok()?;
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let port = match parsed.port() {
        Some(_) => parsed.port_u16()?,
        None => default,
    };
    Some((parsed.host().to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri("/v1/snapshots");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).expect("a request")
    }

    #[test]
    fn an_origin_is_compared_with_the_host_and_port_of_the_request() {
        let is_refused = |method, headers: &[(&str, &str)]| {
            let host = [("host", "n1.example:7201")];
            check_origin(&request(method, &[&host, headers].concat())).is_err()
        };
        for own in [
            &[][..],
            &[("origin", "http://n1.example:7201")],
            &[("origin", "https://N1.example:7201")],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(!is_refused("POST", own), "{own:?}");
        }
        for foreign in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "http://n1.example")],
            &[("origin", "http://n1.example:7202")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "file://")],
            &[("origin", "http://n1.example:99999")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[
                ("origin", "http://n1.example:7201"),
                ("origin", "http://evil.example"),
            ],
            &[
                ("origin", "http://n1.example:7201"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "MINT"] {
                assert!(is_refused(method, foreign), "{method} {foreign:?}");
            }
        }
    }

    #[test]
    fn a_foreign_page_may_link_to_an_answer_and_load_none() {
        let is_refused = |method: &str, path: &'static str, headers: &[(&str, &str)]| {
            let mut request = request(method, headers);
            *request.uri_mut() = Uri::from_static(path);
            check_origin(&request).is_err()
        };
        let link = [
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        let image = [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")];
        for site in ["cross-site", "same-site"].map(|site| ("sec-fetch-site", site)) {
            for method in ["GET", "HEAD"] {
                for (kind, is_link) in [(link, true), (frame, false), (image, false)] {
                    let headers = [&[site], &kind[..]].concat();
                    let refused = is_refused(method, "/v1/snapshots/s/export", &headers);
                    assert_eq!(refused, !is_link, "{headers:?}");
                    assert!(is_refused(method, BACKUP, &headers), "{headers:?}");
                }
                for purpose in ["prefetch", "prefetch;prerender"] {
                    let headers = [&[site, ("sec-purpose", purpose)], &link[..]].concat();
                    assert!(is_refused(method, "/v1/cluster", &headers), "{headers:?}");
                }
            }
            assert!(!is_refused("OPTIONS", BACKUP, &[site]), "it does nothing");
        }
        for own in ["same-origin", "none"].map(|site| ("sec-fetch-site", site)) {
            assert!(!is_refused("GET", BACKUP, &[own, image[0], image[1]]));
            assert!(!is_refused(
                "GET",
                BACKUP,
                &[own, ("sec-purpose", "prefetch")]
            ));
        }
        assert!(!is_refused("GET", BACKUP, &[]), "a program");
        let older = [("origin", "http://evil.example")];
        assert!(is_refused("GET", BACKUP, &older));
        assert!(!is_refused("GET", "/v1/cluster", &older), "unreadable");
    }

    #[test]
    fn a_proxy_that_adds_tls_keeps_the_origin() {
        let host = ("host", "ledger.example");
        for origin in ["https://ledger.example", "https://ledger.example:443"] {
            let own = request("POST", &[host, ("origin", origin)]);
            assert_eq!(check_origin(&own), Ok(()));
        }
        let other_port = request("POST", &[host, ("origin", "https://ledger.example:8443")]);
        assert!(check_origin(&other_port).is_err());
    }

    #[test]
    fn every_name_of_a_request_is_checked() {
        let names = Names::of(&["n1.example".to_owned()], None);
        let check = |headers: &[(&str, &str)]| check_names(&request("GET", headers), &names);
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("host", "N1.Example:7201")]), Ok(()));
        for hosts in [
            &[("host", "evil.example")][..],
            &[("host", "n1.example"), ("host", "evil.example")],
            &[("host", "")],
        ] {
            assert!(check(hosts).is_err(), "{hosts:?}");
        }
        let mut absolute = request("GET", &[("host", "n1.example")]);
        *absolute.uri_mut() = Uri::from_static("http://evil.example/v1/cluster");
        let unknown = Denied::UnknownHost("evil.example".to_owned());
        assert_eq!(check_names(&absolute, &names), Err(unknown));
    }
}
