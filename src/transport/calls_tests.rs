//! Calls over a real connection to a process that refuses and fails as the test demands. Without these tests a message could be
//! left out, overtaken, or repeated under another id, so that the process would apply it twice.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use super::link::{LinkState, Links};
use super::outbound::{Carrier, Outbound};
use super::{Backlog, Closed, Envelope, Inbox, Local, Settling};
use crate::process::channel::ChannelDigest;
use crate::process::clock::{Clocks, Hlc, Lamport};
use crate::process::handshake::Handshake;
use crate::process::identity::Identity;
use crate::process::ids::{AccountId, Amount, ChannelId, ProcessId, Seq, SnapshotId};
use crate::process::message::{Body, Marker, Message, Transfer};
use crate::proto::chandy_lamport::snapshot_service_server::{
    SnapshotService, SnapshotServiceServer,
};
use crate::proto::chandy_lamport::{
    ApplicationMessage, GetGlobalSnapshotRequest, GetGlobalSnapshotResponse, GetSnapshotRequest,
    GetSnapshotResponse, InitiateSnapshotRequest, InitiateSnapshotResponse, MarkerMessage,
    MarkerResponse, SendMessageResponse,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// The answer of the process to one call.
enum Say {
    Yes,
    No(&'static str),
    Fail,
}

/// Answers by a script, then always yes; records what it was sent.
#[derive(Clone, Default)]
struct Far {
    script: Arc<Mutex<VecDeque<Say>>>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Far {
    fn hear(&self, told: String) -> Result<(bool, String), Status> {
        self.told.lock().expect("no test panics in it").push(told);
        let say = self
            .script
            .lock()
            .expect("no test panics in it")
            .pop_front();
        match say.unwrap_or(Say::Yes) {
            Say::Yes => Ok((true, String::new())),
            Say::No(why) => Ok((false, why.to_owned())),
            Say::Fail => Err(Status::unavailable("not now")),
        }
    }
}

#[tonic::async_trait]
impl SnapshotService for Far {
    async fn receive_marker(
        &self,
        request: Request<MarkerMessage>,
    ) -> Result<Response<MarkerResponse>, Status> {
        let (success, _) = self.hear(format!("{:?}", request.get_ref()))?;
        let answer = MarkerResponse {
            success,
            ..MarkerResponse::default()
        };
        Ok(Response::new(answer))
    }

    async fn send_message(
        &self,
        request: Request<ApplicationMessage>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        let (success, error) = self.hear(format!("{:?}", request.get_ref()))?;
        Ok(Response::new(SendMessageResponse { success, error }))
    }

    async fn initiate_snapshot(
        &self,
        _: Request<InitiateSnapshotRequest>,
    ) -> Result<Response<InitiateSnapshotResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_snapshot(
        &self,
        _: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_global_snapshot(
        &self,
        _: Request<GetGlobalSnapshotRequest>,
    ) -> Result<Response<GetGlobalSnapshotResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[derive(Clone)]
struct Journal(Arc<Vec<Envelope>>, watch::Sender<Seq>);

impl Backlog for Journal {
    fn newest(&self) -> watch::Receiver<Seq> {
        self.1.subscribe()
    }

    fn acknowledged(&self) -> Seq {
        Seq(0)
    }

    fn sent(&self) -> ChannelDigest {
        ChannelDigest::default()
    }

    async fn sent_by(&self, _: Seq) -> Result<ChannelDigest, Closed> {
        Ok(ChannelDigest::default())
    }

    async fn read(&self, after: Seq) -> Result<Vec<Envelope>, Closed> {
        let behind = self.0.iter().filter(|envelope| envelope.seq > after);
        Ok(behind.cloned().collect())
    }
}

/// Records the acknowledgements.
#[derive(Clone, Default)]
struct Turn(Arc<Mutex<Vec<Seq>>>);

impl Inbox for Turn {
    fn clocks(&self) -> Clocks {
        Clocks::default()
    }

    async fn present(&self) -> Hlc {
        Hlc::default()
    }

    fn known(&self, _: &ProcessId) -> Option<Identity> {
        None
    }

    async fn known_as(&self, _: &ProcessId, _: Identity) -> Result<(), Closed> {
        Ok(())
    }

    async fn meet(&self, _: Handshake) -> Result<ChannelDigest, Closed> {
        Ok(ChannelDigest::default())
    }

    async fn deliver(&self, _: &ProcessId, _: Vec<Envelope>) -> Result<Settling, Closed> {
        Err(Closed::Broken("nothing comes in".to_owned()))
    }

    async fn acknowledge(&self, _: &ProcessId, seq: Seq) -> Result<(), Closed> {
        self.0.lock().expect("no test panics in it").push(seq);
        Ok(())
    }
}

fn process(id: &str) -> ProcessId {
    ProcessId::parse(id).expect("a valid id")
}

fn envelope(seq: u64, body: Body) -> Envelope {
    Envelope {
        seq: Seq(seq),
        time: Hlc(seq),
        message: Message {
            clock: Lamport(seq),
            body,
        },
    }
}

fn money(units: i64) -> Body {
    let account = |id| AccountId::parse(id).expect("a valid id");
    Body::from(Transfer {
        transfer_id: format!("t{units}").into(),
        from_account: account("a"),
        to_account: account("b"),
        amount: Amount::new(units).expect("positive"),
    })
}

async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let mut ticks = interval(Duration::from_millis(5));
    let seen = async {
        while !look() {
            ticks.tick().await;
        }
    };
    assert!(
        timeout(PATIENCE, seen).await.is_ok(),
        "there was no sign of: {what}"
    );
}

/// Starts a foreign server. Returns its address.
fn serve(far: &Far) -> SocketAddr {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address"));
    let incoming = incoming.expect("a free port");
    let address = incoming.local_addr().expect("it is bound");
    let server = Server::builder().add_service(SnapshotServiceServer::new(far.clone()));
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

/// The sending end of a channel with two transfers and a marker in its journal.
fn sender(address: SocketAddr, turn: &Turn, links: &Links) -> Outbound<Journal, Turn> {
    let marker = Body::from(Marker {
        snapshot: SnapshotId::parse("s").expect("a valid id"),
        initiator: process("p"),
    });
    let envelopes = vec![
        envelope(1, money(5)),
        envelope(2, money(6)),
        envelope(3, marker),
    ];
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    Outbound {
        local: Local {
            cluster: "c".to_owned(),
            process: process("p"),
            identity: Identity {
                store: [7; 16],
                boot: 1,
                run: 1,
            },
        },
        to: process("x"),
        connection: endpoint.expect("a URI").connect_lazy(),
        backlog: Journal(Arc::new(envelopes), watch::Sender::new(Seq(3))),
        inbox: turn.clone(),
        links: links.clone(),
        too_early: Arc::new(|_| None),
    }
}

#[tokio::test]
async fn each_is_called_in_order_and_unchanged_until_it_is_answered() {
    let far = Far::default();
    let script = [
        Say::Yes,
        Say::No("closed on Sundays"),
        Say::Fail,
        Say::Yes,
        Say::Fail,
    ];
    far.script
        .lock()
        .expect("no test panics in it")
        .extend(script);
    let (links, turn) = (Links::default(), Turn::default());
    let outbound = sender(serve(&far), &turn, &links);
    let calling = tokio::spawn(outbound.run(Carrier::Calls));
    let channel = ChannelId {
        from: process("p"),
        to: process("x"),
    };
    until("the channel stopped by the refusal", || {
        let LinkState::Stopped(why) = links.get(&channel) else {
            return false;
        };
        why.contains("closed on Sundays") && why.contains("p>x#2")
    })
    .await;
    let acknowledged = || turn.0.lock().expect("no test panics in it").clone();
    until("all acknowledged", || acknowledged().len() == 3).await;
    assert_eq!(acknowledged(), [1, 2, 3].map(Seq));
    until("the channel open again", || {
        links.get(&channel) == LinkState::Open
    })
    .await;
    let told = far.told.lock().expect("no test panics in it").clone();
    assert_eq!(told.len(), 6, "{told:?}");
    assert!(
        told[0].contains("p>x#1") && told[0].contains("\"transfer\""),
        "{told:?}"
    );
    assert!(told[1].contains("p>x#2"));
    assert!(
        told[1..4].iter().all(|call| *call == told[1]),
        "unchanged: {told:?}"
    );
    assert!(
        told[4].contains("snapshot_id: \"s\"") && told[4] == told[5],
        "{told:?}"
    );
    calling.abort();
}
