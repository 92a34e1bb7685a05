//! Client certificates that expire while their connection lasts.

use std::sync::Arc;
use std::time::Duration;

use snapledger::access::LoginRefused;
use snapledger::access::authority::Authority;
use snapledger::access::connection::Connection;
use snapledger::access::identity::Identity;
use snapledger::access::role::Role;
use snapledger::access::settings::{AuthSettings, CertifiedClient};

// Without this a client keeps its rights for as long as it holds the connection.
#[tokio::test]
async fn a_certificate_that_expires_ends_the_rights_on_its_connection() {
    let client = CertifiedClient {
        name: "ops".to_owned(),
        role: Role::Operator,
        accounts: Vec::new(),
    };
    let settings = AuthSettings {
        clients: vec![client],
        ..AuthSettings::default()
    };
    let authority = Authority::open(settings, "bank").expect("it needs no file");
    let identity = Identity::parse("snapledger://bank/client/ops").expect("an identity");
    let identity = Arc::new(identity);
    let caller = |expires| {
        let connection = Connection {
            address: ([127, 0, 0, 1], 1).into(),
            identity: Some(Arc::clone(&identity)),
            expires,
        };
        authority.caller(std::iter::empty(), Some(&connection))
    };
    let now = jiff::Timestamp::now();
    let refused = caller(Some(now)).expect_err("it has expired");
    assert!(matches!(refused, LoginRefused::Expired), "{refused}");
    let soon = caller(Some(now + Duration::from_secs(1))).expect("it lasts");
    let lasting = caller(Some(now + Duration::from_secs(600))).expect("it lasts");
    let ended = tokio::time::timeout(Duration::from_secs(10), soon.ended()).await;
    ended.expect("its rights end with it");
    let ended = tokio::time::timeout(Duration::from_millis(100), lasting.ended()).await;
    assert!(ended.is_err(), "another one goes on");
}
