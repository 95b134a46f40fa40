//! The headings of a tab, and whether its columns are still where they were. Rows are written by
//! position, and no request of a batch can make Google check a heading first: after a user has
//! inserted, moved or deleted a column, values would be written below other headings. A renamed
//! heading does no harm.

use sha2::{Digest as _, Sha256};

use super::checkpoint::Checkpoint;

/// Headings of the columns that every tab has.
pub(crate) const FIXED_HEADINGS: [&str; 3] = ["Submission", "Submitted at", "Note"];

/// The note of a row that is below a later submission.
pub(crate) const LATE_NOTE: &str = "late";

/// The digest of a heading that cannot be recognised: it is empty, or was written before digests
/// were stored.
pub(crate) const UNKNOWN_DIGEST: u16 = 0;

/// The most characters of a heading.
const MAX_HEADING: usize = 500;

/// A heading as the sheet shows it.
pub(crate) fn cell_text(title: &str) -> String {
    let short = title.chars().take(MAX_HEADING);
    short.collect::<String>().replace('\0', "\u{fffd}")
}

/// The part of a heading that the checkpoint stores, which has no room for whole headings.
pub(crate) fn digest(heading: &str) -> u16 {
    if heading.is_empty() {
        return UNKNOWN_DIGEST;
    }
    let digest = Sha256::digest(heading);
    u16::from_be_bytes([digest[0], digest[1]]).max(UNKNOWN_DIGEST + 1)
}

/// One of the sink's headings that is now in a column where another heading was written, or none.
pub(crate) fn displaced<'a>(row: &'a [String], checkpoint: &Checkpoint) -> Option<&'a str> {
    let fixed = FIXED_HEADINGS.iter().map(|heading| digest(heading));
    let written: Vec<u16> = fixed
        .chain(checkpoint.heading_digests.iter().copied())
        .collect();
    let found: Vec<u16> = row.iter().map(|heading| digest(heading)).collect();
    let is_missing = |(place, heading): &(usize, &u16)| {
        **heading != UNKNOWN_DIGEST && found.get(*place) != Some(*heading)
    };
    let missing = written.iter().enumerate().filter(is_missing);
    let displaced_at = |heading: u16| {
        // Two columns may have the same heading.
        let is_there =
            |place: &usize| found[*place] == heading && written.get(*place) != Some(&heading);
        (0..found.len()).find(is_there)
    };
    let mut places = missing.filter_map(|(_, heading)| displaced_at(*heading));
    places.next().map(|place| row[place].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(row: &[&str]) -> Option<String> {
        let checkpoint = Checkpoint {
            heading_digests: ["Roll", "", "Name", "Name"].map(digest).into(),
            ..Checkpoint::default()
        };
        let row: Vec<_> = row.iter().map(|&heading| heading.to_owned()).collect();
        displaced(&row, &checkpoint).map(str::to_owned)
    }

    const WRITTEN: [&str; 7] = [
        "Submission",
        "Submitted at",
        "Note",
        "Roll",
        "",
        "Name",
        "Name",
    ];

    #[test]
    fn inserted_moved_and_deleted_columns_are_detected() {
        for at in 0..WRITTEN.len() {
            let mut row = WRITTEN.to_vec();
            row.insert(at, "mine");
            assert!(found(&row).is_some(), "inserted at {at}");
            // Deleting the last column displaces no heading, but Google then rejects rows.
            if at < 5 {
                let mut row = WRITTEN.to_vec();
                row.remove(at);
                assert!(found(&row).is_some(), "deleted at {at}");
            }
        }
        let mut row = WRITTEN;
        row.swap(1, 3);
        assert_eq!(found(&row), Some("Submitted at".to_owned()));
    }

    #[test]
    fn renamed_headings_and_columns_on_the_right_are_accepted() {
        assert_eq!(found(&WRITTEN), None);
        for at in 0..WRITTEN.len() {
            let mut row = WRITTEN.to_vec();
            row[at] = "renamed";
            row.push("mine");
            assert_eq!(found(&row), None, "renamed at {at}");
        }
        assert_eq!(found(&[]), None, "an empty row tells nothing");
    }

    #[test]
    fn a_checkpoint_without_digests_still_protects_the_fixed_headings() {
        let row = ["Submission", "mine", "Submitted at", "Note", "Roll"];
        let row = row.map(str::to_owned);
        assert_eq!(
            displaced(&row, &Checkpoint::default()),
            Some("Submitted at")
        );
        assert_eq!(
            displaced(&WRITTEN.map(str::to_owned), &Checkpoint::default()),
            None
        );
    }
}
