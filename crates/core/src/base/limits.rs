//! A limit for everything, with its unit and its reason.

/// Characters of a name: Docker Swarm's limit, so that names carry over.
pub const NAME_CHARS: usize = 64;
/// Bytes of a target: the longest file name Linux takes.
pub const TARGET_BYTES: usize = 255;
/// Bytes of a label's key.
pub const LABEL_KEY_BYTES: usize = 128;
/// Labels of one thing.
pub const LABELS: usize = 64;
/// Bytes of all keys and values of one thing's labels.
pub const LABELS_BYTES: usize = 4 * 1024;
/// Bytes of a secret's value: Docker Swarm's limit, so that secrets carry over.
pub const VALUE_BYTES: usize = 511_999;
/// Versions of a secret that are kept; a pinned one is never pruned.
pub const VERSIONS: usize = 10;
/// Versions of a secret with those that are pinned: every change of a secret costs as many steps.
pub const PINNED_VERSIONS: usize = 200;
/// Secrets in a cluster.
pub const SECRETS: usize = 100_000;
/// Services in a cluster.
pub const SERVICES: usize = 10_000;
/// Nodes in a cluster.
pub const NODES: usize = 10_000;
/// Operators in a cluster.
pub const OPERATORS: usize = 1_000;
/// Milliseconds for which it stays on record that an unlock key made an operator.
pub const RECOVERED_MS: u64 = 7 * 24 * 3_600_000;
/// Scopes of one operator.
pub const SCOPES: usize = 64;
/// Grants of one service: a file each on every node that runs it, so that a set and its names
/// stay well below a message's 2 MiB.
pub const GRANTS: usize = 4_096;
/// Bytes of values that one service may bring to a node.
pub const SERVICE_BYTES: u64 = 64 * 1024 * 1024;
/// Join tokens in a cluster.
pub const TOKENS: usize = 1_000;
/// Managers in a cluster: more voters make every commit slower.
pub const MANAGERS: usize = 7;
/// Older cluster keys that are kept for data keys wrapped under them: with all of them the
/// head of a state stays well below a record's 1 MiB.
pub const CLUSTER_KEYS: usize = 1_000;
/// Bytes of an older cluster key under the next one's wrap key: twice what `seal` makes.
pub const CLUSTER_KEY_BYTES: usize = 256;
/// Bytes of a boxed cluster key, and of a wrapped data key: far more than any that `seal` makes.
pub const BOX_BYTES: usize = 1_024;
/// Bytes of a certificate, and of a sealed or wrapped private key of a CA: far more than any
/// that `ca` and `seal` make.
pub const CA_BYTES: usize = 16 * 1024;
/// Bytes of a recipient's label.
pub const RECIPIENT_LABEL_BYTES: usize = 128;
/// Addresses of one manager.
pub const ADDRESSES: usize = 16;
/// Bytes of one address: a full host name and a port.
pub const ADDRESS_BYTES: usize = 260;
/// Managers remembered as removed.
pub const REMOVED: usize = 64;
/// Milliseconds that a manager is remembered as removed: longer than a member may
/// take a young certificate for that of somebody it does not know yet.
pub const REMOVED_MS: u64 = 600_000;
/// Milliseconds for which a certificate may be renewed after it has ended.
pub const GRACE_MS: u64 = 30 * 24 * 3_600_000;
/// Milliseconds for which a readmitted member may renew a certificate whose grace is over.
pub const READMITTED_MS: u64 = 24 * 3_600_000;
/// Recipients of the key files.
pub const RECIPIENTS: usize = 16;
/// Constraints of one service.
pub const CONSTRAINTS: usize = 32;
/// Nodes that one service names.
pub const PLACEMENT_NODES: usize = 1_000;
/// Pairs of a node and a service that may run there by its placement, but for services that may
/// run everywhere without a condition, which are not listed one by one: about 50 bytes each in
/// memory on every manager.
pub const PLACEMENTS: usize = 2_000_000;
/// Nodes and services that are looked at to place what one act changes: a few dozen
/// milliseconds. One service may always be placed anew, and one node.
pub const LOOKED_AT: usize = 131_072;
/// Changes in one act.
pub const CHANGES: usize = 64;
/// Bytes of one act's changes.
pub const CHANGE_BYTES: usize = 4 * 1024 * 1024;
/// Files whose next values a workload puts at once.
pub const PUT_FILES: usize = 16;
/// Bytes of one put of a workload: two values of the greatest size, and what is around them.
pub const PUT_BYTES: usize = 2 * VALUE_BYTES + 64 * 1024;
/// Bytes of one stored command: the changes of an act, and as much again around them.
pub const COMMAND_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of the replicated state (`state.max_bytes`'s default).
pub const STATE_BYTES: u64 = 1024 * 1024 * 1024;
/// Percent of [`STATE_BYTES`] beyond which only removals are admitted, and what was granted
/// before is still delivered.
pub const STATE_FULL_PERCENT: u64 = 90;
/// Percent of [`STATE_BYTES`] beyond which nothing is delivered to where it was not before.
pub const STATE_EXPOSED_PERCENT: u64 = 95;
/// Records of opens in a cluster: those of two minutes at a thousand a second.
pub const OPENED: usize = 131_072;
/// Records of opens that a node hands in at once.
pub const OPENED_BATCH: usize = 1_024;
/// Bytes of an executable's name in a record of an open.
pub const EXECUTABLE_BYTES: usize = 255;
/// Milliseconds after a pair's or a grant's end in which opens of it are still taken: an agent
/// hands in within a second of being in touch, and tries again as long as it is not.
pub const OPENED_LATE_MS: u64 = 3_600_000;
/// Milliseconds by which a node's clock may differ from the managers' for its records of opens
/// to be taken: as far as a manager's may differ from the others'.
pub const OPENED_CLOCK_MS: u64 = 300_000;
/// Pairs and grants that are remembered for [`OPENED_LATE_MS`] after their end: 18 ends a
/// second; beyond that the oldest is forgotten sooner.
pub const LAPSED: usize = 65_536;
/// Milliseconds that a command may be under way; its answer is remembered as long.
pub const DEADLINE_MS: u64 = 60_000;
/// Answers remembered at once for one caller, so commands that it may ask within a minute:
/// 3,300 a second; beyond 2,500 a second for a minute ([`ANSWERS_FULL_PERCENT`]) it waits.
pub const ANSWERS_OF_ONE: usize = 200_000;
/// Bytes of the answers remembered for one caller: as many of a usual size.
pub const ANSWER_BYTES_OF_ONE: u64 = 64 * 1024 * 1024;
/// Answers remembered at once for all callers.
pub const ANSWERS: usize = 400_000;
/// Bytes of the answers remembered for all callers: they count in the state's.
pub const ANSWER_BYTES: u64 = 128 * 1024 * 1024;
/// Percent of the four above beyond which only removals and membership are admitted. Beyond the
/// whole, only what takes something away: that is bounded by what there is.
pub const ANSWERS_FULL_PERCENT: u8 = 75;
/// Answers that a state may hold whatever else holds: more than can be committed in a minute.
pub const REMEMBERED: usize = 1_000_000;
/// Bytes of an anonymous `join` call.
pub const JOIN_BYTES: usize = 16 * 1024;
/// Seconds of the longest time that a service's files may stay without a session, ten years:
/// what is to stay longer is kept.
pub const OFFLINE_S: u64 = 10 * 365 * 86_400;
/// Bytes of what is public of a secret's version.
pub const PUBLIC_BYTES: usize = 4096;
/// Bytes of the path of a program that nodes run when a set has changed.
pub const HOOK_PATH_BYTES: usize = 255;
/// Characters of a unit's name: with a credential's it fits into the address by which systemd asks.
pub const UNIT_CHARS: usize = 81;
/// Units of one service.
pub const UNITS_OF_ONE: usize = 16;
/// Units of all services: with the names of all services, which a node may be told in one
/// message, they stay well below 2 MiB.
pub const UNITS: usize = 10_000;
/// Generations of a service's files kept below `old/` on a node.
pub const OLD_GENERATIONS: usize = 8;
/// Files of all generations kept below `old/`; the newest one is kept whatever it has.
pub const OLD_FILES: usize = 4_096;
/// Milliseconds that a generation is kept below `old/`.
pub const OLD_GENERATION_MS: u64 = 3_600_000;
/// Milliseconds that a replaced generation stays where readers opened it.
pub const FLIP_GRACE_MS: u64 = 1_000;
/// Milliseconds without a session after which a node is down.
pub const DOWN_MS: u64 = 15_000;
