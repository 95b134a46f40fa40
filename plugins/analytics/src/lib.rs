//! Watches a form's submissions: flags those that contain slang, and keeps counts per minute.
//!
//! It leaves out what to do about a flag: it only says which words stand in which field.

mod analytics;
mod counts;
mod search;
mod slang;
#[cfg(test)]
mod tests;

formline_plugin_sdk::register!(analytics::Analytics);
