//! Whether the columns of a tab are where they were. Rows are written by position, and no request of a batch can make
//! Google look at a heading first: after a person has inserted, moved or deleted a column, values would stand below the
//! headings of others. A heading that was only renamed harms nobody.

use sha2::{Digest as _, Sha256};

use super::{mark::Mark, request::FIXED};

/// The digest of a heading that cannot be told from others: it is empty, or was written before digests were kept.
pub(crate) const UNKNOWN: u16 = 0;

/// What is kept of a heading in the mark, which has no room for all of them.
pub(crate) fn digest(heading: &str) -> u16 {
    if heading.is_empty() {
        return UNKNOWN;
    }
    let digest = Sha256::digest(heading);
    u16::from_be_bytes([digest[0], digest[1]]).max(UNKNOWN + 1)
}

/// A heading of ours that stands where another one of ours, or none, was written.
pub(crate) fn displaced<'a>(row: &'a [String], mark: &Mark) -> Option<&'a str> {
    let fixed = FIXED.iter().map(|heading| digest(heading));
    let written: Vec<u16> = fixed.chain(mark.headings.iter().copied()).collect();
    let found: Vec<u16> = row.iter().map(|heading| digest(heading)).collect();
    let is_away = |(place, heading): &(usize, &u16)| {
        **heading != UNKNOWN && found.get(*place) != Some(*heading)
    };
    let away = written.iter().enumerate().filter(is_away);
    let elsewhere = |heading: u16| {
        // Two columns may have the same heading, each in its place.
        let is_there =
            |place: &usize| found[*place] == heading && written.get(*place) != Some(&heading);
        (0..found.len()).find(is_there)
    };
    let mut places = away.filter_map(|(_, heading)| elsewhere(*heading));
    places.next().map(|place| row[place].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(row: &[&str]) -> Option<String> {
        let mark = Mark {
            headings: ["Roll", "", "Name", "Name"].map(digest).into(),
            ..Mark::default()
        };
        let row: Vec<_> = row.iter().map(|&heading| heading.to_owned()).collect();
        displaced(&row, &mark).map(str::to_owned)
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
    fn columns_that_were_inserted_moved_or_deleted_are_seen() {
        for at in 0..WRITTEN.len() {
            let mut row = WRITTEN.to_vec();
            row.insert(at, "mine");
            assert!(found(&row).is_some(), "inserted at {at}");
            // Nothing is displaced if the last one goes, and Google refuses rows then.
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
    fn renamed_headings_and_columns_on_the_right_are_left_to_people() {
        assert_eq!(found(&WRITTEN), None);
        for at in 0..WRITTEN.len() {
            let mut row = WRITTEN.to_vec();
            row[at] = "renamed";
            row.push("mine");
            assert_eq!(found(&row), None, "renamed at {at}");
        }
        assert_eq!(found(&[]), None, "nobody can tell");
    }

    #[test]
    fn a_mark_of_an_older_version_knows_the_fixed_headings() {
        let row = ["Submission", "mine", "Submitted at", "Note", "Roll"];
        let row = row.map(str::to_owned);
        assert_eq!(displaced(&row, &Mark::default()), Some("Submitted at"));
        assert_eq!(
            displaced(&WRITTEN.map(str::to_owned), &Mark::default()),
            None
        );
    }
}
