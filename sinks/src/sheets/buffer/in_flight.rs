//! Work of which at most one piece is under way.

use std::future::pending;

use futures::future::BoxFuture;

/// The piece of work that is under way, if any.
pub(crate) struct InFlight<T>(Option<BoxFuture<'static, T>>);

// === impl InFlight ===

impl<T> InFlight<T> {
    pub(crate) fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Starts a piece of work, which runs while the caller awaits [`ended`](Self::ended). None may
    /// be under way, because it would be dropped.
    pub(crate) fn start(&mut self, work: impl Future<Output = T> + Send + 'static) {
        debug_assert!(self.is_idle(), "work is under way");
        self.0 = Some(Box::pin(work));
    }

    /// Waits for the work to end. Pending while nothing is under way. Cancel safe.
    pub(crate) async fn ended(&mut self) -> T {
        let Some(work) = &mut self.0 else {
            return pending().await;
        };
        let value = work.await;
        self.0 = None;
        value
    }
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self(None)
    }
}
