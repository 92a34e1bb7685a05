//! The REST client against sockets that answer once or never.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

/// Starts a server that answers once. Returns its URL, and a thread that returns the request when joined.
fn answering(response: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = [0; 4096];
        let length = stream.read(&mut request).expect("a request");
        stream.write_all(response.as_bytes()).expect("a reader");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (url, asked)
}

#[test]
fn segments_cannot_leave_their_place() {
    assert_eq!(segment("a-b_c~d.e"), "a-b_c~d.e");
    assert_eq!(segment("a/b?c#d%e f"), "a%2Fb%3Fc%23d%25e%20f");
    assert_eq!(segment(".."), "%2E%2E");
    assert_eq!(segment("é"), "%C3%A9");
}

#[test]
fn an_answer_keeps_its_text() {
    let (url, asked) =
        answering("HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\n{\"a\": 1}");
    let client = RestClient::new(&url).expect("a url");
    let answer = client.get("/v1/x", &[("at", "a b")]).expect("an answer");
    assert_eq!(answer.text, "{\"a\": 1}");
    assert_eq!(answer.json["a"], 1);
    assert!(
        asked
            .join()
            .expect("served")
            .starts_with("GET /v1/x?at=a%20b ")
    );
}

#[test]
fn a_problem_becomes_its_title_and_detail() {
    let (url, _asked) = answering(
        "HTTP/1.1 409 Conflict\r\ncontent-length: 28\r\nconnection: close\r\n\r\n{\"title\":\"T\",\"detail\":\"d.\"} ",
    );
    let client = RestClient::new(&url).expect("a url");
    let error = client.get("/v1/x", &[]).expect_err("a refusal");
    assert_eq!(
        (error.to_string().as_str(), error.exit_code()),
        ("T: d.", 1)
    );
}

#[test]
fn an_address_is_taken_with_or_without_its_scheme() {
    for given in ["http://n1:8080/", "n1:8080"] {
        let client = RestClient::new(given).expect("an address");
        assert_eq!(client.base, "http://n1:8080", "{given}");
    }
}

#[test]
fn nobody_there_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let error = RestClient::new(&url)
        .expect("a url")
        .get("/", &[])
        .expect_err("nobody");
    assert!(error.to_string().contains("start the node"), "{error}");
    for bad in ["", "https://", "ftp://n1", "http://", "http://a/b", "n1/b"] {
        assert_eq!(
            RestClient::new(bad).expect_err("no url").exit_code(),
            2,
            "{bad}"
        );
    }
}
