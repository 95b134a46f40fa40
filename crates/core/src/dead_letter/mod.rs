//! Dead letters: records that a step or sink could not process, and their resolution.
//!
//! A dead-letter topic is a log of two kinds of records: dead letters, which never change, and
//! resolution records, each of which closes one dead letter.

pub mod headers;
pub mod index;
pub mod letter;
pub mod replay;
