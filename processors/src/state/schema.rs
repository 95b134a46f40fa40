//! The schema version of a store. It is an entry like others, and so part of the changelog.

/// The schema version of a store's entries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StoreSchema {
    pub(crate) version: u32,
    /// Set while the entries are being migrated to another version.
    pub(crate) moving: Option<SchemaMove>,
}

/// A migration in progress.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SchemaMove {
    pub(crate) to: u32,
    /// The last key that has been migrated.
    pub(crate) last_key: Vec<u8>,
}

// === impl StoreSchema ===

impl StoreSchema {
    pub(crate) fn of_version(version: u32) -> Self {
        Self {
            version,
            moving: None,
        }
    }

    /// Whether a plug-in that declares this version can migrate the entries to it.
    pub(crate) fn leads_to(&self, declared: u32) -> bool {
        match &self.moving {
            None => self.version < declared,
            Some(moving) => moving.to == declared,
        }
    }

    /// The version; during a migration also the new version and the last migrated key.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.version.to_be_bytes().to_vec();
        if let Some(moving) = &self.moving {
            bytes.extend(moving.to.to_be_bytes());
            bytes.extend(&moving.last_key);
        }
        bytes
    }

    /// None if the bytes are not those of a schema.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first_chunk()?;
        let moving = match rest.split_first_chunk() {
            Some((to, last_key)) => Some(SchemaMove {
                to: u32::from_be_bytes(*to),
                last_key: last_key.to_vec(),
            }),
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self {
            version: u32::from_be_bytes(*version),
            moving,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// State files and changelogs of earlier releases contain exactly these bytes.
    #[test]
    fn a_stored_schema_keeps_its_form() {
        let current = StoreSchema::of_version(1);
        assert_eq!(current.to_bytes(), b"\0\0\0\x01");
        let moving = StoreSchema {
            version: 1,
            moving: Some(SchemaMove {
                to: 2,
                last_key: b"key".to_vec(),
            }),
        };
        assert_eq!(moving.to_bytes(), b"\0\0\0\x01\0\0\0\x02key");
        for schema in [current, moving] {
            assert_eq!(StoreSchema::from_bytes(&schema.to_bytes()), Some(schema));
        }
        assert_eq!(StoreSchema::from_bytes(b"\0\0\0\x01\0"), None);
    }
}
