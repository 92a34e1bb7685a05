//! Nodes that know only addresses find each other, and what contradicts is said at once.

use super::*;

struct Party {
    listener: TcpListener,
    asker: Asker,
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
    let asker = Asker {
        cluster: cluster.to_owned(),
        me,
        known: vec![id],
    };
    Party { listener, asker }
}

impl Party {
    async fn meet(&self, others: &[&Party]) -> Result<Vec<Member>, DiscoverError> {
        let strangers: Vec<String> = others.iter().map(|o| o.asker.me.grpc.clone()).collect();
        let meeting = discover(&self.listener, &self.asker, &strangers);
        let learnt = timeout(Duration::from_secs(20), meeting).await;
        learnt.expect("an answer within the test's deadline")
    }
}

#[tokio::test]
async fn three_nodes_learn_each_other() {
    let (a, b, c) = (party("a", "x"), party("b", "x"), party("c", "x"));
    // These two answer on, as nodes do that have learnt everyone already.
    let _b = Answering::start(&b.listener, b.asker.greeting()).expect("a server");
    let _c = Answering::start(&c.listener, c.asker.greeting()).expect("a server");
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

#[tokio::test]
async fn whoever_asks_also_answers() {
    let (a, b) = (party("a", "x"), party("b", "x"));
    // `b` is asked by `a` only while it waits for a third that never answers.
    let silent = party("c", "x");
    let (asked, others) = ([&b], [&silent]);
    let waiting = b.meet(&others);
    tokio::select! {
        learnt = a.meet(&asked) => assert_eq!(learnt.expect("b answers")[0].id.as_str(), "b"),
        _ = waiting => unreachable!("nobody answers for c"),
    }
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let (a, b) = (party("a", "x"), party("b", "y"));
    let _serving = Answering::start(&b.listener, b.asker.greeting()).expect("a server");
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
    let _serving = Answering::start(&twin.listener, twin.asker.greeting()).expect("a server");
    let error = a.meet(&[&twin]).await.expect_err("the own id");
    assert!(
        error.to_string().contains("which is this process already"),
        "{error}"
    );
}
