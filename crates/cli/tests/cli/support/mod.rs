//! What the tests share: the program, copies of the example apps, Kafka, and the length of drills.

mod app;
mod command;
mod demo_app;
mod drill;
mod kafka;

pub(crate) use self::{
    app::{copy_demo, copy_student_data, rename_demo, student},
    command::{assert_contains, formline, output_text, repository, run},
    demo_app::DemoApp,
    drill::{DEADLINE, Seed, is_drill},
    kafka::{TestSubmission, client, create_topic, producer, read_all},
};
