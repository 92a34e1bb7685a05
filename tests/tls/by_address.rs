//! Nodes that know only the addresses of their peers learn the ids from certificates that prove them.

use crate::cluster::Cluster;

#[tokio::test]
async fn ids_are_discovered_from_peers_that_prove_them() {
    let mut cluster = Cluster::planned();
    for id in ["n1", "n2", "n3"] {
        cluster.start_by_address(id);
    }
    cluster.connected().await;
}

#[tokio::test]
async fn a_stranger_at_the_address_of_a_peer_is_named_in_the_log() {
    let mut cluster = Cluster::planned();
    let others =
        crate::certificates::Certificates::of_cluster(&cluster.dir().join("others"), "bank");
    others.node("n3");
    for name in [others.crt("n3"), others.key("n3")] {
        let file = name.file_name().expect("a file");
        std::fs::copy(&name, cluster.certificates.dir.join(file)).expect("there is room");
    }
    // Its certificate is of a CA that n1 does not know, which it is warned of itself.
    cluster.start("n1");
    cluster.start("n3");
    cluster
        .says("n3", "would be refused by nodes with the same `ca`", 0)
        .await;
    cluster
        .says("n1", "no trusted CA issued the certificate", 0)
        .await;
    cluster.says("n1", "cannot connect", 0).await;
}
