//! Reads a body of one of the three accepted media types into one JSON value.

pub(crate) mod encoding;
pub(crate) mod urlencoded;

mod json;
mod multipart;
mod refusal;
