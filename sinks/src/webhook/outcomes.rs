//! What the journal says that receivers have taken, and what the sink has put off.

use std::collections::HashSet;

use formline_core::{
    Client, EventId, client,
    event::header,
    progress::{Progress, Stage},
    reader::{From, Range, Reader},
};

use crate::{
    Error, journal,
    outcomes::{Outcome, Question, Visit},
};

/// Gives each record to `visit` that a receiver has taken, and each that waits for its next attempt. A receiver that is
/// called twice with one `webhook-id` knows it: that counts once.
pub(crate) async fn outcomes(
    client: &Client,
    question: Question<'_>,
    visit: Visit<'_>,
) -> Result<(), Error> {
    // Before the journal is read: what is taken meanwhile then is in both, and else it would be in neither.
    let waiting = waiting(client, &question).await?;
    let mut taken = HashSet::new();
    let mut once = |outcome: Outcome| {
        if taken.insert(outcome.id) {
            visit(outcome);
        }
    };
    journal::outcomes(client, question, &mut once).await?;
    for id in waiting {
        visit(Outcome {
            id,
            is_under_way: true,
            is_late: false,
            place: None,
        });
    }
    Ok(())
}

/// The records in the topic of retries that the sink's group has not passed.
async fn waiting(client: &Client, question: &Question<'_>) -> Result<Vec<EventId>, Error> {
    let Some(topic) = question.sink.retries_topic() else {
        return Ok(Vec::new());
    };
    let (client, group) = (client.clone(), question.sink.group());
    let read = tokio::task::spawn_blocking(move || read_waiting(&client, group, &topic));
    match read.await.expect("reading does not panic") {
        // Nothing was ever put off.
        Err(client::Error::NoTopic(_)) => Ok(Vec::new()),
        read => Ok(read?),
    }
}

fn read_waiting(
    client: &Client,
    group: String,
    topic: &str,
) -> Result<Vec<EventId>, client::Error> {
    let stage = Stage {
        group,
        topics: vec![topic.to_owned()],
    };
    let progress = Progress::open(client, vec![stage])?;
    let committed = progress.committed(0)?;
    let next = |partition| committed.iter().find(|(_, number, _)| *number == partition);
    let ranges = progress.ends_to_pass(0)?.into_iter();
    let ranges = ranges.map(|(_, partition, _)| Range {
        partition,
        from: next(partition).map_or(From::Beginning, |(_, _, next)| From::Offset(*next)),
        until: None,
    });
    let mut reader = Reader::open_ranges(client, topic, ranges.collect())?;
    let mut ids = Vec::new();
    reader.read_to_end(
        || true,
        |record| {
            let id = record.text_header(header::ID);
            ids.extend(id.and_then(|text| text.parse::<EventId>().ok()));
        },
    )?;
    Ok(ids)
}
