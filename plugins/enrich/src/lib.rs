//! Adds fields to each submission, and changes nothing that was submitted.
//!
//! The submitted text is kept byte for byte, and new fields are appended. So numbers keep their
//! digits and fields their order, and one pass over the text suffices.

mod enrich;
mod source;
mod template;

formline_plugin_sdk::register!(enrich::Enrich);
