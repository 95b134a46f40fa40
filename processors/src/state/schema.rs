//! Which version of its schema a store has, kept among the entries and so in the changelog.

/// The version of a store's entries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Schema {
    pub(crate) version: u32,
    /// While entries are being brought to another version.
    pub(crate) moving: Option<Moving>,
}

/// A migration under way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Moving {
    pub(crate) to: u32,
    /// The last key that has the new form.
    pub(crate) behind: Vec<u8>,
}

// === impl Schema ===

impl Schema {
    pub(crate) fn of_version(version: u32) -> Self {
        Self {
            version,
            moving: None,
        }
    }

    /// Whether a plug-in that declares this version can bring the entries to it.
    pub(crate) fn leads_to(&self, declared: u32) -> bool {
        match &self.moving {
            None => self.version < declared,
            Some(moving) => moving.to == declared,
        }
    }

    /// The version; while it moves, also the new one and the last key.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.version.to_be_bytes().to_vec();
        if let Some(moving) = &self.moving {
            bytes.extend(moving.to.to_be_bytes());
            bytes.extend(&moving.behind);
        }
        bytes
    }

    /// None if these are no bytes of a schema.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first_chunk()?;
        let moving = match rest.split_first_chunk() {
            Some((to, behind)) => Some(Moving {
                to: u32::from_be_bytes(*to),
                behind: behind.to_vec(),
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
