//! Copies of the example apps under unique names, and data for their forms.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::command::repository;

/// Copies apps/demo into an existing folder under another name. `change` is applied to both files.
pub(crate) fn copy_demo(folder: &Path, name: &str, change: impl Fn(String) -> String) {
    for file in ["app.toml", "demo.schema.json"] {
        let text = fs::read_to_string(repository().join("apps/demo").join(file)).unwrap();
        let copy = folder.join(file.replace("demo", name));
        fs::write(copy, change(rename_demo(&text, name))).unwrap();
    }
}

/// Replaces the name of apps/demo in a text of its app.toml.
pub(crate) fn rename_demo(text: &str, name: &str) -> String {
    text.replace("\"demo", &format!("\"{name}"))
        .replace("/demo", &format!("/{name}"))
}

/// Copies apps/student-data into a new folder under another name.
pub(crate) fn copy_student_data(folder: &Path, name: &str) {
    fs::create_dir(folder).unwrap();
    for entry in fs::read_dir(repository().join("apps/student-data")).unwrap() {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        let file = entry.file_name().into_string().unwrap();
        let copy = folder.join(file.replace("student-data", name));
        fs::write(copy, text.replace("student-data", name)).unwrap();
    }
}

/// A submission to apps/student-data, with a roll number of its own.
pub(crate) fn student(roll: usize) -> Value {
    json!({
        "name": "Saurabh raj", "roll": roll.to_string(), "university": "BCE", "cgpa": "8.04",
        "gender": "F", "age": "10.11", "email": "saurabh@example.org", "mobile": "7004465984",
    })
}
