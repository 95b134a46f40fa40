//! Dead letters: records that a step or sink could not process, and what was done with them.

pub mod headers;
pub mod index;
pub mod letter;
pub mod replay;
