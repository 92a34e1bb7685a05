//! What peers report of themselves, and in which order. Without these tests a late greeting could revert newer knowledge.

use super::*;
use crate::config::ClockSettings;
use crate::process::clock::Hlc;
use crate::process::identity::Identity;
use crate::transport::wire::identity_to_wire;

fn greeting(run: u64, revisions: u64) -> Greeting {
    let identity = Identity {
        store: [7; 16],
        boot: 1,
        run,
    };
    Greeting {
        identity: Some(identity_to_wire("c", &id("q"), identity)),
        revisions,
        ..Greeting::default()
    }
}

// The process p, which has met q.
fn met() -> Peers {
    let peer = Member {
        id: id("q"),
        grpc: "127.0.0.1:1".to_owned(),
        rest: None,
        transport: Transport::Native,
    };
    let view = view(&peer, &Remembered::default());
    Peers {
        me: id("p"),
        cluster: "c".to_owned(),
        topology: Topology::full(std::slice::from_ref(&peer.id)).expect("one process"),
        clients: BTreeMap::new(),
        foreign: BTreeMap::new(),
        views: Mutex::new(BTreeMap::from([(peer.id, view)])),
        links: Links::default(),
        wall: Arc::new(Clock::new(&ClockSettings::default(), Hlc::default())),
        salt_readers: watch::Sender::default(),
        told: watch::Sender::new(0),
        heard: watch::Sender::new(0),
    }
}

// Without this, a node that is upgraded first records states that the others cannot read.
#[tokio::test]
async fn salted_chunks_are_written_when_the_last_peer_has_said_that_it_reads_them() {
    let mut peers = met();
    let other = id("r");
    for peer in [id("q"), other.clone()] {
        let to = Destination {
            address: "127.0.0.1:1",
            process: None,
        };
        let connection = connect(to, None).expect("an address");
        let client = PeerClient::new("c".to_owned(), peer.clone(), connection);
        peers.clients.insert(peer, client);
    }
    let asked = peers.wall.reading();
    let identity = Identity {
        store: [7; 16],
        boot: 1,
        run: 3,
    };
    let reader = |process: &ProcessId, reads| Greeting {
        identity: Some(identity_to_wire("c", process, identity)),
        salted_chunks: reads,
        ..Greeting::default()
    };
    let all = || timeout(Duration::ZERO, peers.all_read_salted_chunks());
    peers.heard(&id("q"), reader(&id("q"), true), asked);
    peers.heard(&other, reader(&other, false), asked);
    peers.heard(&other, reader(&id("q"), true), asked);
    assert!(all().await.is_err(), "r has an older program");
    peers.heard(&other, reader(&other, true), asked);
    assert!(all().await.is_ok());
}

fn id(text: &str) -> ProcessId {
    ProcessId::parse(text).expect("a valid id")
}

// Without this, a snapshot reported by a peer waits for the next greeting, or is reverted by an answer that was in flight.
#[test]
fn what_a_peer_tells_is_news_at_once_and_no_older_answer_takes_it_back() {
    let (peers, peer) = (met(), id("q"));
    let asked = peers.wall.reading();
    let known = || peers.view(&peer).expect("it is a member").revisions;
    peers.heard(&peer, greeting(3, 1), asked);
    let mut news = peers.news();
    peers.greeted(greeting(3, 2));
    assert!(news.has_changed().expect("it is there"));
    assert_eq!(known(), (3, 2));
    peers.heard(&peer, greeting(3, 1), asked);
    assert_eq!(known(), (3, 2), "the answer is older");
    news.mark_unchanged();
    peers.greeted(greeting(4, 9));
    assert!(!news.has_changed().expect("it is there"));
    assert_eq!(known(), (3, 2), "its new run it has to say itself");
    peers.heard(&peer, greeting(4, 0), asked);
    assert_eq!(known(), (4, 0), "a new run counts anew");
}

// Without this, every orderly stop is a warning at each other node, and a failure after the next start is not.
#[test]
fn a_peer_that_takes_its_leave_is_leaving_until_it_is_back() {
    let (peers, peer) = (met(), id("q"));
    let asked = peers.wall.reading();
    let leaving = |run| Greeting {
        leaving: true,
        ..greeting(run, 0)
    };
    let is_leaving = || peers.view(&peer).expect("it is a member").is_leaving;
    peers.heard(&peer, greeting(3, 0), asked);
    peers.greeted(leaving(2));
    assert!(!is_leaving(), "a life before it does not speak for it");
    peers.greeted(leaving(3));
    // An answer that was in flight.
    peers.heard(&peer, leaving(3), asked);
    assert!(is_leaving());
    peers.lost(&peer);
    assert!(is_leaving());
    peers.heard(&peer, greeting(4, 0), asked);
    assert!(!is_leaving());
}
