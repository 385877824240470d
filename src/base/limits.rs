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
/// Secrets in a cluster.
pub const SECRETS: usize = 100_000;
/// Services in a cluster.
pub const SERVICES: usize = 10_000;
/// Nodes in a cluster.
pub const NODES: usize = 10_000;
/// Operators in a cluster.
pub const OPERATORS: usize = 1_000;
/// Grants of one service.
pub const GRANTS: usize = 500;
/// Bytes of values that one service may bring to a node.
pub const SERVICE_BYTES: u64 = 64 * 1024 * 1024;
/// Join tokens in a cluster.
pub const TOKENS: usize = 1_000;
/// Managers in a cluster: more voters make every commit slower.
pub const MANAGERS: usize = 7;
/// Older cluster keys that are kept for data keys wrapped under them.
pub const CLUSTER_KEYS: usize = 1_000;
/// Managers remembered as removed.
pub const REMOVED: usize = 64;
/// Milliseconds that a manager is remembered as removed: longer than a member may
/// take a young certificate for that of somebody it does not know yet.
pub const REMOVED_MS: u64 = 600_000;
/// Recipients of the key files.
pub const RECIPIENTS: usize = 16;
/// Constraints of one service.
pub const CONSTRAINTS: usize = 32;
/// Nodes that one service names.
pub const PLACEMENT_NODES: usize = 1_000;
/// Changes in one act.
pub const CHANGES: usize = 64;
/// Bytes of one act's changes.
pub const CHANGE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of the replicated state (`state.max_bytes`'s default).
pub const STATE_BYTES: u64 = 1024 * 1024 * 1024;
/// Percent of [`STATE_BYTES`] beyond which only removals are admitted.
pub const STATE_FULL_PERCENT: u64 = 90;
/// Records of opens in a cluster: those of two minutes at a thousand a second.
pub const OPENED: usize = 131_072;
/// Records of opens that a node hands in at once.
pub const OPENED_BATCH: usize = 1_024;
/// Bytes of an executable's name in a record of an open.
pub const EXECUTABLE_BYTES: usize = 255;
/// Milliseconds that a command may be under way; its answer is remembered as long.
pub const DEADLINE_MS: u64 = 60_000;
/// Answers remembered at once: what one leader can commit within a deadline.
pub const REMEMBERED: usize = 1_000_000;
/// Bytes of an anonymous `join` call.
pub const JOIN_BYTES: usize = 16 * 1024;
/// Generations of a service's files kept below `old/` on a node.
pub const OLD_GENERATIONS: usize = 8;
/// Milliseconds that a generation is kept below `old/`.
pub const OLD_GENERATION_MS: u64 = 3_600_000;
/// Milliseconds that a replaced generation stays where readers opened it.
pub const FLIP_GRACE_MS: u64 = 1_000;
/// Milliseconds without a session after which a node is down.
pub const DOWN_MS: u64 = 15_000;
