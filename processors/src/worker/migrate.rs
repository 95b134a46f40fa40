//! Migrates stores to the schema versions that the plug-in declares, before it receives the next
//! event. A dry run comes first: once a part of the entries has another form, the step cannot
//! return to the previous plug-in.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use formline_plugin_contract::LIMITS;

use crate::{
    plugin::{Failure, Instance, Plugin, StoreDeclaration},
    state::{Entry, PutError, SchemaMove, StoreFailed, StoreSchema, Stores},
};

/// The progress of the migration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Migration {
    /// The stores have the declared versions.
    Done,
    /// A slice is done, and more remain. Its changes must be committed.
    Slice,
}

/// Progress of the dry run, whose results are discarded.
#[derive(Debug, Default)]
pub(super) struct DryRun {
    /// Stores whose dry run is complete.
    stores: BTreeSet<String>,
    /// The last key of the current store that was tried.
    last_key: Option<Vec<u8>>,
}

/// A slice of one store.
#[derive(Clone, Copy, Debug)]
struct StorePass<'a> {
    store: &'a str,
    from: u32,
    /// The last migrated key.
    after: Option<&'a [u8]>,
    /// The time limit of one entry.
    time: Duration,
    is_dry_run: bool,
}

/// Bounds of a slice, which is one transaction; after it the consumer must be polled.
const SLICE_ENTRIES: usize = 1000;
const SLICE_BYTES: usize = 4 << 20;
const SLICE_TIME: Duration = Duration::from_secs(1);

/// Lets the plug-in migrate a slice, if a store needs it. `time` is the limit of each entry.
pub(super) fn advance(
    (stores, dry_run): (&mut Stores, &mut DryRun),
    plugin: &Plugin,
    instance: &mut Instance,
    time: Duration,
) -> Result<Result<Migration, Failure>, StoreFailed> {
    for store in &plugin.declared.stores {
        let both = (&mut *stores, &mut *dry_run);
        let advanced = advance_store(both, store, instance, time)?;
        if advanced != Ok(Migration::Done) {
            return Ok(advanced);
        }
    }
    Ok(Ok(Migration::Done))
}

fn advance_store(
    (stores, dry_run): (&mut Stores, &mut DryRun),
    declaration: &StoreDeclaration,
    instance: &mut Instance,
    time: Duration,
) -> Result<Result<Migration, Failure>, StoreFailed> {
    let (store, declared) = (declaration.name.as_str(), declaration.schema_version);
    let goal = StoreSchema::of_version(declared);
    let Some(schema) = stores.schema(store)? else {
        // This is the first plug-in with this store in the partition.
        stores.set_schema(store, &goal);
        return Ok(Ok(Migration::Done));
    };
    if schema == goal {
        return Ok(Ok(Migration::Done));
    }
    if !schema.leads_to(declared) {
        return Ok(Err(unknown(store, &schema, declared)));
    }
    let (from, moving) = (schema.version, schema.moving);
    let is_dry_run = moving.is_none() && !dry_run.stores.contains(store);
    let after = match moving {
        Some(moving) => Some(moving.last_key),
        None if is_dry_run => dry_run.last_key.take(),
        None => None,
    };
    let pass = StorePass {
        store,
        from,
        after: after.as_deref(),
        time,
        is_dry_run,
    };
    match (is_dry_run, slice(stores, instance, pass)?) {
        (_, Err(failure)) => return Ok(Err(failure)),
        (true, Ok(None)) => drop(dry_run.stores.insert(store.to_owned())),
        (true, Ok(last_key)) => dry_run.last_key = last_key,
        (false, Ok(Some(last_key))) => {
            let to = declared;
            let moving = Some(SchemaMove { to, last_key });
            let version = from;
            stores.set_schema(store, &StoreSchema { version, moving });
        }
        (false, Ok(None)) => {
            stores.set_schema(store, &goal);
            return Ok(Ok(Migration::Done));
        }
    }
    Ok(Ok(Migration::Slice))
}

/// Migrates entries, and returns the last migrated key; none if no entry was left.
fn slice(
    stores: &mut Stores,
    instance: &mut Instance,
    pass: StorePass<'_>,
) -> Result<Result<Option<Vec<u8>>, Failure>, StoreFailed> {
    let (begun, mut count, mut bytes) = (Instant::now(), 0, 0);
    // Time 0 includes expired entries, too: a late event may still see them.
    stores.set_time(0);
    let entries = stores.scan(pass.store, b"", pass.after, |size| {
        count += 1;
        bytes += size;
        count <= SLICE_ENTRIES && (bytes <= SLICE_BYTES || count == 1)
    })?;
    let (mut last, mut written) = (None, 0);
    for (key, Entry { value, expires_ms }) in entries {
        if written >= SLICE_BYTES || begun.elapsed() >= SLICE_TIME {
            break;
        }
        let migrated = instance.migrate((pass.store, pass.from), (&key, &value), pass.time);
        let migrated = match migrated {
            Ok(migrated) => migrated.map(|value| Entry { value, expires_ms }),
            Err(failure) => return Ok(Err(failure)),
        };
        let size = migrated
            .as_ref()
            .map_or(0, |entry| key.len() + entry.value.len());
        if LIMITS.check_entry(size).is_err() {
            return Ok(Err(failed(pass.store, "a migrated entry is too large")));
        }
        if !pass.is_dry_run {
            written += size;
            match replace(stores, pass.store, &key, migrated) {
                Ok(()) => {}
                Err(PutError::Failed) => return Err(StoreFailed),
                Err(PutError::Full) => {
                    return Ok(Err(failed(
                        pass.store,
                        "the stores have reached their limit",
                    )));
                }
            }
        }
        last = Some(key);
    }
    Ok(Ok(last))
}

fn replace(
    stores: &mut Stores,
    store: &str,
    key: &[u8],
    entry: Option<Entry>,
) -> Result<(), PutError> {
    match entry {
        Some(entry) => stores.put(store, key, entry),
        None => stores
            .delete(store, key)
            .map_err(|StoreFailed| PutError::Failed),
    }
}

fn failed(store: &str, problem: &str) -> Failure {
    Failure::new("migration", format!("store {store}: {problem}"))
}

fn unknown(store: &str, schema: &StoreSchema, declared: u32) -> Failure {
    let version = schema.version;
    let found = match &schema.moving {
        Some(moving) => format!("is being migrated from version {version} to {}", moving.to),
        None => format!("has version {version}"),
    };
    let detail = format!(
        "the schema of the store {store} {found}, and the plug-in declares {declared}; deploy a plug-in that supports it"
    );
    Failure::new("schema", detail)
}
