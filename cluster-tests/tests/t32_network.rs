//! What a network does: hosts apart, one way only, and whole again.

use cluster_tests::{Net, run};

#[test]
fn the_net_itself_cuts_and_heals() {
    let mut net = Net::new();
    let (one, two) = (net.host(), net.host());
    let reaches = |from: &cluster_tests::Host, to: &cluster_tests::Host| {
        // Nobody listens there: who is reached refuses at once.
        let knock = format!("exec 3<>/dev/tcp/{}/9", to.address());
        let mut bash = from.command("timeout");
        run(bash.args(["0.5", "bash", "-c", &knock]), b"").err.contains("refused")
    };
    assert!(reaches(&one, &two));
    net.cut(&two);
    assert!(!reaches(&one, &two));
    net.heal(&two);
    assert!(reaches(&one, &two));
    net.cut_way(&one, &two);
    assert!(!reaches(&one, &two));
    net.heal_way(&one, &two);
    assert!(reaches(&one, &two));
}
