//! Brings stores to the schema versions that the plug-in declares, before it gets the next event.

use std::time::Duration;

use crate::{
    plugin::{Failure, Instance, Plugin},
    state::{Broken, Entry, Moving, Refusal, Schema, Stores},
};

/// How far the stores are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Migration {
    /// They have the declared versions.
    Done,
    /// A slice has been migrated. It has to be committed, and there is more.
    Slice,
}

/// Entries and bytes of a slice, which is one transaction.
const SLICE_ENTRIES: usize = 1000;
const SLICE_BYTES: usize = 4 << 20;

/// Lets the plug-in migrate a slice, if any store needs it. `time` is for each entry.
pub(super) fn advance(
    stores: &mut Stores,
    plugin: &Plugin,
    instance: &mut Instance,
    time: Duration,
) -> Result<Result<Migration, Failure>, Broken> {
    for store in &plugin.declared.stores {
        let (name, declared) = (&store.name, store.schema_version);
        let Some(schema) = stores.schema(name)? else {
            // The first plug-in with this store in this partition.
            stores.set_schema(name, &Schema::of_version(declared));
            continue;
        };
        if schema == Schema::of_version(declared) {
            continue;
        }
        let (version, behind) = match schema.moving {
            None if schema.version < declared => (schema.version, None),
            Some(moving) if moving.to == declared => (schema.version, Some(moving.behind)),
            moving => {
                let schema = match moving {
                    Some(moving) => format!(
                        "is on its way from version {} to {}",
                        schema.version, moving.to
                    ),
                    None => format!("has version {}", schema.version),
                };
                let detail = format!(
                    "the schema of the store {name} {schema}, and the plug-in declares {declared}; bring a plug-in back \
                     that knows it"
                );
                return Ok(Err(Failure::new("schema", detail)));
            }
        };
        let migrated = slice(stores, instance, (name, version), behind.as_deref(), time)?;
        match migrated {
            Ok(None) => stores.set_schema(name, &Schema::of_version(declared)),
            Ok(Some(behind)) => {
                let moving = Some(Moving {
                    to: declared,
                    behind,
                });
                stores.set_schema(name, &Schema { version, moving });
                return Ok(Ok(Migration::Slice));
            }
            Err(failure) => return Ok(Err(failure)),
        }
    }
    Ok(Ok(Migration::Done))
}

/// Migrates entries behind a key, and returns the last one; none if there was none.
fn slice(
    stores: &mut Stores,
    instance: &mut Instance,
    (store, version): (&str, u32),
    behind: Option<&[u8]>,
    time: Duration,
) -> Result<Result<Option<Vec<u8>>, Failure>, Broken> {
    let (mut count, mut bytes) = (0, 0);
    // Before all time, so that entries that have ended come too: a late event may still see them.
    stores.set_time(0);
    let entries = stores.scan(store, b"", behind, |size| {
        count += 1;
        bytes += size;
        count <= SLICE_ENTRIES && (bytes <= SLICE_BYTES || count == 1)
    })?;
    let last = entries.last().map(|(key, _)| key.clone());
    for (key, Entry { value, expires_ms }) in entries {
        let value = match instance.migrate((store, version), (&key, &value), time) {
            Ok(Some(value)) => value,
            Ok(None) => {
                stores.delete(store, &key)?;
                continue;
            }
            Err(failure) => return Ok(Err(failure)),
        };
        match stores.put(store, &key, Entry { value, expires_ms }) {
            Ok(()) => {}
            Err(Refusal::Broken) => return Err(Broken),
            Err(Refusal::Full) => {
                let detail = format!("the store {store} is full");
                return Ok(Err(Failure::new("migration", detail)));
            }
        }
    }
    Ok(Ok(last))
}
