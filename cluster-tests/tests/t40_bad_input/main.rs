//! Bad input to every command, every listener and every stored file: one line that
//! says what is wrong, a hint, the right status; nothing lost, nobody down.

mod commands;
mod files;
mod listeners;
mod stored;
mod table;
mod words;
