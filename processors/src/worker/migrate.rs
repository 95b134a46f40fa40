//! Brings stores to the schema versions that the plug-in declares, before it gets the next event. First it is seen whether
//! the plug-in can do it: with half of the entries in another form there would be no way back.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    plugin::{ENTRY_LIMIT, Failure, Instance, Plugin, StoreDeclaration},
    state::{Broken, Entry, Moving, Refusal, Schema, Stores},
};

/// How far the stores are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Migration {
    /// They have the declared versions.
    Done,
    /// A slice is done, and there is more. What has changed has to be committed.
    Slice,
}

/// What was migrated on trial, with the results discarded.
#[derive(Debug, Default)]
pub(super) struct Rehearsal {
    /// Stores of which every entry was.
    stores: BTreeSet<String>,
    /// The last entry of the store at hand.
    behind: Option<Vec<u8>>,
}

/// A store on its way.
#[derive(Clone, Copy, Debug)]
struct Way<'a> {
    store: &'a str,
    from: u32,
    /// The last entry that is done.
    behind: Option<&'a [u8]>,
    /// For one entry.
    time: Duration,
    is_rehearsal: bool,
}

/// Bounds of a slice, which is one transaction, and after which the consumer has to be polled.
const SLICE_ENTRIES: usize = 1000;
const SLICE_BYTES: usize = 4 << 20;
const SLICE_TIME: Duration = Duration::from_secs(1);

/// Lets the plug-in migrate a slice, if any store needs it. `time` is for each entry.
pub(super) fn advance(
    (stores, rehearsal): (&mut Stores, &mut Rehearsal),
    plugin: &Plugin,
    instance: &mut Instance,
    time: Duration,
) -> Result<Result<Migration, Failure>, Broken> {
    for store in &plugin.declared.stores {
        let both = (&mut *stores, &mut *rehearsal);
        let advanced = advance_store(both, store, instance, time)?;
        if advanced != Ok(Migration::Done) {
            return Ok(advanced);
        }
    }
    Ok(Ok(Migration::Done))
}

fn advance_store(
    (stores, rehearsal): (&mut Stores, &mut Rehearsal),
    declaration: &StoreDeclaration,
    instance: &mut Instance,
    time: Duration,
) -> Result<Result<Migration, Failure>, Broken> {
    let (store, declared) = (declaration.name.as_str(), declaration.schema_version);
    let goal = Schema::of_version(declared);
    let Some(schema) = stores.schema(store)? else {
        // The first plug-in with this store in this partition.
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
    let is_rehearsal = moving.is_none() && !rehearsal.stores.contains(store);
    let behind = match moving {
        Some(moving) => Some(moving.behind),
        None if is_rehearsal => rehearsal.behind.take(),
        None => None,
    };
    let way = Way {
        store,
        from,
        behind: behind.as_deref(),
        time,
        is_rehearsal,
    };
    match (is_rehearsal, slice(stores, instance, way)?) {
        (_, Err(failure)) => return Ok(Err(failure)),
        (true, Ok(None)) => drop(rehearsal.stores.insert(store.to_owned())),
        (true, Ok(behind)) => rehearsal.behind = behind,
        (false, Ok(Some(behind))) => {
            let to = declared;
            let moving = Some(Moving { to, behind });
            let version = from;
            stores.set_schema(store, &Schema { version, moving });
        }
        (false, Ok(None)) => {
            stores.set_schema(store, &goal);
            return Ok(Ok(Migration::Done));
        }
    }
    Ok(Ok(Migration::Slice))
}

/// Migrates entries, and returns the key of the last one; none if there was none.
fn slice(
    stores: &mut Stores,
    instance: &mut Instance,
    way: Way<'_>,
) -> Result<Result<Option<Vec<u8>>, Failure>, Broken> {
    let (begun, mut count, mut bytes) = (Instant::now(), 0, 0);
    // Before all time, so that entries that have ended come too: a late event may still see them.
    stores.set_time(0);
    let entries = stores.scan(way.store, b"", way.behind, |size| {
        count += 1;
        bytes += size;
        count <= SLICE_ENTRIES && (bytes <= SLICE_BYTES || count == 1)
    })?;
    let (mut last, mut written) = (None, 0);
    for (key, Entry { value, expires_ms }) in entries {
        if written >= SLICE_BYTES || begun.elapsed() >= SLICE_TIME {
            break;
        }
        let migrated = instance.migrate((way.store, way.from), (&key, &value), way.time);
        let migrated = match migrated {
            Ok(migrated) => migrated.map(|value| Entry { value, expires_ms }),
            Err(failure) => return Ok(Err(failure)),
        };
        let size = migrated
            .as_ref()
            .map_or(0, |entry| key.len() + entry.value.len());
        if size > ENTRY_LIMIT {
            return Ok(Err(failed(way.store, "an entry becomes too large")));
        }
        if !way.is_rehearsal {
            written += size;
            match replace(stores, way.store, &key, migrated) {
                Ok(()) => {}
                Err(Refusal::Broken) => return Err(Broken),
                Err(Refusal::Full) => return Ok(Err(failed(way.store, "it is full"))),
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
) -> Result<(), Refusal> {
    match entry {
        Some(entry) => stores.put(store, key, entry),
        None => stores.delete(store, key).map_err(|Broken| Refusal::Broken),
    }
}

fn failed(store: &str, problem: &str) -> Failure {
    Failure::new("migration", format!("the store {store}: {problem}"))
}

fn unknown(store: &str, schema: &Schema, declared: u32) -> Failure {
    let version = schema.version;
    let found = match &schema.moving {
        Some(moving) => format!("is on its way from version {version} to {}", moving.to),
        None => format!("has version {version}"),
    };
    let detail = format!(
        "the schema of the store {store} {found}, and the plug-in declares {declared}; bring a plug-in back that knows it"
    );
    Failure::new("schema", detail)
}
