//! Every derivation label, and nothing else: two purposes never share a key.

pub(super) const COMMITMENT: &str = "skep 1 commitment";
pub(super) const UNLOCK_KEY_CHECKSUM: &str = "skep 1 unlock key checksum";
pub(super) const RECIPIENT_ID: &str = "skep 1 recipient id";
pub(super) const SEALED_TO_RECIPIENTS: &str = "skep 1 sealed to recipients";
pub(super) const KEY_FILE_BOX: &str = "skep 1 key file box";
pub(super) const KEY_FILE_BODY: &str = "skep 1 key file body";
pub(super) const DEK_ID: &str = "skep 1 dek id";
pub(super) const FILE: &str = "skep 1 file";
pub(super) const RECORD: &str = "skep 1 record";
pub(super) const CLUSTER_KEY_BOX: &str = "skep 1 cluster key box";
pub(super) const PREVIOUS_CLUSTER_KEY: &str = "skep 1 previous cluster key";
pub(super) const INTAKE: &str = "skep 1 intake";
pub(super) const WRAP: &str = "skep 1 wrap";
pub(super) const WRAP_ID: &str = "skep 1 wrap id";
pub(super) const WRAPPED_DATA_KEY: &str = "skep 1 wrapped data key";
pub(super) const WRAPPED_SECRET: &str = "skep 1 wrapped secret";
pub(super) const VALUE_CONTEXT: &str = "skep 1 value context";
pub(super) const VALUE: &str = "skep 1 value";
pub(super) const SESSION: &str = "skep 1 session";
pub(super) const SESSION_DATA_KEY: &str = "skep 1 session data key";
pub(super) const SHELF_PIECE: &str = "skep 1 shelf piece";
pub(super) const HELLO: &str = "skep 1 hello";
pub(super) const HELLO_MASK: &str = "skep 1 hello mask";
pub(super) const HELLO_MEMBER: &str = "skep 1 hello member";
pub(super) const HELLO_TAG: &str = "skep 1 hello tag";
pub(super) const HELLO_BOX: &str = "skep 1 hello box";
