//! Submissions of apps/student-data. They are built in advance, so that sending one costs a copy
//! and no formatting.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

/// The students of one measurement. Each number is a different student with a unique roll number.
#[derive(Debug)]
pub(crate) struct Students {
    prefix: u32,
    templates: Vec<Template>,
}

/// A submission or a complete request, in which only the roll number changes.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    roll: std::ops::Range<usize>,
}

/// Number of different submissions, apart from the roll number.
const TEMPLATES: u64 = 64;
/// The roll has 8 digits of the seed, a hyphen and 12 digits of the number; the schema allows 32
/// characters.
const ROLL_LENGTH: usize = 21;
/// The text before the roll number.
const OPENING: &str = r#"{"roll":""#;

const GIVEN: [&str; 8] = [
    "Asha", "Björn", "Chidi", "Dalia", "Emeka", "Farah", "Guō", "Hana",
];
const FAMILY: [&str; 5] = ["Rao", "Lindqvist", "Okafor", "O'Neill", "Müller"];
const UNIVERSITY: [&str; 3] = ["NIT Trichy", "ETH Zürich", "University of Lagos"];

// === impl Students ===

impl Students {
    /// JSON documents, like the values in Kafka.
    pub(crate) fn bodies(seed: u32) -> Self {
        Self::with_head(seed, |_| String::new())
    }

    /// Complete HTTP/1.1 requests to a form.
    pub(crate) fn requests(seed: u32, path: &str) -> Self {
        Self::with_head(seed, |length| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                 Accept: application/json\r\nContent-Length: {length}\r\n\r\n"
            )
        })
    }

    /// Replaces the content of the buffer with the student of this number.
    pub(crate) fn write(&self, number: u64, buffer: &mut Vec<u8>) {
        let template = usize::try_from(number % TEMPLATES).expect("a remainder below 64 fits");
        let Template { bytes, roll } = &self.templates[template];
        buffer.clear();
        buffer.extend_from_slice(bytes);
        buffer[roll.clone()].copy_from_slice(self.roll(number).as_bytes());
    }

    /// The roll number of a student, which is the key of the record.
    pub(crate) fn roll(&self, number: u64) -> String {
        // Roll numbers repeat after 10^12 students, which takes four months at 100,000 per second.
        format!("{:08x}-{:012}", self.prefix, number % 1_000_000_000_000)
    }

    fn with_head(seed: u32, head: impl Fn(usize) -> String) -> Self {
        let template = |number| {
            let body = body(hash(u64::from(seed) << 32 | number));
            let head = head(body.len());
            let roll = head.len() + OPENING.len();
            Template {
                bytes: [head, body].concat().into_bytes(),
                roll: roll..roll + ROLL_LENGTH,
            }
        };
        Self {
            prefix: seed,
            templates: (0..TEMPLATES).map(template).collect(),
        }
    }
}

fn body(random: u64) -> String {
    let pick = |from: &[&'static str], salt: u64| {
        let index = hash(random ^ salt) % from.len() as u64;
        from[usize::try_from(index).expect("an index below the length fits")]
    };
    let (given, family, university) = (pick(&GIVEN, 1), pick(&FAMILY, 2), pick(&UNIVERSITY, 3));
    let roll = "x".repeat(ROLL_LENGTH);
    let grade = u16::try_from(random % 900).expect("a number below 900 fits");
    let (age, mobile) = (18 + random % 10, random % 10_000_000_000);
    let person = format!(r#""name":"{given} {family}","gender":"female","age":"{age}""#);
    let study = format!(
        r#""university":"{university}","cgpa":"{:.2}""#,
        f64::from(grade) / 100.0
    );
    let contact = format!(r#""email":"student{random:x}@example.org","mobile":"{mobile:010}""#);
    format!(r#"{OPENING}{roll}",{person},{study},{contact}}}"#)
}

/// A deterministic hash, so that consecutive numbers have unrelated results.
fn hash(number: u64) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(number)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use formline_core::app::schema::Schema;
    use serde_json::Value;

    use super::*;

    fn written(students: &Students, number: u64) -> Vec<u8> {
        let mut buffer = b"the previous content".to_vec();
        students.write(number, &mut buffer);
        buffer
    }

    #[test]
    fn every_student_is_valid_and_has_the_expected_size() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../apps/student-data/student-data.schema.json"
        );
        let schema = std::fs::read_to_string(folder).expect("the app exists");
        let schema = Schema::compile(schema.parse().expect("valid JSON")).expect("a valid schema");
        let students = Students::bodies(7);
        for number in 0..TEMPLATES {
            let body = written(&students, number);
            let value: Value = serde_json::from_slice(&body).expect("valid JSON");
            assert!(
                schema.violations(&value).is_empty(),
                "{value}: {:?}",
                schema.violations(&value)
            );
            assert!((150..=250).contains(&body.len()), "{} bytes", body.len());
            assert_eq!(value["roll"], students.roll(number));
        }
    }

    #[test]
    fn rolls_are_unique_and_the_rest_is_determined_by_the_seed() {
        let (one, other) = (Students::bodies(1), Students::bodies(2));
        let rolls = (0..1000).flat_map(|number| [one.roll(number), other.roll(number)]);
        assert_eq!(rolls.collect::<HashSet<_>>().len(), 2000);
        assert_eq!(written(&one, 999), written(&Students::bodies(1), 999));
        assert_ne!(
            written(&one, 1)[OPENING.len() + ROLL_LENGTH..],
            written(&other, 1)[OPENING.len() + ROLL_LENGTH..]
        );
    }

    #[test]
    fn a_request_declares_the_length_of_its_body() {
        let (requests, bodies) = (Students::requests(7, "/form"), Students::bodies(7));
        for number in 0..TEMPLATES {
            let request = String::from_utf8(written(&requests, number)).expect("UTF-8");
            let (head, body) = request.split_once("\r\n\r\n").expect("head and body");
            assert!(head.starts_with("POST /form HTTP/1.1\r\n"));
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
            assert_eq!(body.as_bytes(), written(&bodies, number));
        }
    }
}
