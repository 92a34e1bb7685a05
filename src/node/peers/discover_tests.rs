//! Discovery between nodes that know only addresses; contradictions are reported at once.

use std::net::TcpListener;

use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::*;
use crate::node::peers::greeter::Greeter;

struct Party {
    listener: TcpListener,
    asker: AskingNode,
    remembered: Addresses,
}

fn party(id: &str, cluster: &str) -> Party {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound listener");
    let id = ProcessId::parse(id).expect("an id");
    let me = Member {
        id: id.clone(),
        grpc: address.to_string(),
        rest: Some("127.0.0.1:1".to_owned()),
        transport: Transport::Native,
    };
    let asker = AskingNode {
        cluster: cluster.to_owned(),
        me,
        known: vec![id],
        tls: None,
    };
    Party {
        listener,
        asker,
        remembered: Addresses::default(),
    }
}

impl Party {
    async fn meet(&self, others: &[&Party]) -> Result<Vec<Member>, DiscoverError> {
        let strangers = others.iter().map(|other| other.address());
        let asker = self.asker.clone();
        let discovery = Discovery::new(asker, strangers.collect(), self.remembered.clone());
        let learnt = timeout(Duration::from_secs(20), discovery.run()).await;
        learnt.expect("an answer within the test's deadline")
    }

    fn address(&self) -> String {
        self.asker.me.grpc.clone()
    }

    /// Answers greetings for the rest of the test.
    fn answer(&self) {
        let listener = self.listener.try_clone().expect("it is bound");
        listener.set_nonblocking(true).expect("a socket");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
        let server = Server::builder().add_service(Greeter::service(
            self.asker.greeting(),
            PeersOnly::new("c", None),
        ));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    }
}

#[tokio::test]
async fn three_nodes_learn_each_other() {
    let (a, b, c) = (party("a", "x"), party("b", "x"), party("c", "x"));
    b.answer();
    c.answer();
    let mut ids: Vec<String> = a
        .meet(&[&b, &c])
        .await
        .expect("both answer")
        .iter()
        .map(|member| member.id.to_string())
        .collect();
    ids.sort();
    assert_eq!(ids, ["b", "c"]);
}

// Without this, a node that lost power together with its peers does not start before they do.
#[tokio::test]
async fn a_peer_that_was_met_before_need_not_answer() {
    let (mut a, b) = (party("a", "x"), party("b", "x"));
    b.answer();
    let learnt = a.meet(&[&b]).await.expect("b answers");
    a.remembered = addresses(&learnt);
    let Party {
        listener, asker, ..
    } = b;
    drop(listener);
    let silent = party("c", "x");
    a.remembered.insert(
        silent.address(),
        a.remembered
            .get(&asker.me.grpc)
            .expect("it was met")
            .clone(),
    );
    let again = a.meet(&[&silent]).await.expect("it is known");
    assert_eq!(again[0].id.as_str(), "b");
    assert_eq!(again[0].rest.as_deref(), Some("127.0.0.1:1"));
}

#[tokio::test]
async fn a_peer_that_is_another_one_than_before_is_refused() {
    let (mut a, b, c) = (party("a", "x"), party("b", "x"), party("c", "x"));
    b.answer();
    c.answer();
    let learnt = a.meet(&[&b]).await.expect("b answers");
    let met = addresses(&learnt)
        .get(&b.address())
        .expect("it was met")
        .clone();
    a.remembered.insert(c.address(), met);
    let sentence = a.meet(&[&c]).await.expect_err("another id").to_string();
    assert!(
        sentence.contains("reports process c, and process b was at this address before"),
        "{sentence}"
    );
}

#[tokio::test]
async fn what_is_waited_for_is_named() {
    let (a, silent) = (party("a", "x"), party("c", "x"));
    let Party {
        listener, asker, ..
    } = silent;
    drop(listener);
    let discovery = Discovery::new(a.asker, vec![asker.me.grpc.clone()], a.remembered);
    let unanswered = discovery.unanswered();
    tokio::select! {
        _ = discovery.run() => unreachable!("nobody answers"),
        () = async {
            while unanswered.sentence().contains("not queried yet") {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    let sentence = unanswered.sentence();
    assert!(sentence.contains(&asker.me.grpc), "{sentence}");
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let (a, b) = (party("a", "x"), party("b", "y"));
    b.answer();
    let error = a.meet(&[&b]).await.expect_err("another cluster");
    let sentence = error.to_string();
    assert!(
        sentence.contains("belongs to cluster y, this node to x"),
        "{sentence}"
    );
}

#[tokio::test]
async fn an_id_that_is_taken_is_refused() {
    let (a, twin) = (party("a", "x"), party("a", "x"));
    twin.answer();
    let error = a.meet(&[&twin]).await.expect_err("the own id");
    assert!(
        error.to_string().contains("which is already this process"),
        "{error}"
    );
}
