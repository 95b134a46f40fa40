//! One error of each kind alone, and its diagnostic.

use super::{GOOD, diagnostics::assert_diagnostic};

/// A text in the example, its replacement, and a part of the diagnostic.
type Case = (&'static str, &'static str, &'static str);

/// The app and its topics.
const TOPICS: &[Case] = &[
    (
        "name = \"school\"",
        "name = \"My School\"",
        "`My School` is not a name",
    ),
    (
        "[app]\nname = \"school\"",
        "",
        "`app` is missing; begin with [app]",
    ),
    ("[app]", "[app", "write valid TOML"),
    (
        "partitions = 3",
        "partitions = \"3\"",
        "write a whole number",
    ),
    (
        "partitions = 3",
        "partitions = 0",
        "0 is out of range; write 1 to 10000",
    ),
    (
        "name = \"students\"",
        "name = \"stud/ents\"",
        "Kafka does not accept the topic name `stud/ents`",
    ),
    (
        "[[form]]",
        "[[topic]]\nname = \"lonely\"\n[[form]]",
        "topic `lonely` is not used",
    ),
];

/// Forms.
const FORMS: &[Case] = &[
    (
        "path = \"/student/\"",
        "path = \"student\"",
        "`student` is not the path of a form; start it with `/`",
    ),
    (
        "path = \"/student/\"",
        "path = \"/v1/student\"",
        "is reserved for Formline itself",
    ),
    (
        "path = \"/student/\"",
        "path = \"/stud ent\"",
        "a URL cannot have",
    ),
    ("path = \"/student/\"", "", "`path` is missing"),
    (
        "student.json",
        "missing.json",
        "name a file in the folder of the app",
    ),
    ("student.json", "../student.json", "is outside of the app"),
    ("student.json", "app.toml", "app.toml is not JSON"),
    (
        "key = \"roll\"",
        "key = \"rol\"",
        "the schema has no field `rol`; did you mean `roll`?",
    ),
    (
        "key = \"roll\"",
        "redirect = \"example.org\"",
        "is not a web address",
    ),
    (
        "key = \"roll\"",
        "honeypot = \"roll\"",
        "is a field of the schema, which people fill in",
    ),
    ("key = \"roll\"", "sanitize = 1", "write a table"),
    (
        "key = \"roll\"",
        "sanitize = { trim = 1 }",
        "write true or false",
    ),
    (
        "key = \"roll\"",
        "rate_limit = { client = 1 }",
        "unknown key `client`",
    ),
    (
        "path = \"/student/\"",
        "path = \"/\"",
        "name a path below `/`",
    ),
];

/// Steps.
const STEPS: &[Case] = &[
    (
        "input = { in = [\"students\"] }",
        "",
        "input port `in` is not bound; bind it, for instance input = { in = [\"a-topic\"] }",
    ),
    (
        "input = { in = [\"students\"] }",
        "input = { \"\" = [\"students\"] }",
        "has no input port ``",
    ),
    (
        "input = { in = [\"students\"] }",
        "input = { in = [\"\"] }",
        "Kafka does not accept the topic name ``",
    ),
    (
        "out = \"copies\"",
        "out = \"cop/ies\"",
        "Kafka does not accept the topic name `cop/ies`",
    ),
    (
        "word = \"${WORD:-hello}\"",
        "word = 1",
        "config `word`: 1 is not of type \"string\"",
    ),
    (
        "{ word = \"${WORD:-hello}\" }",
        "1",
        "config: 1 is not of type \"object\"; it has the keys word",
    ),
    (
        "{ word = \"${WORD:-hello}\" }",
        "{ strange = 1 }",
        "remove it; known are word",
    ),
    (
        "input = { in = [\"students\"] }",
        "input = { inn = \"students\" }",
        "has no input port `inn`; did you mean `in`?",
    ),
    (
        "input = { in = [\"students\"] }",
        "input = [\"students\"]",
        "this value is an array; write input = { submissions = [\"student-data\"] }",
    ),
    (
        "input = { in = [\"students\"] }",
        "input = { in = [\"student\"] }",
        "did you mean `students`?",
    ),
    (
        "output = { out = \"copies\" }",
        "output = { out = 1 }",
        "write a string in quotes",
    ),
    (
        "word = ",
        "wrod = ",
        "unknown key `wrod` in the configuration; did you mean `word`?",
    ),
    (
        "word = \"${WORD:-hello}\"",
        "word = \"${WORD\"",
        "`${` has no `}`",
    ),
    (
        "name = \"count\"",
        "name = \"copy\"",
        "step or sink `copy` of app `school` is declared twice, first in",
    ),
    (
        "out = \"counts\"",
        "out = \"copies\"",
        "cycle without an exit",
    ),
];

/// Sinks.
const SINKS: &[Case] = &[
    (
        "tab = \"Counts\"",
        "tab = \"Counts\"\n[[topic]]\nname = \"orphan\"\n[[sink]]\nname = \"other\"\nkind = \"sheets\"\ninput = [\"orphan\"]\nspreadsheet = \"x\"\ntab = \"Other\"",
        "no form or step writes topic `orphan`",
    ),
    (
        "tab = \"Counts\"",
        "tab = \"Counts\"\nbuffer = \"disk\"",
        "unknown buffer `disk`; write one of: memory, redis",
    ),
    (
        "tab = \"Counts\"",
        "tab = \"Counts\"\nflush = \"job\"",
        "a job cannot read the memory of a sink; write buffer = \"redis\"",
    ),
    (
        "kind = \"sheets\"",
        "kind = \"sheet\"",
        "did you mean `sheets`?",
    ),
    (
        "kind = \"sheets\"",
        "kind = \"carrier-pigeon\"",
        "write one of: sheets, postgres, email, webhook",
    ),
    (
        "tab = \"Counts\"",
        "tab = \"Counts\"\nsecret = \"whsec_x\"",
        "unknown key `secret`; remove it; only a sink of kind webhook has it",
    ),
    (
        "tab = \"Counts\"",
        "tab = \"Counts\"\nschedule = [\"5s\"]",
        "unknown key `schedule`; remove it; only sinks of kind email and webhook have it",
    ),
    ("input = [\"counts\"]", "input = []", "`input` is empty"),
    (
        "input = [\"counts\"]",
        "input = [\"nothing\"]",
        "declare it with [[topic]]",
    ),
];

#[test]
fn each_kind_of_error_is_reported() {
    for (good, bad, part) in [TOPICS, FORMS, STEPS, SINKS].concat() {
        assert!(GOOD.contains(good), "`{good}` is not in the example");
        assert_diagnostic(&GOOD.replace(good, bad), part);
    }
}
