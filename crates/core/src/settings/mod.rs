//! The settings of the installation: `formline.toml`, and the variables that override it. Apps do
//! not contain them.

mod ingest;
mod installation;
mod redis;
mod smtp;
#[cfg(test)]
mod tests;

pub use self::{
    ingest::Ingest,
    installation::{DEFAULT_FILE, Settings},
    redis::{Redis, Sentinels},
    smtp::Smtp,
};
pub use crate::secret::Secret;
