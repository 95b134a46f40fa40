//! Adds fields to each submission and changes nothing of what was submitted.
//!
//! The submitted text is kept byte for byte and new fields go behind it, so numbers keep their digits,
//! fields their order, and the work is one pass over the text.

mod enrich;
mod source;
mod template;

formline_plugin_sdk::register!(enrich::Enrich);
