//! P8 at every manager: what a removed node has open is cut, also where no session of it is.

use std::time::{Duration, Instant};

use cluster_tests::rpc::{self, channel, runtime};
use cluster_tests::{Cluster, Manager};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

/// A generous while for what is promised within a second of the removal.
const CUT: Duration = Duration::from_secs(5);

/// Whether the connection lives: what nobody serves is refused over it, whoever asks.
async fn lives(channel: &Channel) -> bool {
    let mut grpc = Grpc::new(channel.clone());
    if grpc.ready().await.is_err() {
        return false;
    }
    let path = PathAndQuery::from_static("/nobody/serves");
    let refused = grpc.unary(Request::new(()), path, ProstCodec::<(), ()>::default()).await;
    refused.is_err_and(|status| status.code() == Code::Unimplemented)
}

#[test]
fn p8_what_a_removed_node_has_open_is_cut_by_every_manager() {
    let mut cluster = Cluster::start_with(3, 2);
    let identities: Vec<_> = (0..2)
        .map(|number| {
            let file = cluster.folder().join(format!("copy-{number}"));
            std::fs::copy(cluster.agents[number].data().join("identity"), &file).expect("a copy");
            rpc::tls(&rpc::identity(&file))
        })
        .collect();
    let addresses: Vec<String> = cluster.managers().map(Manager::address).collect();
    let runtime = runtime();
    let open = |tls| -> Vec<Channel> {
        addresses.iter().map(|address| runtime.block_on(channel(address, tls))).collect()
    };
    let (removed, other) = (open(&identities[0]), open(&identities[1]));
    for channel in removed.iter().chain(&other) {
        assert!(runtime.block_on(lives(channel)));
    }
    let _ = cluster.ok(&["node", "rm", "node-1", "--force", "--yes"]);
    let begun = Instant::now();
    for (number, channel) in removed.iter().enumerate() {
        while runtime.block_on(lives(channel)) {
            assert!(begun.elapsed() < CUT, "manager-{} cut nothing", number + 1);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    for channel in &other {
        assert!(runtime.block_on(lives(channel)), "nobody else is cut");
    }
    assert_eq!(cluster.agents[0].ended(), 24);
}
