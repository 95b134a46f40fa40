//! Generates the reference documentation that follows from the program, and tests that the
//! committed files are current. `FORMLINE_WRITE_REFERENCE=1 cargo test -p formline-cli reference`
//! writes them.

mod cli;
mod file;
mod markdown;
mod metrics;
