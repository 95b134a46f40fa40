//! Analyses a form's submissions: flags those that contain slang, and counts them per minute.
//!
//! It only reports which words occur in which fields; consumers decide how to react to a flag.

mod analytics;
mod counts;
mod search;
mod slang;
#[cfg(test)]
mod tests;

formline_plugin_sdk::register!(analytics::Analytics);
