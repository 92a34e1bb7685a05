//! What peers tell of themselves, and in which order. Without these a greeting that comes late would take back what is known.

use super::*;
use crate::config::ClockSettings;
use crate::process::clock::Hlc;
use crate::process::event::Identity;
use crate::transport::wire::identity_to_wire;

fn greeting(run: u64, revisions: u64) -> Greeting {
    let identity = Identity {
        store: [7; 16],
        boot: 1,
        run,
    };
    let peer = ProcessId::parse("q").expect("a valid id");
    Greeting {
        identity: Some(identity_to_wire("c", &peer, identity)),
        revisions,
        ..Greeting::default()
    }
}

// Without this a snapshot that a peer has told of waits for the next greeting, or is forgotten by an answer that was on
// its way when the peer told.
#[test]
fn what_a_peer_tells_is_news_at_once_and_no_older_answer_takes_it_back() {
    let peer = Member {
        id: ProcessId::parse("q").expect("a valid id"),
        grpc: "127.0.0.1:1".to_owned(),
        rest: None,
        transport: Transport::Native,
    };
    let peers = Peers {
        me: ProcessId::parse("p").expect("a valid id"),
        cluster: "c".to_owned(),
        topology: Topology::full(std::slice::from_ref(&peer.id)).expect("one process"),
        connections: BTreeMap::new(),
        foreign: BTreeMap::new(),
        views: Mutex::new(BTreeMap::from([(
            peer.id.clone(),
            view(&peer, &Remembered::default()),
        )])),
        links: Links::default(),
        wall: Arc::new(Clock::new(&ClockSettings::default(), Hlc::default())),
        told: watch::Sender::new(0),
        heard: watch::Sender::new(0),
    };
    let asked = peers.wall.reading();
    let known = || peers.view(&peer.id).expect("it is a member").revisions;
    peers.heard(&peer.id, greeting(3, 1), asked);
    let mut news = peers.news();
    peers.greeted(greeting(3, 2));
    assert!(news.has_changed().expect("it is there"));
    assert_eq!(known(), (3, 2));
    peers.heard(&peer.id, greeting(3, 1), asked);
    assert_eq!(known(), (3, 2), "the answer is older");
    news.mark_unchanged();
    peers.greeted(greeting(4, 9));
    assert!(!news.has_changed().expect("it is there"));
    assert_eq!(known(), (3, 2), "its new run it has to say itself");
    peers.heard(&peer.id, greeting(4, 0), asked);
    assert_eq!(known(), (4, 0), "a new run counts anew");
}
