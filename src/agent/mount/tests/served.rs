//! What only the agent's own file system does.

use super::*;
