//! The Google Sheets API as the sink uses it: client, credentials, quota, and the request of a
//! batch.

mod account;
pub(crate) mod client;
pub(crate) mod quota;
pub(crate) mod request;
