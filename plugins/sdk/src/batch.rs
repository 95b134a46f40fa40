//! The loop over the events of a batch, the same in a component and in native tests.

use std::cell::OnceCell;

use crate::host::Host;
use crate::{Event, Outputs, Plugin};

/// Processes the host's current batch. Requesting the next event accepts the current one.
pub(crate) fn process_batch<P: Plugin>(plugin: &mut P, host: &dyn Host) {
    let batch = OnceCell::new();
    while let Some(record) = host.next() {
        let event = Event::new(&batch, record, host);
        if let Err(reject) = plugin.process(&event, &mut Outputs::new(host)) {
            host.reject(reject);
        }
    }
}
