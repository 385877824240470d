//! This machine as every client needs it: the real clock, the real dice, secret input, and
//! sockets to listen on.

mod clock;
mod dice;
mod helper;
mod input;
mod prompt;
mod socket;

pub use clock::SystemClock;
pub use dice::{OsDice, os_dice};
pub use helper::{HelperError, print_of};
pub use input::{read_all, read_file, stdin_once, without_line_end};
pub use prompt::{hidden, hidden_twice};
pub use socket::bind;
