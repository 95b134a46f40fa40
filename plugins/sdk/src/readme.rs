//! Compiles the examples of the guide.
#![doc = include_str!("../../README.md")]
