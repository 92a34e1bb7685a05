//! Requests that are refused before their body is read. Without this, strangers hold memory and places of callers with rights.

use std::time::Duration;

use snapledger::proto::chandy_lamport::GetBalanceRequest;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::guarded::Guarded;

const ANSWER_MAX: Duration = Duration::from_secs(20);

fn head(length: usize) -> String {
    format!(
        "POST /v1/transfers HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

// Reads an answer up to the end of its body, a JSON object on lines of its own.
async fn answer(socket: &mut TcpStream) -> String {
    let mut answer = String::new();
    let whole = async {
        while !answer.ends_with("}\n") {
            let byte = socket.read_u8().await.expect("the answer is whole");
            answer.push(byte.into());
        }
    };
    timeout(ANSWER_MAX, whole).await.expect("it is answered");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused_without_its_body() {
    let node = Guarded::start().await;
    let mut socket = TcpStream::connect(node.rest_address()).await.expect("up");
    // Not one byte of the body follows.
    let sent = socket.write_all(head(1 << 20).as_bytes()).await;
    sent.expect("it is open");
    let refused = answer(&mut socket).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    node.stop().await;
}

// Many clients send the header and the body apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_body_that_comes_later_costs_neither_answer_nor_connection() {
    let node = Guarded::start().await;
    let mut socket = TcpStream::connect(node.rest_address()).await.expect("up");
    for _ in 0..2 {
        let sent = socket.write_all(head(1000).as_bytes()).await;
        sent.expect("it is open");
        let body = socket.write_all(&[b' '; 1000]).await;
        body.expect("it is open");
        let refused = answer(&mut socket).await;
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_client_without_a_token_is_told_what_it_needs() {
    let node = Guarded::start().await;
    let mut bank = BankServiceClient::new(node.channel());
    let request = GetBalanceRequest::default();
    let refused = bank.get_balance(request).await.expect_err("no token");
    let challenge = refused.metadata().get("www-authenticate");
    let challenge = challenge.and_then(|text| text.to_str().ok());
    assert_eq!(challenge, Some("Bearer realm=\"demo\""), "{refused:?}");
    node.stop().await;
}
