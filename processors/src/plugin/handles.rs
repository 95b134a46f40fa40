//! Handles of ports and stores that a plug-in holds.
//!
//! A handle is an index into the names that the plug-in declares, so no table is needed: a plug-in
//! can only present handles that it has received.

use wasmtime::component::Resource;

/// A handle of an output port.
#[derive(Debug)]
#[allow(unreachable_pub)] // the generated bindings re-export it with `pub use`
pub enum Port {}

/// A handle of a store.
#[derive(Debug)]
#[allow(unreachable_pub)]
pub enum Store {}

/// The handle for a name among those that the plug-in declares.
pub(super) fn open<'a, T: 'static>(
    mut declared: impl Iterator<Item = &'a str>,
    name: &str,
) -> Option<Resource<T>> {
    let index = declared.position(|declared| declared == name)?;
    let index = u32::try_from(index).expect("a descriptor has at most 64 names of each kind");
    Some(Resource::new_own(index))
}
