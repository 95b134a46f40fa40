//! **The** table of everything that a user can write in `app.toml` and `formline.toml`.
//!
//! The reader looks keys up by their entries here, so it can read no other. The JSON Schemas in
//! `schemas/` and the references of both files in `docs/reference/` are generated from the same
//! entries: after a change run
//! `FORMLINE_WRITE_REFERENCE=1 cargo test -p formline-core --test reference`.

#[macro_use]
mod section;
pub mod app_toml;
pub mod formline_toml;
